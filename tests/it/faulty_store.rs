//! A store that fails when a test says so. A fault is a guard: it ends when it is dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datastream::position::Position;
use datastream_server::store::{Commit, CommitError, Retention, Since, Snapshot, Store, StoreError};
use datastream_server::stores::MemoryStore;
use tokio::sync::{Notify, watch};

/// What the store says of its failures: nobody outside of the log may see it.
pub(crate) const CAUSE: &str = "SELECT value FROM data at /srv/inner/settings.db";

/// What a store does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Unavailable,
    Full,
    ReadOnly,
    Corrupt,
    Panic,
    /// It waits until the fault ends, and then does its work.
    Slow,
}

/// A store in memory, with faults and counters.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Mutex<Arc<MemoryStore>>,
    replaced: Notify,
    lags: AtomicBool,
    commits: watch::Sender<Option<Fault>>,
    reads: watch::Sender<Option<Fault>>,
    looks: AtomicU64,
    /// Held by each commit that is under way.
    waiting: Arc<()>,
}

impl FaultyStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            replaced: Notify::new(),
            lags: AtomicBool::new(false),
            commits: watch::Sender::new(None),
            reads: watch::Sender::new(None),
            looks: AtomicU64::new(0),
            waiting: Arc::default(),
        })
    }

    /// What happens to commits until the guard is dropped.
    pub(crate) fn fail_commits(&self, fault: Fault) -> FaultGuard {
        FaultGuard::begin(&self.commits, fault)
    }

    /// What happens to reads until the guard is dropped.
    pub(crate) fn fail_reads(&self, fault: Fault) -> FaultGuard {
        FaultGuard::begin(&self.reads, fault)
    }

    /// From now on this store reads what may lag behind the truth.
    pub(crate) fn lag(&self) {
        self.lags.store(true, Ordering::Relaxed);
    }

    /// Puts another, empty history in place of this one, as a restored backup would.
    pub(crate) fn replace(&self) {
        *self.inner.lock().expect("no holder panics") = Arc::default();
        self.replaced.notify_one();
    }

    /// What it holds, whatever its faults are.
    pub(crate) async fn held(&self) -> Snapshot {
        self.inner().load().await.expect("a store in memory can be read")
    }

    /// How often it was asked what changed.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// How many commits are under way.
    pub(crate) fn waiting(&self) -> usize {
        Arc::strong_count(&self.waiting) - 1
    }

    fn inner(&self) -> Arc<MemoryStore> {
        self.inner.lock().expect("no holder panics").clone()
    }
}

/// A fault that lasts until this is dropped.
#[must_use = "a fault ends when its guard is dropped"]
pub(crate) struct FaultGuard(watch::Sender<Option<Fault>>);

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
        self.inner().load().await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        pass(&self.reads).await?;
        self.inner().changes(after).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let _waits = self.waiting.clone();
        pass(&self.commits).await?;
        self.inner().commit(commit).await
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.inner().seed(commit).await
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.inner().compact(retention).await
    }

    async fn rung(&self) {
        let inner = self.inner();
        tokio::select! {
            () = inner.rung() => {}
            () = self.replaced.notified() => {}
        }
    }

    fn authoritative(&self) -> bool {
        !self.lags.load(Ordering::Relaxed)
    }
}
