//! One line in the log for each call and each stream: method, peer, duration, status.
//!
//! It also puts the header that names the protocol on every answer, whoever made it, and so sees the answers
//! that the transport makes by itself.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use datastream::header;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tower_layer::Layer;
use tower_service::Service;

/// Wraps a service with the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessLog {
    /// Finds the address of the peer.
    pub(crate) peer: fn(&Extensions) -> Option<SocketAddr>,
}

impl<S> Layer<S> for AccessLog {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged { inner, peer: self.peer }
    }
}

/// A service whose calls are logged.
#[derive(Clone, Debug)]
pub(crate) struct Logged<S> {
    inner: S,
    peer: fn(&Extensions) -> Option<SocketAddr>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Logged<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
    S::Error: std::fmt::Display,
{
    type Response = Response<LoggedBody<ResBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let peer = (self.peer)(request.extensions());
        let mut call =
            Call { method: request.uri().path().into(), peer, began: Instant::now(), is_open: true };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            response.headers_mut().insert(header::PROTOCOL, HeaderValue::from_static("1"));
            match response.status() {
                StatusCode::OK => call.look_at(response.headers()),
                // Not an answer of gRPC; three digits tell it from one.
                status => call.log(status.as_str()),
            }
            Ok(response.map(|inner| LoggedBody { inner, call }))
        })
    }
}

/// A call that was not logged yet. It is when its status is known, or when it is dropped.
#[derive(Debug)]
struct Call {
    method: String,
    peer: Option<SocketAddr>,
    began: Instant,
    is_open: bool,
}

impl Call {
    fn look_at(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status").and_then(|status| status.to_str().ok()) {
            self.log(status);
        }
    }

    fn log(&mut self, status: &str) {
        if std::mem::take(&mut self.is_open) {
            let method = datastream::key::shown(&self.method);
            let peer = self.peer.map(tracing::field::display);
            let ms = self.began.elapsed().as_secs_f64() * 1e3;
            tracing::info!(target: "datastream_server::access", %method, peer, ms, status);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.log("gone"); // The client went away before the status was sent.
    }
}

/// A body that sees its trailers pass.
#[derive(Debug)]
pub(crate) struct LoggedBody<B> {
    inner: B,
    call: Call,
}

impl<B: Body + Unpin> Body for LoggedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.look_at(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
