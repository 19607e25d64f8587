//! The typed handle of one setting.

mod cached;
mod map;
mod max_age;
mod or;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use datastream::key::shown;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::oneshot;

use crate::callback::{self, Callback};
use crate::cell::Cell;
use crate::client::Inner;
use crate::error::Unavailable;
use crate::expiry::Expiry;
use crate::worker::{self, Command};
pub use cached::Cached;
pub use or::{LoadedOr, WatchOr};

/// A setting that is always right now: [`get`](Self::get) it wherever it is used.
///
/// The value is decoded once, when it arrives. A value that `T` cannot hold is refused: the handle keeps the
/// last good one, [`status`](Self::status) says why, and other handles are not concerned. A setting that does
/// not exist yet has no value, and gets it when somebody sets it.
///
/// A handle is cheap to clone, and keeps its client connected. It works with and without a tokio runtime.
pub struct Watch<T> {
    pub(crate) cell: Arc<Cell<T>>,
    /// The version of the value that `changed` last reported.
    seen: u64,
    /// How old the value may be, and each part of it, where that matters.
    pub(crate) limits: Vec<Arc<Expiry>>,
    /// After the cell: a client whose last handle is gone ends once it has heard so.
    pub(crate) client: Option<Arc<Inner>>,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        let (cell, limits, client) = (self.cell.clone(), self.limits.clone(), self.client.clone());
        Self { cell, seen: self.seen, limits, client }
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
        Self { cell, seen, limits: Vec::new(), client }
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
        if self.is_expired() {
            return Loaded(arc_swap::Guard::from_inner(None));
        }
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
        if self.is_expired() {
            return None;
        }
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
    /// Only a bad address, which is known at once, never heals. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]: the server has no such key, it may not be read, its value cannot be read as `T` or is
    /// older than [`max_age`](Self::max_age), the address is none, the client was closed, or nothing was heard
    /// within [`Limits::ready`](crate::Limits::ready).
    pub async fn ready(&self) -> Result<(), Unavailable> {
        let mut versions = self.cell.versions.subscribe();
        let known = versions.wait_for(|_| self.cell.report.load().is_known);
        let in_vain = async {
            match &self.client {
                Some(client) => tokio::select! {
                    () = client.after(client.limits.ready) => {}
                    () = client.shared.final_state() => {}
                },
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
            None if self.is_expired() => Err(self.unavailable()),
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

    /// Tells a function of the values as they change, as [`stream`](Self::stream) does, for as long as what this returns is
    /// kept. It can neither hold up the client nor harm it: see [`Callback`].
    ///
    /// ```
    /// use datastream_client::Client;
    ///
    /// let max = Client::connect("http://127.0.0.1:1").watch::<i64>("max_connections");
    /// let callback = max.on_change(|max| match max {
    ///     Some(max) => println!("{max} from now on"),
    ///     None => println!("deleted"),
    /// });
    /// drop(callback); // No more.
    /// ```
    pub fn on_change(&self, callback: impl FnMut(Option<Arc<T>>) + Send + 'static) -> Callback
    where
        T: Send + Sync + 'static,
    {
        callback::tell(self.stream(), callback)
    }
}

#[cfg(feature = "testing")]
impl<T: datastream::value::Value> Watch<T> {
    /// A handle without a client, which shows what it is [offered](Self::offer): for tests that drive the
    /// session without the worker.
    #[must_use]
    pub fn detached(key: &str) -> Self {
        Self::new(Arc::new(Cell::new(Arc::from(key), crate::cell::OneKey, None)), None)
    }

    /// Shows what `snapshot` says of the key, as the worker does when the session applies a state.
    pub fn offer(&self, snapshot: &crate::snapshot::Snapshot) {
        crate::cell::AnyCell::offer(&*self.cell, snapshot, &crate::session::Changed::All);
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
            self.attend();
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
