//! The address to which a host of repositories says that something was pushed.
//!
//! Whatever is said, it makes the store look, and nothing else: calls that come while it looks are one more look. So it
//! needs no secret to be harmless, and what is in a call is not read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream_server::store::Store;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

/// How many calls may be open; more wait.
const OPEN: usize = 64;
/// How long a call may take, all in all.
const LIMIT: Duration = Duration::from_secs(10);

/// Answers on `listener` until dropped: a POST, whatever its path, with 202.
pub(crate) async fn answer(listener: TcpListener, store: Arc<dyn Store>) {
    let called = Arc::new(Notify::new());
    let open = Arc::new(Semaphore::new(OPEN));
    let look = async {
        loop {
            called.notified().await;
            if let Err(error) = store.refresh().await {
                tracing::warn!(%error, "the store could not be looked at, as the webhook asks");
            }
        }
    };
    let accept = async {
        loop {
            let permit = open.clone().acquire_owned().await;
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let called = called.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let service = service_fn(|request: Request<Incoming>| {
                    std::future::ready(Ok::<_, Infallible>(said(&request, &called)))
                });
                let mut server = http1::Builder::new();
                let server = server.timer(TokioTimer::new()).header_read_timeout(LIMIT).keep_alive(false);
                let _ =
                    tokio::time::timeout(LIMIT, server.serve_connection(TokioIo::new(stream), service)).await;
            });
        }
    };
    tokio::join!(look, accept);
}

fn said(request: &Request<Incoming>, called: &Notify) -> Response<Full<Bytes>> {
    let (status, text) = if request.method() == Method::POST {
        called.notify_one();
        (StatusCode::ACCEPTED, "the store is looked at\n")
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "a webhook is a POST\n")
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
