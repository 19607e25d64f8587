//! What is ready together leaves together.
//!
//! One update wakes a task for each stream of a connection. The first of them to send wakes the task of the
//! connection, and the scheduler runs that one next: it would write one frame, then the next, each with a system
//! call. So the task of the connection steps back once before it writes, behind all that can run by then. Where that
//! brings nothing again and again, since few of its streams are ever ready together, it mostly goes at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// How often it steps back in vain before it mostly goes at once.
const IN_VAIN: u8 = 4;
/// How often it goes at once until it steps back again, to see whether that brings something now.
const AT_ONCE: u8 = 16;

/// A connection that lets others go first before it writes, at most once from one flush to the next.
///
/// To step back costs a turn of the scheduler and a look at the whole connection.
#[derive(Debug)]
pub(crate) struct Gathered<T> {
    inner: T,
    turn: Turn,
    /// How often nothing came of stepping back since something did; above [`IN_VAIN`], how often it has gone at once.
    in_vain: u8,
}

/// Where a connection is between two flushes.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Nothing was written yet.
    Due,
    /// It stepped back when there was so much to write.
    SteppedBack(usize),
    /// It writes.
    Writes,
}

impl<T> Gathered<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, turn: Turn::Due, in_vain: 0 }
    }

    /// Whether it is time to write the `length` bytes that are ready.
    fn poll_turn(&mut self, length: usize, context: &mut Context<'_>) -> Poll<()> {
        let turn = std::mem::replace(&mut self.turn, Turn::Writes);
        match turn {
            Turn::Due if self.in_vain < IN_VAIN => {
                self.turn = Turn::SteppedBack(length);
                // A task that wakes itself goes to the end of the queue.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Turn::Due if self.in_vain + 1 < IN_VAIN + AT_ONCE => self.in_vain += 1,
            Turn::Due => self.in_vain = IN_VAIN - 1,
            Turn::SteppedBack(before) if length > before => self.in_vain = 0,
            Turn::SteppedBack(_) => self.in_vain += 1,
            Turn::Writes => {}
        }
        Poll::Ready(())
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(buf.len(), context));
        Pin::new(&mut this.inner).poll_write(context, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(bufs.iter().map(|buf| buf.len()).sum(), context));
        Pin::new(&mut this.inner).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(context));
        self.turn = Turn::Due;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buf)
    }
}

impl<T: Connected> Connected for Gathered<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Writes, and says whether a task that could run by then ran before.
    async fn goes_behind_others(connection: &mut Gathered<DuplexStream>) -> bool {
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        let other = tokio::spawn(async move { runs.store(true, Ordering::Relaxed) });
        connection.write_all(b"frame").await.expect("there is room");
        let before = ran.load(Ordering::Relaxed);
        other.await.expect("it does not panic");
        before
    }

    #[tokio::test]
    async fn the_first_write_after_a_flush_goes_behind_all_that_can_run() {
        let (near, _far) = duplex(1024);
        let mut connection = Gathered::new(near);
        assert!(goes_behind_others(&mut connection).await);
        assert!(!goes_behind_others(&mut connection).await, "what follows is part of the same flush");
        connection.flush().await.expect("nothing fails");
        assert!(goes_behind_others(&mut connection).await);
    }

    #[tokio::test]
    async fn where_nothing_comes_of_it_the_connection_mostly_writes_at_once() {
        let (near, _far) = duplex(1024);
        let mut connection = Gathered::new(near);
        let mut stepped_back = Vec::new();
        for flush in 0..60 {
            if goes_behind_others(&mut connection).await {
                stepped_back.push(flush);
            }
            connection.flush().await.expect("nothing fails");
        }
        assert_eq!(stepped_back, [0, 1, 2, 3, 20, 37, 54], "it goes at once 16 times, then tries again");
    }

    #[tokio::test]
    async fn where_something_comes_of_it_the_connection_goes_on_to_step_back() {
        let (near, _far) = duplex(1024);
        let mut connection = Gathered::new(near);
        for _ in 0..60 {
            let mut write = async |bytes: &[u8]| {
                let written = std::future::poll_fn(|context| {
                    Poll::Ready(Pin::new(&mut connection).poll_write(context, bytes).is_ready())
                });
                written.await
            };
            assert!(!write(b"frame").await, "it steps back");
            assert!(write(b"frame and frame").await);
            connection.flush().await.expect("nothing fails");
        }
    }
}
