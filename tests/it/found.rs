//! A channel on which no call is mislaid.
//!
//! A call goes through a queue of tokio's to the connection that hyper has. To send takes two steps: the queue lets the call
//! in, and the call is put there. Where the connection ends between the two, the queue was emptied before, and stays for as
//! long as somebody may send. Then the call has neither an answer nor an error, until the next one finds that the connection
//! is gone (tokio 1.54, `mpsc/chan.rs`; hyper 1.12, `client/dispatch.rs`; hyperium/hyper#4122 tells of the same in HTTP/1).
//! Who waits for each call before the next is made, over connections that are cut, would wait for ever.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, poll_fn};
use http::{Request, Response};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::{Channel, Error};

/// How long a call may take until another one is made beside it.
const BESIDE: Duration = Duration::from_secs(1);

/// A channel, whose calls are found if they are mislaid.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    channel: Channel,
    is_cut: bool,
}

impl Found {
    /// A channel whose connection stays; there is nothing to find.
    pub(crate) fn kept(channel: Channel) -> Self {
        Self { channel, is_cut: false }
    }

    /// A channel whose connections may be cut.
    pub(crate) fn cut(channel: Channel) -> Self {
        Self { channel, is_cut: true }
    }
}

impl Service<Request<Body>> for Found {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.channel.call(request);
        if !self.is_cut {
            return call.boxed();
        }
        let channel = self.channel.clone();
        found(call, move || another(channel.clone())).boxed()
    }
}

/// Awaits a call, and makes another one now and then until it is over. What a server leaves without an answer stays so.
async fn found<T, F: Future>(call: impl Future<Output = T>, another: impl Fn() -> F) -> T {
    let mut call = pin!(call);
    loop {
        if let Ok(over) = timeout(BESIDE, &mut call).await {
            return over;
        }
        tokio::select! {
            over = &mut call => return over,
            _ = timeout(BESIDE, another()) => {}
        }
    }
}

/// What becomes of it is of no interest: it is no gRPC, and refused at once by who is there.
async fn another(mut channel: Channel) {
    if poll_fn(|context| channel.poll_ready(context)).await.is_ok() {
        let _ = channel.call(Request::new(Body::empty())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_mislaid_is_found_by_the_next_one() {
        let next = Notify::new();
        let call = found(next.notified(), || async { next.notify_waiters() });
        timeout(3 * BESIDE, call).await.expect("it is over");
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_call_without_an_answer_there_is_another_now_and_then() {
        let others = Cell::new(0);
        let another = || {
            others.set(others.get() + 1);
            ready(())
        };
        timeout(30 * BESIDE + BESIDE / 2, found(pending::<()>(), another)).await.expect_err("nobody answers");
        assert_eq!(others.get(), 30, "one in each interval");
    }
}
