//! A store over something that can only be read: it is read again and again, and what differs is a commit.
//!
//! The history begins with the process, so a server that was restarted tells its clients everything anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use datastream::position::Position;
use tokio::task::JoinSet;

use super::memory::{MemoryStore, Written};
use crate::store::{
    Commit, CommitError, HistoryPage, HistoryQuery, Retention, Since, Snapshot, Store, StoreError, Usage,
};

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
    known: MemoryStore,
    /// Why the last reading failed.
    failure: Mutex<Option<String>>,
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
        let shared = Arc::new(Shared { known: MemoryStore::new(), failure: Mutex::default() });
        shared.known.mirror(source.read().await?);
        let polling = shared.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                polling.look(&source).await;
            }
        });
        Ok(Self { shared, kind, why, _task: task })
    }

    fn read_only<E: From<StoreError>>(&self) -> E {
        StoreError::ReadOnly(self.why.clone().into()).into()
    }
}

impl Shared {
    async fn look(&self, source: &impl Source) {
        let failure = match source.read().await {
            Ok(rows) => {
                self.known.mirror(rows);
                None
            }
            Err(error) => Some(crate::error_chain(&error)),
        };
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// What was read is old while reading fails.
    fn check(&self) -> Result<(), StoreError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
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

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.shared.known.compact(retention).await
    }

    async fn rung(&self) {
        self.shared.known.rung().await;
    }
}
