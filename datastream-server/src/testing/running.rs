//! One life of a server in the test's own process.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::faults::Faults;
use super::tampering::Tampering;
use crate::config::Config;
use crate::feed::Feed;
use crate::serve::serve_feed;
use crate::store::Store;

/// How long a killed server may take to let go of its port; it takes no time unless the machine is busy.
const KILL_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Running {
    runtime: Runtime,
    pub(super) feed: Arc<Feed>,
    stop: oneshot::Sender<()>,
    /// In a lock only so that a server can be shared between threads.
    stopped: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Running {
    pub(super) fn start(
        listener: TcpListener,
        store: Arc<dyn Store>,
        config: Config,
        faults: Arc<Faults>,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let (stop, stopping) = oneshot::channel();
        let (done, stopped) = std::sync::mpsc::channel();
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).expect("a listener can be registered")
        };
        let feed = block_on(Feed::start(store, config.retention)).expect("the store can be loaded");
        let served = feed.clone();
        runtime.spawn(async move {
            // A dropped sender stops the server just as a message does.
            let shutdown = async { drop(stopping.await) };
            let wrap = |service| Tampering::new(service, faults);
            let served = serve_feed(crate::incoming(listener), served, config, wrap, shutdown).await;
            served.expect("the test server serves");
            drop(done);
        });
        Self { runtime, feed, stop, stopped: Mutex::new(stopped) }
    }

    /// Returns when the port is free again.
    pub(super) fn kill(self) {
        self.runtime.shutdown_background();
        let stopped = self.stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = stopped.recv_timeout(KILL_LIMIT);
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        // Disconnects when the server has ended.
        let stopped = self.stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = stopped.recv();
        self.runtime.shutdown_background();
    }
}

/// Runs a future to its end on a thread of its own: the caller's may be one of a runtime, which must not block.
pub(super) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future);
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
