//! The typed handle of one setting.

mod or;

use std::sync::Arc;
use std::time::{Duration, Instant};

use datastream::key::shown;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::oneshot;

use crate::cell::Cell;
use crate::client::Inner;
use crate::error::Unavailable;
use crate::status::{Peer, State, Status};
use crate::worker::{self, Command};
pub use or::{LoadedOr, WatchOr};

/// A setting that is always right now: [`get`](Self::get) it wherever it is used.
///
/// The value is decoded once, when it arrives. A value that `T` cannot hold is refused: the handle keeps the
/// last good one, [`status`](Self::status) says why, and other handles are not concerned. A setting that does
/// not exist yet has no value, and gets it when somebody sets it.
///
/// A handle is cheap to clone, and keeps its client connected. It works with and without a tokio runtime.
pub struct Watch<T> {
    cell: Arc<Cell<T>>,
    /// The version of the value that `changed` last reported.
    seen: u64,
    /// After the cell: a client whose last handle is gone ends once it has heard so.
    client: Option<Arc<Inner>>,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone(), seen: self.seen, client: self.client.clone() }
    }
}

/// A value that was read and not copied.
///
/// It keeps this value alive, whatever comes after it; drop it soon, and do not hold it across an await.
pub struct Loaded<T>(arc_swap::Guard<Option<Arc<T>>>);

impl<T> Loaded<T> {
    /// The value, if there is one.
    #[must_use]
    pub fn as_ref(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// The value, to keep.
    #[must_use]
    pub fn into_arc(self) -> Option<Arc<T>> {
        arc_swap::Guard::into_inner(self.0)
    }
}

impl<T> Watch<T> {
    pub(crate) fn new(cell: Arc<Cell<T>>, client: Option<Arc<Inner>>) -> Self {
        let seen = cell.versions.borrow().value;
        Self { cell, seen, client }
    }

    /// A handle that always holds `value`, without a client: for the tests of code that takes a handle.
    ///
    /// ```
    /// use datastream_client::Watch;
    ///
    /// let max = Watch::fixed(100_i64);
    /// assert_eq!(max.get(), Some(100));
    /// ```
    #[must_use]
    pub fn fixed(value: T) -> Self {
        Self::new(Arc::new(Cell::fixed(value)), None)
    }

    /// The value now, without copying it; for types that are costly to clone.
    ///
    /// Takes no lock, makes no system call and allocates nothing, but for some bytes at the first read that a
    /// thread ever makes. Some nanoseconds.
    #[must_use]
    pub fn load(&self) -> Loaded<T> {
        Loaded(self.cell.value.load())
    }

    /// The value now; `None` if there is none, and then [`try_get`](Self::try_get) says why.
    ///
    /// Takes no lock and makes no system call; for `Copy` types it allocates as little as [`load`](Self::load).
    /// Some nanoseconds, plus the clone.
    #[must_use]
    pub fn get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.cell.value.load().as_deref().cloned()
    }

    /// The value now, or why there is none.
    ///
    /// # Errors
    ///
    /// [`Unavailable`], by what can be done about it.
    pub fn try_get(&self) -> Result<T, Unavailable>
    where
        T: Clone,
    {
        self.get().ok_or_else(|| self.unavailable())
    }

    /// A handle that holds `default` while there is no value.
    ///
    /// ```
    /// use datastream_client::Client;
    ///
    /// let max = Client::connect("http://127.0.0.1:1").watch::<i64>("max_connections").or(100);
    /// assert_eq!(max.get(), 100);
    /// ```
    #[must_use]
    pub fn or(self, default: T) -> WatchOr<T> {
        WatchOr::new(self, default)
    }

    /// Waits until there is a value.
    ///
    /// It returns as soon as the first state of the server is complete, or a refusal is known. A handle that
    /// failed here heals later all the same: when the key is set, the value is corrected, the server comes back.
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]: the server has no such key, it may not be read, its value cannot be read as `T`, or
    /// nothing was heard within [`Limits::ready`](crate::Limits::ready).
    pub async fn ready(&self) -> Result<(), Unavailable> {
        let mut versions = self.cell.versions.subscribe();
        let known = versions.wait_for(|_| self.cell.report.load().is_known);
        let in_vain = async {
            match &self.client {
                Some(client) => client.after(client.limits.ready).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What is known already needs no timer.
            biased;
            _ = known => self.known(),
            () = in_vain => Err(self.unavailable()),
        }
    }

    /// As [`ready`](Self::ready), for applications without tokio: blocks the thread.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready). Within a tokio runtime, which must not be blocked, it does not wait: what is
    /// not known then is not ready.
    pub fn ready_blocking(&self) -> Result<(), Unavailable> {
        if self.cell.report.load().is_known {
            return self.known();
        }
        worker::block_on(self.ready()).unwrap_or_else(|| {
            let key = shown(&self.cell.key).to_string();
            let waiting_for = "inside a tokio runtime, await `ready` instead".to_owned();
            Err(Unavailable::NotReady { key, waiting_for })
        })
    }

    fn known(&self) -> Result<(), Unavailable> {
        match &self.cell.report.load().unavailable {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }

    /// Waits until the value is another one, or is gone, since this handle was made or this last returned.
    ///
    /// A slow caller sees the latest value, not each one. A refused value is no change. A fixed handle never
    /// changes. Cancel safe: a change that came meanwhile is reported by the next call.
    pub async fn changed(&mut self) {
        let mut versions = self.cell.versions.subscribe();
        // The cell, which this handle holds, is the sender: it does not close.
        if let Ok(version) = versions.wait_for(|version| version.value != self.seen).await {
            self.seen = version.value;
        }
    }

    /// The values as they change, beginning with the present one if there is one; `None` when the key is
    /// deleted. Never ends. A slow reader sees the latest value, not each one.
    pub fn stream(&self) -> impl Stream<Item = Option<Arc<T>>> + Send + Unpin + use<T>
    where
        T: Send + Sync + 'static,
    {
        let mut watch = self.clone();
        // The version before the value: one that comes between the two is reported once more, not lost.
        watch.seen = self.cell.versions.borrow().value;
        let first = self.cell.value.load().is_some();
        let values = futures_util::stream::unfold((watch, first), |(mut watch, first)| async move {
            if !first {
                watch.changed().await;
            }
            let value = watch.cell.value.load_full();
            Some((value, (watch, false)))
        });
        values.boxed()
    }

    /// How fresh the value is, and what is wrong if something is. Costs some hundred nanoseconds.
    #[must_use]
    pub fn status(&self) -> Status {
        let report = self.cell.report.load_full();
        let (state, since, age) = match &self.client {
            None => (State::Ready, report.since, None),
            Some(_) if !report.is_followed() => (State::NotReady, report.since, None),
            Some(client) => {
                let (state, since) = client.shared.key_state(&self.cell.key);
                (state, since.into_std().max(report.since), client.shared.age())
            }
        };
        let peer = self.client.as_ref().and_then(|client| client.shared.peer());
        Status {
            state,
            since,
            age,
            peer,
            revision: report.revision,
            origin: report.origin,
            unavailable: report.unavailable.as_ref().map(|_| self.unavailable()),
            refusal: report.refusal.clone(),
        }
    }

    /// Why there is no value. What is not known yet is explained by the state of the link.
    fn unavailable(&self) -> Unavailable {
        let why = self.cell.report.load().unavailable.clone();
        match (why, &self.client) {
            (Some(Unavailable::NotReady { key, waiting_for }), Some(client)) => {
                let waiting_for = match (client.shared.last_error(), client.shared.peer()) {
                    (Some(trouble), _) => trouble.to_string(),
                    (None, Some(Peer::Original)) => {
                        "a server of the original never says that it lacks a key".to_owned()
                    }
                    (None, _) => waiting_for,
                };
                Unavailable::NotReady { key, waiting_for }
            }
            (Some(why), _) => why,
            // The value came between the two reads.
            (None, _) => Unavailable::NotReady {
                key: shown(&self.cell.key).to_string(),
                waiting_for: "it has just come: read it again".to_owned(),
            },
        }
    }
}

#[cfg(feature = "testing")]
impl<T: datastream::value::Value> Watch<T> {
    /// A handle without a client, which shows what it is [offered](Self::offer): for tests that drive the
    /// session without the worker.
    #[must_use]
    pub fn detached(key: &str) -> Self {
        Self::new(Arc::new(Cell::new(Arc::from(key), None)), None)
    }

    /// Shows what `snapshot` says of the key, as the worker does when the session applies a state.
    pub fn offer(&self, snapshot: &crate::snapshot::Snapshot) {
        crate::cell::AnyCell::offer(&*self.cell, snapshot);
    }

    /// What is kept of it in a file, beside `snapshot`.
    #[must_use]
    pub fn last_good(&self, snapshot: &crate::snapshot::Snapshot) -> crate::cache::LastGood {
        let cell: Arc<dyn crate::cell::AnyCell> = self.cell.clone();
        crate::cache::last_good(&[cell], snapshot)
    }
}

impl<T> std::fmt::Debug for Watch<T> {
    /// Shows the key and whether there is a value, not the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has_value = self.cell.value.load().is_some();
        let key = shown(&self.cell.key).to_string();
        f.debug_struct("Watch").field("key", &key).field("has_value", &has_value).finish()
    }
}

impl Inner {
    /// Completes after `delay`, by the clock of the worker: the caller may have no runtime.
    pub(crate) async fn after(&self, delay: Duration) {
        let until = Instant::now().checked_add(delay);
        loop {
            let left = until.map_or(delay, |until| until.saturating_duration_since(Instant::now()));
            let (reply, timer) = oneshot::channel();
            let is_sent = self.commands.send(Command::After(left, reply)).is_ok();
            // A worker that moves to another runtime forgets its timers.
            if !is_sent || timer.await.is_ok() {
                return;
            }
        }
    }
}

/// Checks at compile time that handles may be shared between threads.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Watch<i64>>();
    is_shared::<WatchOr<String>>();
};
