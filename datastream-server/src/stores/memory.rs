//! The store `memory`: settings in this process, gone with it.
//!
//! Its identity is drawn anew with each store, so no position of an earlier run is ever taken for one of its
//! own.

mod history;
#[cfg(any(feature = "directory", feature = "object"))]
mod log;
#[cfg(feature = "testing")]
mod meddling;

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use datastream::position::Position;
use tokio::sync::Notify;

use self::history::History;
#[cfg(any(feature = "directory", feature = "object", feature = "postgres"))]
pub(super) use self::history::Written;
use crate::store::{
    Commit, CommitError, HistoryPage, HistoryQuery, Retention, Since, Snapshot, Store, StoreError, Usage,
};

/// A store in memory.
///
/// No method waits. All are quick but for the history of a prefix, a compaction and the usage, which walk what is kept:
/// up to a hundred changes of each key. Nothing survives the process.
#[derive(Debug)]
pub struct MemoryStore {
    history: Mutex<History>,
    bell: Notify,
}

impl MemoryStore {
    /// An empty store, with an identity of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::beginning_at(1)
    }

    fn beginning_at(genesis: u64) -> Self {
        Self { history: Mutex::new(History::new(genesis)), bell: Notify::new() }
    }

    /// Brings this store to what another one holds, in one commit.
    #[cfg(feature = "postgres")]
    pub(super) fn mirror(&self, rows: Vec<Written>) {
        if self.history().mirror(rows) {
            self.bell.notify_one();
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nothing panics while it holds this lock")
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(self.history().snapshot())
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        Ok(self.history().since(after))
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let position = self.history().commit(&commit)?;
        self.bell.notify_one();
        Ok(position)
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        let seeded = self.history().seed(commit)?;
        self.bell.notify_one();
        Ok(seeded)
    }

    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        Ok(Some(self.history().page(&query)))
    }

    async fn usage(&self) -> Result<Option<Usage>, StoreError> {
        Ok(Some(self.history().usage()))
    }

    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        Ok(self.history().compact(retention))
    }

    async fn rung(&self) {
        self.bell.notified().await;
    }
}
