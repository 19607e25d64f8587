//! A connection says soon what it is, or ends.
//!
//! The transport waits for the first bytes of a connection without a limit, and pings a peer only once it has
//! them: whoever connects and says nothing would hold a file descriptor for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// A client says its preface at once. This allows for a packet of it that is lost three times and sent again, which
/// takes about 7 s.
const LIMIT: Duration = Duration::from_secs(10);
/// The bytes of what every HTTP/2 client says first.
const PREFACE_BYTES: usize = 24;

/// A connection that fails to read when its peer does not bring a whole preface in time.
///
/// The timer goes with the last byte of the preface; from then on a read costs one comparison more.
#[derive(Debug)]
pub(crate) struct Handshake<T> {
    inner: T,
    waiting: Option<Waiting>,
}

/// For how many bytes, and until when.
#[derive(Debug)]
struct Waiting {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<T> Handshake<T> {
    /// Begins the wait. Needs the runtime of the connection.
    pub(crate) fn new(inner: T) -> Self {
        let waiting = Waiting { missing: PREFACE_BYTES, deadline: Box::pin(sleep(LIMIT)) };
        Self { inner, waiting: Some(waiting) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Handshake<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buf);
        let Some(waiting) = &mut this.waiting else { return read };
        waiting.missing = waiting.missing.saturating_sub(buf.filled().len() - before);
        if waiting.missing == 0 {
            this.waiting = None;
        } else if read.is_pending() && waiting.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Handshake<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<T: Connected> Connected for Handshake<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt as _;
    use futures_util::stream::{once, pending};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use crate::stores::MemoryStore;
    use crate::{Config, serve};

    use super::*;

    /// The preface, and an empty SETTINGS frame.
    const SAID: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// The far end of the only connection of a server.
    fn connection() -> DuplexStream {
        let (near, far) = duplex(1 << 10);
        let incoming = once(async { Ok::<_, io::Error>(near) }).chain(pending());
        let store = Arc::new(MemoryStore::new());
        tokio::spawn(serve(Box::pin(incoming), store, Config::default(), std::future::pending()));
        far
    }

    /// Says `bytes`, one each `pause`, and returns how long the server kept the connection.
    async fn kept(bytes: &[u8], pause: Duration) -> Duration {
        let began = Instant::now();
        let (mut reading, mut writing) = tokio::io::split(connection());
        let say = async {
            for byte in bytes {
                sleep(pause).await;
                if writing.write_u8(*byte).await.is_err() {
                    break;
                }
            }
            std::future::pending().await
        };
        let mut answer = Vec::new();
        tokio::select! {
            read = timeout(LIMIT * 10, reading.read_to_end(&mut answer)) => {
                read.expect("the server lets go").expect("it is an end like any other");
            }
            () = say => {}
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_brings_no_whole_preface_is_let_go_in_time() {
        let almost = &SAID[..PREFACE_BYTES - 1];
        for (bytes, pause) in
            [(&[][..], Duration::ZERO), (almost, Duration::ZERO), (SAID, Duration::from_secs(1))]
        {
            let kept = kept(bytes, pause).await;
            assert!(
                (LIMIT..LIMIT + Duration::from_secs(1)).contains(&kept),
                "{} bytes: {kept:?}",
                bytes.len()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_begun_may_be_silent_for_longer() {
        let mut far = connection();
        far.write_all(SAID).await.expect("the server reads");
        let mut buf = [0; 256];
        while let Ok(read) = timeout(LIMIT + Duration::from_secs(5), far.read(&mut buf)).await {
            assert_ne!(read.expect("the connection is there"), 0, "the server let go");
        }
    }
}
