//! Calls that are made again until it is known what became of them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::{CallError, Disconnect};
use crate::retry::{LONGEST_DELAY, Retry};
use crate::worker::Command;

/// Until when a call is made again; `None` is for ever.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// Whether it lies after this wait.
    pub(crate) fn allows(self, wait: Duration) -> bool {
        self.0.is_none_or(|end| end.saturating_duration_since(Instant::now()) > wait)
    }
}

impl Client {
    /// The deadline of a commit that begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline(Instant::now().checked_add(self.inner.limits.commit))
    }

    /// Makes a call that may be made twice, until its answer has come or the deadline has.
    pub(crate) async fn insist<A>(
        &self,
        deadline: Deadline,
        command: impl Fn(oneshot::Sender<Result<A, CallError>>) -> Command,
    ) -> Result<A, CallError> {
        let mut retry = Retry::default();
        let mut doubt = None;
        loop {
            let error = match self.ask(&command).await {
                Err(error) if may_pass(&error) => error,
                // What an earlier attempt did is not known, and this one did nothing.
                Err(error) if !tells_of_all(&error) => {
                    let doubt = doubt.filter(|doubt| !matches!(doubt, CallError::Unreachable(_)));
                    return Err(doubt.unwrap_or(error));
                }
                answer => return answer,
            };
            let error = match doubt.take() {
                // Of an earlier attempt less is known than that nothing was sent.
                Some(doubt) if matches!(error, CallError::Unreachable(_)) => doubt,
                _ => error,
            };
            let wait = retry_after(&error) + retry.next(fastrand::f64());
            if !deadline.allows(wait) {
                return Err(error);
            }
            doubt = Some(error);
            self.inner.after(wait).await;
        }
    }

    /// Asks the worker, and waits for its answer.
    pub(crate) async fn ask<A>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<A, CallError>>) -> Command,
    ) -> Result<A, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        answer.await.map_err(|_| CallError::Interrupted)?
    }
}

/// How long the server asks to be left alone; not longer than a stream would obey it.
fn retry_after(error: &CallError) -> Duration {
    match error {
        CallError::Failed(why) => why.retry_after().min(LONGEST_DELAY),
        _ => Duration::ZERO,
    }
}

/// Whether the refusal of one attempt says that no earlier one was made either: it is a judgement of the commit by what the
/// store holds, where its name would have been found, or of the commit alone. A server that may not write, or does not let
/// this client in, has not looked.
fn tells_of_all(error: &CallError) -> bool {
    !matches!(
        error,
        CallError::Closed
            | CallError::Unreachable(_)
            | CallError::Denied(_)
            | CallError::Precondition(_)
            | CallError::Unsupported(_)
    )
}

/// Whether the same call may get an answer if it is made again.
fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::TimedOut | CallError::Interrupted => true,
        CallError::Unreachable(why) => !why.is_final(),
        CallError::Failed(why) => match &**why {
            Disconnect::Broken(_) | Disconnect::Ended => true,
            Disconnect::Refused { code, .. } => *code == "UNAVAILABLE",
            _ => false,
        },
        _ => false,
    }
}
