//! A store over something that can only be read: it is read again and again, and what differs is a commit.
//!
//! The history begins with the process, so a server that was restarted tells its clients everything anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use datastream::position::Position;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::memory::{MemoryStore, Written};
use crate::store::{
    Commit, CommitError, HistoryPage, HistoryQuery, Retention, Since, Snapshot, Store, StoreError, Usage,
};

/// How long a reading may take before what is known counts as old, beside two intervals and twice the time of the last.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be read.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// All that is there, as of one moment.
    async fn read(&self) -> Result<Vec<Written>, StoreError>;
}

/// A store that follows a [`Source`], and refuses to write.
pub(super) struct Polled {
    shared: Arc<Shared>,
    kind: &'static str,
    /// Why it is not to be written.
    why: String,
    /// The task ends with the store.
    _task: JoinSet<()>,
}

struct Shared {
    source: Box<dyn Source>,
    interval: Duration,
    known: MemoryStore,
    /// Held by the reading that is under way.
    turn: tokio::sync::Mutex<()>,
    /// When the last reading began.
    looked: Mutex<Option<Instant>>,
    /// Why the last reading failed.
    failure: Mutex<Option<String>>,
    /// When the last good reading began, and how long it took.
    heard: Mutex<(Instant, Duration)>,
}

impl Polled {
    /// Reads the source once, and then at each interval, until the store is dropped. `why` says, in an error of each
    /// write, what keeps it from being written.
    pub(super) async fn start(
        source: impl Source,
        interval: Duration,
        kind: &'static str,
        why: String,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            source: Box::new(source),
            interval,
            known: MemoryStore::new(),
            turn: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
            looked: Mutex::default(),
            heard: Mutex::new((Instant::now(), Duration::ZERO)),
        });
        shared.look(Instant::now()).await?;
        let polling = shared.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                // It is told by `check` why it failed.
                let _ = polling.look(Instant::now()).await;
            }
        });
        Ok(Self { shared, kind, why, _task: task })
    }

    fn read_only<E: From<StoreError>>(&self) -> E {
        StoreError::ReadOnly(self.why.clone().into()).into()
    }
}

impl Shared {
    /// Waits for the end of a reading that has begun after the caller `asked`: of all who wait, one reads.
    async fn look(&self, asked: Instant) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        if lock(&self.looked).is_some_and(|began| began >= asked) {
            return self.check();
        }
        let began = Instant::now();
        *lock(&self.looked) = Some(began);
        let read = self.source.read().await;
        *lock(&self.failure) = read.as_ref().err().map(|error| crate::error_chain(error));
        self.known.mirror(read?);
        *lock(&self.heard) = (began, began.elapsed());
        Ok(())
    }

    /// What was read is old while reading fails.
    fn check(&self) -> Result<(), StoreError> {
        let failure = lock(&self.failure).clone();
        failure.map_or(Ok(()), |failure| Err(StoreError::Unavailable(failure.into())))
    }
}

#[async_trait]
impl Store for Polled {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.shared.known.load().await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.shared.check()?;
        self.shared.known.changes(after).await
    }

    async fn commit(&self, _: Commit) -> Result<Position, CommitError> {
        Err(self.read_only())
    }

    async fn seed(&self, _: Commit) -> Result<bool, CommitError> {
        Err(self.read_only())
    }

    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        self.shared.known.history(query).await
    }

    async fn usage(&self) -> Result<Option<Usage>, StoreError> {
        self.shared.known.usage().await
    }

    fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whoever gives up leaves no question on the connection: a reading goes on to its end.
    async fn refresh(&self) -> Result<(), StoreError> {
        let (shared, asked) = (self.shared.clone(), Instant::now());
        let looking = tokio::spawn(async move { shared.look(asked).await });
        looking.await.map_err(|panicked| StoreError::Unavailable(panicked.into()))?
    }

    /// A reading that hangs is one that fails.
    fn unheard_since(&self) -> Option<SystemTime> {
        let (began, took) = *lock(&self.shared.heard);
        let (age, usual) = (began.elapsed(), self.shared.interval.saturating_add(took).saturating_mul(2));
        let is_long = age > usual.saturating_add(PATIENCE);
        is_long.then(|| SystemTime::now().checked_sub(age)).flatten()
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.shared.known.compact(retention).await
    }

    async fn rung(&self) {
        self.shared.known.rung().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read next; nothing hangs, and an error fails. How often it was read.
    #[derive(Default)]
    struct Scripted(Mutex<Option<Result<&'static str, ()>>>, Mutex<usize>);

    #[async_trait]
    impl Source for Arc<Scripted> {
        async fn read(&self) -> Result<Vec<Written>, StoreError> {
            *lock(&self.1) += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let next = *lock(&self.0);
            let Some(next) = next else { return std::future::pending().await };
            let key = next.map_err(|()| StoreError::Unavailable("as the test asked for".into()))?;
            let value = Some(crate::store::Stored { value: "1".into(), value_type: "int".into() });
            Ok(vec![Written { key: key.into(), value, too_large: None, time: None }])
        }
    }

    async fn store(interval: Duration) -> (Arc<Scripted>, Polled) {
        let source = Arc::new(Scripted(Mutex::new(Some(Ok("a"))), Mutex::default()));
        let store = Polled::start(source.clone(), interval, "scripted", "it is scripted".into()).await;
        (source, store.expect("it can be read"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_hangs_is_known_to_be_old() {
        let (source, store) = store(Duration::from_secs(1)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(store.unheard_since(), None);
        *lock(&source.0) = None;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let since = store.unheard_since().expect("it hangs").elapsed().expect("it was before");
        assert!((Duration::from_secs(58)..Duration::from_secs(63)).contains(&since), "{since:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_reads_now_and_says_what_keeps_it_from_that() {
        let (source, store) = store(Duration::from_secs(3600)).await;
        *lock(&source.0) = Some(Ok("b"));
        store.refresh().await.expect("it can be read");
        let held = store.load().await.expect("it is in memory").changes;
        assert!(held.iter().any(|change| &*change.key == "b" && change.value.is_some()));
        *lock(&source.0) = Some(Err(()));
        assert!(store.refresh().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_together_is_answered_by_one_reading() {
        let (source, store) = store(Duration::from_secs(3600)).await;
        let before = *lock(&source.1);
        let asked = futures_util::future::join_all((0..100).map(|_| store.refresh())).await;
        assert!(asked.iter().all(Result::is_ok));
        assert_eq!(*lock(&source.1) - before, 1);
        // Whoever goes away stops no reading.
        let given_up = tokio::time::timeout(Duration::from_millis(50), store.refresh()).await;
        assert!(given_up.is_err());
        *lock(&source.0) = Some(Ok("b"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let held = store.load().await.expect("it is in memory").changes;
        assert!(held.iter().any(|change| &*change.key == "b"));
    }
}
