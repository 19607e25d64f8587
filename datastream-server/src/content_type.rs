//! What is no gRPC is told so in the words of HTTP, as gRPC over HTTP/2 asks for: a status of gRPC comes with
//! HTTP 200, and who does not speak gRPC would take that for a success.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

/// Wraps a service so that only gRPC reaches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrpcOnly;

impl<S> Layer<S> for GrpcOnly {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked { inner }
    }
}

/// A service whose requests are gRPC.
#[derive(Clone, Debug)]
pub(crate) struct Checked<S> {
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Checked<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
            return Either::Left(self.inner.call(request));
        }
        let mut response = Response::new(ResBody::default());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Either::Right(ready(Ok(response)))
    }
}

/// `application/grpc`, alone or with the format of its messages or parameters behind it. gRPC-Web has a name of
/// its own that begins in the same way.
fn is_grpc(content_type: &HeaderValue) -> bool {
    const NAME: &[u8] = b"application/grpc";
    content_type.as_bytes().split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}
