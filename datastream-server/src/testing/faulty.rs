//! A store that fails when a test says so: until a guard is dropped, in one call of many, or by its bell.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use datastream::position::Position;
use tokio::sync::{Notify, watch};

use crate::store::{
    Abilities, Commit, CommitError, HistoryPage, HistoryQuery, Retention, Since, Snapshot, Store, StoreError,
    Usage,
};
use crate::stores::MemoryStore;

/// What a failing store says of its failures: nobody outside of the log may see it.
pub const CAUSE: &str = "SELECT value FROM data at /srv/inner/settings.db";

/// What a store does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`StoreError::Unavailable`].
    Unavailable,
    /// [`StoreError::Full`].
    Full,
    /// [`StoreError::ReadOnly`].
    ReadOnly,
    /// [`StoreError::Corrupt`].
    Corrupt,
    /// It panics.
    Panic,
    /// It waits until the fault ends, and then does its work.
    Slow,
}

/// How a bell rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bell {
    /// As the store inside does.
    Faithful,
    /// Never.
    Silent,
    /// Twice each time.
    Doubled,
    /// Each millisecond as well, for nothing.
    Spurious,
}

/// A store, in memory unless it is put around another, with faults and counters. It tells nothing by itself, whatever
/// the store inside does: what is new is to come by those calls that may fail.
pub struct FaultyStore {
    inner: Mutex<Arc<dyn Store>>,
    replaced: Notify,
    lags: AtomicBool,
    commits: watch::Sender<Option<Fault>>,
    reads: watch::Sender<Option<Fault>>,
    looks: AtomicU64,
    nth: Mutex<Option<NthCall>>,
    reloads: AtomicBool,
    bell: Mutex<Bell>,
    /// The ring that is still to be doubled.
    echo: Notify,
    delay: Mutex<Duration>,
    /// Held by each commit that is under way.
    waiting: Arc<()>,
}

impl FaultyStore {
    /// A store in memory, without faults yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::around(Arc::new(MemoryStore::new()))
    }

    /// Puts faults and counters around `inner`.
    pub fn around(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(inner),
            replaced: Notify::new(),
            lags: AtomicBool::new(false),
            commits: watch::Sender::new(None),
            reads: watch::Sender::new(None),
            looks: AtomicU64::new(0),
            nth: Mutex::default(),
            reloads: AtomicBool::new(false),
            bell: Mutex::new(Bell::Faithful),
            echo: Notify::new(),
            delay: Mutex::default(),
            waiting: Arc::default(),
        })
    }

    /// What happens to commits until the guard is dropped.
    pub fn fail_commits(&self, fault: Fault) -> FaultGuard {
        FaultGuard::begin(&self.commits, fault)
    }

    /// What happens to reads until the guard is dropped.
    pub fn fail_reads(&self, fault: Fault) -> FaultGuard {
        FaultGuard::begin(&self.reads, fault)
    }

    /// From now on calls are counted, and the `n`th of them (from 1) fails: before it does its work, or after it.
    pub fn fail_call(&self, n: u64, moment: Moment) {
        *self.nth.lock().expect("no holder panics") = Some(NthCall { left: n, moment });
    }

    /// From now on the bell rings like this.
    ///
    /// # Panics
    ///
    /// If another thread panicked in this store.
    pub fn set_bell(&self, bell: Bell) {
        *self.bell.lock().expect("no holder panics") = bell;
    }

    /// From now on each call takes so much longer.
    ///
    /// # Panics
    ///
    /// If another thread panicked in this store.
    pub fn delay_calls(&self, delay: Duration) {
        *self.delay.lock().expect("no holder panics") = delay;
    }

    /// Whether the call that was to fail was made.
    pub fn has_failed_call(&self) -> bool {
        self.nth.lock().expect("no holder panics").is_none()
    }

    /// At the next look it no longer knows where the caller stands, as after a long silence, and is to be loaded anew.
    pub fn forget_caller(&self) {
        self.reloads.store(true, Ordering::Relaxed);
        self.replaced.notify_one();
    }

    /// From now on this store reads what may lag behind the truth.
    pub fn lag(&self) {
        self.lags.store(true, Ordering::Relaxed);
    }

    /// Puts another, empty history in place of this one, as a restored backup would.
    pub fn replace(&self) {
        *self.inner.lock().expect("no holder panics") = Arc::new(MemoryStore::new());
        self.replaced.notify_one();
    }

    /// What it holds, whatever its faults are.
    pub async fn held(&self) -> Snapshot {
        self.inner().load().await.expect("the store inside can be read")
    }

    /// How often it was asked what changed.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// How many commits are under way.
    pub fn waiting(&self) -> usize {
        Arc::strong_count(&self.waiting) - 1
    }

    /// Runs one call, unless it is the one that fails.
    async fn call<T, E: From<StoreError>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let failing = self.count_call();
        let delay = *self.delay.lock().expect("no holder panics");
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if failing == Some(Moment::Before) {
            return Err(StoreError::Unavailable(CAUSE.into()).into());
        }
        let result = work.await;
        if failing == Some(Moment::After) {
            return Err(StoreError::Unavailable(CAUSE.into()).into());
        }
        result
    }

    fn count_call(&self) -> Option<Moment> {
        let mut nth = self.nth.lock().expect("no holder panics");
        let call = nth.as_mut()?;
        call.left -= 1;
        if call.left > 0 { None } else { nth.take().map(|call| call.moment) }
    }

    fn inner(&self) -> Arc<dyn Store> {
        self.inner.lock().expect("no holder panics").clone()
    }
}

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With nothing done.
    Before,
    /// With all of it done, and the answer lost.
    After,
}

/// A call that is to fail.
#[derive(Debug)]
struct NthCall {
    /// How many are made until then, this one included.
    left: u64,
    moment: Moment,
}

/// A fault that lasts until this is dropped.
#[must_use = "a fault ends when its guard is dropped"]
pub struct FaultGuard(watch::Sender<Option<Fault>>);

impl FaultGuard {
    fn begin(faults: &watch::Sender<Option<Fault>>, fault: Fault) -> Self {
        faults.send_replace(Some(fault));
        Self(faults.clone())
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

async fn pass(faults: &watch::Sender<Option<Fault>>) -> Result<(), StoreError> {
    let fault = *faults.borrow();
    match fault {
        None => Ok(()),
        Some(Fault::Unavailable) => Err(StoreError::Unavailable(CAUSE.into())),
        Some(Fault::Full) => Err(StoreError::Full(CAUSE.into())),
        Some(Fault::ReadOnly) => Err(StoreError::ReadOnly(CAUSE.into())),
        Some(Fault::Corrupt) => Err(StoreError::Corrupt(CAUSE.into())),
        Some(Fault::Panic) => panic!("the panic that a test asked for"),
        Some(Fault::Slow) => {
            let mut watched = faults.subscribe();
            watched.wait_for(Option::is_none).await.expect("the store holds the sender");
            Ok(())
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        pass(&self.reads).await?;
        self.call(self.inner().load()).await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        pass(&self.reads).await?;
        let inner = self.inner();
        let look = async {
            if self.reloads.swap(false, Ordering::Relaxed) {
                Ok(Since::Replaced)
            } else {
                inner.changes(after).await
            }
        };
        self.call(look).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let _waits = self.waiting.clone();
        pass(&self.commits).await?;
        self.call(self.inner().commit(commit)).await
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.inner().seed(commit).await
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.inner().compact(retention).await
    }

    async fn rung(&self) {
        let inner = self.inner();
        let bell = *self.bell.lock().expect("no holder panics");
        let faithful = async {
            match bell {
                Bell::Silent => std::future::pending().await,
                _ => inner.rung().await,
            }
            if bell == Bell::Doubled {
                self.echo.notify_one();
            }
        };
        let spurious = async {
            match bell {
                Bell::Spurious => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = faithful => {}
            () = spurious => {}
            () = self.echo.notified() => {}
            () = self.replaced.notified() => {}
        }
    }

    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        pass(&self.reads).await?;
        self.inner().history(query).await
    }

    async fn usage(&self) -> Result<Option<Usage>, StoreError> {
        pass(&self.reads).await?;
        self.inner().usage().await
    }

    fn kind(&self) -> &'static str {
        self.inner().kind()
    }

    fn abilities(&self) -> Abilities {
        self.inner().abilities()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        self.inner().refresh().await
    }

    fn unheard_since(&self) -> Option<SystemTime> {
        self.inner().unheard_since()
    }

    fn authoritative(&self) -> bool {
        !self.lags.load(Ordering::Relaxed)
    }
}
