//! A store over a place that keeps objects one by one: what a folder and a bucket have in common.
//!
//! The objects are the truth, and anybody may write them. They are listed again and again; what has another version than the
//! one that was read is read, and what differs is one commit in a log of this run (`look.rs`). A commit of ours first brings
//! its key up to date, is decided by that, and written on the condition that it still is so (`commit.rs`).
//!
//! The history begins with the process, so a server that was restarted tells its clients everything anew.

mod commit;
mod look;
mod place;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use datastream::position::Position;
use tokio::task::JoinSet;

pub(super) use self::place::{Denied, Listed, Listing, Object, Place, Reading};
use super::memory::{MemoryStore, Written};
use crate::retry::Pauses;
use crate::store::{
    Abilities, Commit, CommitError, HistoryPage, HistoryQuery, Retention, Since, Snapshot, Store, StoreError,
    Usage,
};

/// How long a look waits at most after one that failed, if the interval is not longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a look may take before what is known counts as old, beside two intervals.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store that follows a [`Place`], and writes to it.
pub(super) struct Objects<P: Place> {
    shared: Arc<Shared<P>>,
    /// The task ends with the store.
    _task: JoinSet<()>,
}

struct Shared<P: Place> {
    place: P,
    log: MemoryStore,
    known: Mutex<Known<P::Version>>,
    /// Who writes to the log: one commit, or the end of a look.
    line: Arc<tokio::sync::Mutex<()>>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
    /// What may be done yet of requests that were given up, by their names.
    doubts: Mutex<HashMap<Arc<str>, commit::Doubt>>,
    /// The key of a change that was done and may not be kept; nothing is written before it is.
    unkept: Mutex<Option<Arc<str>>>,
    /// Why the last look failed.
    failure: Mutex<Option<String>>,
    /// When the last good look began.
    heard: Mutex<SystemTime>,
    interval: Duration,
}

/// What is known of the objects.
struct Known<V> {
    objects: HashMap<Arc<str>, Versions<V>>,
    /// The keys that were read or written beside the look that is under way, whose list may be older.
    touched: HashSet<Arc<str>>,
    drafts: look::Drafts<V>,
    /// What could not be read, and was named for it.
    named: HashSet<Arc<str>>,
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        let (objects, drafts) = (HashMap::new(), HashMap::new());
        Self { objects, touched: HashSet::new(), drafts, named: HashSet::new() }
    }
}

/// The versions of an object that the log holds.
struct Versions<V> {
    /// As it was listed; `None` if it is to be read again in any case.
    listed: Option<V>,
    /// As it came with what was read, or was written.
    held: V,
}

impl<P: Place> Objects<P> {
    /// Reads all there is, and follows it, at each `interval` and whenever the place rings, until the store is dropped.
    pub(super) async fn start(place: P, interval: Duration) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            place,
            log: MemoryStore::of_this_run(),
            known: Mutex::default(),
            line: Arc::default(),
            looking: tokio::sync::Mutex::default(),
            doubts: Mutex::default(),
            unkept: Mutex::default(),
            failure: Mutex::default(),
            heard: Mutex::new(SystemTime::now()),
            interval,
        });
        shared.look().await?;
        shared.known().check_start()?;
        let mut task = JoinSet::new();
        task.spawn(shared.clone().follow(interval));
        Ok(Self { shared, _task: task })
    }

    /// Waits for its turn, which who gives up leaves to others, and then runs to its end, whether or not the caller waits.
    async fn to_the_end<T, F>(&self, work: impl FnOnce(Arc<Shared<P>>) -> F) -> Result<T, CommitError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CommitError>> + Send + 'static,
    {
        let line = self.shared.line.clone().lock_owned().await;
        let work = work(self.shared.clone());
        let end = tokio::spawn(async move {
            let _line = line;
            work.await
        });
        end.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))
    }
}

impl<P: Place> Shared<P> {
    async fn follow(self: Arc<Self>, interval: Duration) {
        let mut retry = Pauses::between(interval, interval.max(LONGEST_PAUSE));
        let mut pause = interval;
        loop {
            tokio::select! {
                () = self.place.rung() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.look().await {
                Ok(()) => {
                    retry.reset();
                    interval
                }
                Err(_) => retry.next(),
            };
        }
    }

    fn known(&self) -> MutexGuard<'_, Known<P::Version>> {
        lock(&self.known)
    }

    /// What was read is old while looking fails.
    fn check(&self) -> Result<(), StoreError> {
        let failure = lock(&self.failure).clone();
        failure.map_or(Ok(()), |failure| Err(StoreError::Unavailable(failure.into())))
    }
}

#[async_trait]
impl<P: Place> Store for Objects<P> {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.shared.log.load().await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.shared.check()?;
        self.shared.log.changes(after).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        self.to_the_end(|shared| async move { shared.commit(commit).await }).await
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.to_the_end(|shared| async move { shared.seed(commit).await }).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        self.shared.log.history(query).await
    }

    async fn usage(&self) -> Result<Option<Usage>, StoreError> {
        self.shared.log.usage().await
    }

    fn kind(&self) -> &'static str {
        self.shared.place.kind()
    }

    fn abilities(&self) -> Abilities {
        Abilities { batches: false, nesting: self.shared.place.nests(), ..Abilities::default() }
    }

    /// A look that hangs is one that fails.
    fn unheard_since(&self) -> Option<SystemTime> {
        let heard = *lock(&self.shared.heard);
        let is_long = heard.elapsed().is_ok_and(|age| age > self.shared.interval * 2 + PATIENCE);
        is_long.then_some(heard)
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        self.shared.look().await
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.shared.log.compact(retention).await
    }

    async fn rung(&self) {
        self.shared.log.rung().await;
    }
}

/// Nothing that runs under these locks can leave the data half-changed, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
