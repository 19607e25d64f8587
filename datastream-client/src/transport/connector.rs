//! Connections that an application makes in the place of the system.

use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection can do.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

type Connected = io::Result<Box<dyn Connection>>;

/// Makes connections to a host and a port.
#[derive(Clone)]
pub(crate) struct Connector(Arc<dyn Fn(String) -> BoxFuture<'static, Connected> + Send + Sync>);

impl Connector {
    pub(crate) fn new<C, F>(connect: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<C>> + Send + 'static,
    {
        let boxed = |connected: io::Result<C>| -> Connected { Ok(Box::new(connected?)) };
        Self(Arc::new(move |address| connect(address).map(boxed).boxed()))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default();
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(usual));
        let connect = self.0.clone();
        // Nothing of a connection that was not made is used again. A panic would end a task of the transport, and with it the
        // reason.
        let connected = AssertUnwindSafe(async move { connect(address).await }).catch_unwind();
        let panicked = || Err(io::Error::other("the connector of the application panicked"));
        connected.map(move |made| made.unwrap_or_else(|_| panicked()).map(TokioIo::new)).boxed()
    }
}
