//! Functions of the application that are told of changes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::worker;

/// A function that is told of changes, for as long as this is kept.
///
/// It runs on threads of its own, which all clients of the process share and start as they are needed: one for each
/// function that is running, 512 at most. It may block, for ever if it must: then it hears of nothing more, and nobody
/// else is concerned. A panic in it is logged, and it hears of the next change. It is called for one change at a time,
/// and a slow one hears of the latest, not of each.
///
/// When this is dropped, a call that has begun goes on to its end, and no other is made.
#[derive(Debug)]
#[must_use = "the function is told of changes only as long as this is kept"]
pub struct Callback {
    task: Option<AbortHandle>,
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Tells `callback` of each item.
pub(crate) fn tell<S>(items: S, callback: impl FnMut(S::Item) + Send + 'static) -> Callback
where
    S: Stream<Item: Send> + Send + Unpin + 'static,
{
    let own = worker::own();
    if own.is_none() {
        tracing::error!("no thread can be had for a callback: it will hear of no change");
    }
    let task = own.map(|own| own.spawn(tell_all(own.clone(), items, callback)).abort_handle());
    Callback { task }
}

async fn tell_all<S: Stream<Item: Send> + Unpin>(
    own: Handle,
    mut items: S,
    mut callback: impl FnMut(S::Item) + Send + 'static,
) where
    S::Item: 'static,
{
    while let Some(item) = items.next().await {
        let call = move || {
            let is_well = catch_unwind(AssertUnwindSafe(|| callback(item))).is_ok();
            (callback, is_well)
        };
        // The process ends, or there are no more threads.
        let Ok((back, is_well)) = own.spawn_blocking(call).await else { return };
        callback = back;
        if !is_well {
            tracing::error!("a callback panicked; it hears of the next change");
        }
    }
}
