//! What is ready together leaves together.
//!
//! One update wakes a task for each stream of a connection. The first of them to send wakes the task of the
//! connection, and the scheduler runs that one next: it would write one frame, then the next, each with a system
//! call. So the task of the connection steps back once before it writes, behind all that can run by then.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// A connection that lets others go first before it writes, once from one flush to the next.
///
/// Where nobody else can run, this costs one turn of the scheduler, which is less than a microsecond.
#[derive(Debug)]
pub(crate) struct Gathered<T> {
    inner: T,
    stepped_back: bool,
}

impl<T> Gathered<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, stepped_back: false }
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.stepped_back, true) {
            return Poll::Ready(());
        }
        // A task that wakes itself goes to the end of the queue.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(context));
        Pin::new(&mut this.inner).poll_write(context, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_turn(context));
        Pin::new(&mut this.inner).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(context));
        self.stepped_back = false;
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
}
