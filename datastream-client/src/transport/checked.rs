//! A connection whose answers tonic can read.
//!
//! The details of a status are base64. At any that are not, tonic panics (0.14.9, `Status::from_header_map`): what answers
//! there could end the task that asks. They are left out before it sees them.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Error};

const DETAILS: &str = "grpc-status-details-bin";

/// A channel, whose answers have details that can be read or none.
#[derive(Clone)]
pub(super) struct Checked(pub(super) Channel);

impl tower_service::Service<Request<Body>> for Checked {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request).map_ok(check).boxed()
    }
}

fn check(answer: Response<Body>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    check_details(&mut head.headers);
    let body = body.map_frame(|frame| match frame.into_trailers() {
        Ok(mut trailers) => {
            check_details(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    });
    Response::from_parts(head, Body::new(body))
}

fn check_details(headers: &mut HeaderMap) {
    let Some(details) = headers.get(DETAILS) else { return };
    let details = HeaderMap::from_iter([(HeaderName::from_static(DETAILS), details.clone())]);
    let read = MetadataMap::from_headers(details).get_bin(DETAILS).map(|details| details.to_bytes().is_ok());
    if read != Some(true) {
        headers.remove(DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_that_are_no_base64_are_left_out_and_others_stay() {
        for (text, stays) in
            [("AQID", true), ("AQ", true), ("AQ==", true), ("", true), ("!", false), ("A", false)]
        {
            let value = text.parse().expect("it can stand in a header");
            let mut headers = HeaderMap::from_iter([(HeaderName::from_static(DETAILS), value)]);
            check_details(&mut headers);
            assert_eq!(headers.contains_key(DETAILS), stays, "{text:?}");
        }
    }
}
