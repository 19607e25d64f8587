//! Where the worker runs.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

use super::Worker;
use crate::transport::Transport;

/// Where a client's worker is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the runtime of the caller, if there is one.
    #[default]
    Caller,
    /// On a thread that all clients of this process share, whatever the application does to its own.
    Own,
}

/// Starts the worker.
pub(crate) fn start<T: Transport>(worker: Worker<T>, place: Place) {
    let handle = match place {
        Place::Caller => Handle::try_current().ok().or_else(own),
        Place::Own => own(),
    };
    let lifeline = Lifeline { worker: Some(worker) };
    match handle {
        Some(handle) => drop(handle.spawn(run(lifeline))),
        None => {
            tracing::error!("no thread can be had for the settings client: its handles will not be ready")
        }
    }
}

async fn run<T: Transport>(mut lifeline: Lifeline<T>) {
    if let Some(worker) = &mut lifeline.worker {
        worker.run().await;
    }
    // What is kept is written last, when the transport is gone already. Then whoever closed the client hears of it,
    // from the end of the commands.
    let Some((keeper, _commands)) = lifeline.worker.take().map(Worker::into_last) else { return };
    if let Some(keeper) = keeper {
        keeper.close().await;
    }
}

/// Holds a worker that has not ended. A runtime that is shut down drops its tasks: the worker then goes on on the
/// client's own.
struct Lifeline<T: Transport> {
    worker: Option<Worker<T>>,
}

impl<T: Transport> Drop for Lifeline<T> {
    fn drop(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        if worker.is_over() {
            return; // The runtime ended together with the client.
        }
        let Some(own) = own() else { return };
        tracing::warn!("the runtime of the settings client ended; it goes on on its own thread");
        drop(own.spawn(async move {
            worker.move_on();
            run(Self { worker: Some(worker) }).await;
        }));
    }
}

/// Waits on this thread. `None`, at once, inside a runtime, whose other tasks this would stop.
pub(crate) fn block_on<F: Future>(future: F) -> Option<F::Output> {
    let is_outside = Handle::try_current().is_err();
    Some(own().filter(|_| is_outside)?.block_on(future))
}

/// The runtime of clients without one: one thread for the process, made when it is first needed.
pub(crate) fn own() -> Option<Handle> {
    static OWN: OnceLock<Option<Runtime>> = OnceLock::new();
    let build = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("datastream-client").enable_all().build().ok()
    };
    OWN.get_or_init(build).as_ref().map(|runtime| runtime.handle().clone())
}
