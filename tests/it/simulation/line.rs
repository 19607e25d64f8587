//! The two ends of a connection of the simulated network.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo};
use turmoil::net::TcpStream;

use super::stage::Stage;

/// Where the connections of a client pass: what it hears is noted, and may be held up or torn.
pub(super) struct Tap {
    name: String,
    stage: Arc<Stage>,
    /// Whether the client takes nothing.
    is_stalled: AtomicBool,
    flow: Mutex<Flow>,
}

#[derive(Default)]
struct Flow {
    lines: Vec<Weak<End>>,
    attempts: Vec<Duration>,
    heard: Duration,
    server: String,
}

#[derive(Default)]
struct End {
    is_torn: AtomicBool,
    reader: AtomicWaker,
}

impl Tap {
    pub(super) fn new(name: String, stage: &Arc<Stage>) -> Arc<Self> {
        Arc::new(Self { name, stage: stage.clone(), is_stalled: false.into(), flow: Mutex::default() })
    }

    /// Connects to this address.
    pub(super) async fn connect(self: Arc<Self>, address: String) -> io::Result<Line> {
        self.stage.note(|| format!("{} connects to {address}", self.name));
        self.flow().attempts.push(self.stage.now());
        let inner = TcpStream::connect(address.as_str()).await;
        let how = inner.as_ref().map(|_| ()).map_err(io::Error::kind);
        self.stage.note(|| format!("{} is connected to {address}: {how:?}", self.name));
        let inner = inner?;
        let end = Arc::new(End::default());
        let mut flow = self.flow();
        flow.lines.retain(|line| line.strong_count() > 0);
        flow.lines.push(Arc::downgrade(&end));
        drop(flow);
        Ok(Line { inner, end, address, tap: self })
    }

    /// Begins anew, for an application that does.
    pub(super) fn restart(&self) {
        self.is_stalled.store(false, Ordering::Relaxed);
        *self.flow() = Flow::default();
    }

    pub(super) fn stall(&self, is_stalled: bool) {
        self.is_stalled.store(is_stalled, Ordering::Relaxed);
        self.wake();
    }

    /// Resets all connections that there are. Returns whether there was any.
    pub(super) fn tear(&self) -> bool {
        let lines: Vec<_> = self.flow().lines.drain(..).filter_map(|line| line.upgrade()).collect();
        lines.iter().for_each(|end| {
            end.is_torn.store(true, Ordering::Relaxed);
            end.reader.wake();
        });
        !lines.is_empty()
    }

    /// When anything was heard last.
    pub(super) fn heard(&self) -> Duration {
        self.flow().heard
    }

    /// From whom.
    pub(super) fn server(&self) -> String {
        self.flow().server.clone()
    }

    /// When connections were asked for.
    pub(super) fn attempts(&self) -> Vec<Duration> {
        self.flow().attempts.clone()
    }

    fn wake(&self) {
        let lines: Vec<_> = self.flow().lines.iter().filter_map(Weak::upgrade).collect();
        lines.iter().for_each(|end| end.reader.wake());
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a client.
pub(super) struct Line {
    inner: TcpStream,
    end: Arc<End>,
    address: String,
    tap: Arc<Tap>,
}

impl Line {
    fn check(&self) -> io::Result<()> {
        match self.end.is_torn.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.end.reader.register(context.waker());
        this.check()?;
        if this.tap.is_stalled.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buf);
        if buf.filled().len() > before {
            let now = this.tap.stage.now();
            let mut flow = this.tap.flow();
            flow.heard = now;
            flow.server.clone_from(&this.address);
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The end of a server.
pub(super) struct Accepted(pub(super) TcpStream);

impl Connected for Accepted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        TcpConnectInfo { local_addr: self.0.local_addr().ok(), remote_addr: self.0.peer_addr().ok() }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
