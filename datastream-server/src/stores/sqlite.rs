//! The store `sqlite`: settings in a table of a SQLite file, open to every other program that writes it.
//!
//! The table is the user's, of the four columns that the original has. Triggers on it keep a log, which numbers
//! every change, whoever made it, and a list of tokens, drawn in the transaction of the change itself
//! (`sqlite/schema.sql`). One thread writes, another reads; both end with the store.
//!
//! Not for network file systems: neither SQLite's locks nor the watch on the folder work there.

mod bell;
mod commit;
mod error;
mod history;
mod open;
mod reader;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datastream::position::Position;

pub use error::OpenError;

use self::bell::Bell;
use self::commit::Forgotten;
use self::reader::Reader;
use self::writer::Writer;
use crate::store::{Action, Commit, CommitError, Retention, Since, Snapshot, Store, StoreError};

/// A store in a SQLite file.
///
/// A commit is durable when it returns (`synchronous = FULL`); commits that wait together share one transaction.
/// What another process writes rings the bell within some milliseconds; within a second where the file system
/// tells late, and every 20 ms it looks where the folder cannot be watched at all.
///
/// Dropping it finishes the work that was asked for and closes the file, which blocks for that long.
#[derive(Debug)]
pub struct SqliteStore {
    // The writer is dropped last: it is its connection that brings the WAL into the file.
    reader: Reader,
    writer: Writer,
    bell: Arc<Bell>,
}

impl SqliteStore {
    /// Opens the file at `path`, and creates it if there is none. Blocks, as long as SQLite needs.
    ///
    /// A file that has the table already, in the original's four columns, is adopted: its rows become the first
    /// commit.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says in one line what to do. A file that is refused is left as it was.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = open::open(path)?;
        let head = history::head(&opened.writer).map_err(|error| OpenError::of(path, error))?.position;
        let bell = Arc::new(Bell::new(&head));
        let failed = |error: std::io::Error| OpenError::Other { path: path.to_owned(), source: error.into() };
        Ok(Self {
            reader: Reader::start(opened.reader, bell.clone(), &opened.path).map_err(failed)?,
            writer: Writer::start(opened.writer, bell.clone()).map_err(failed)?,
            bell,
        })
    }

    /// How many transactions this store has made durable; fewer than commits, where those came together.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.writer.transactions()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.reader.run(history::snapshot).await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        let after = after.clone();
        self.reader.run(move |connection| history::since(connection, &after)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        self.writer.run(bytes(&commit), move |connection| commit::commit(connection, &commit)).await
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.writer.run(bytes(&commit), move |connection| commit::seed(connection, commit)).await
    }

    /// In steps, between which commits go on.
    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        let mut from = 0;
        loop {
            let step = move |connection: &_| Ok(commit::forget(connection, retention, from)?);
            match self.writer.run(0, step).await {
                Ok(Forgotten { next: Some(next), .. }) => from = next,
                Ok(Forgotten { compacted_to, next: None }) => return Ok(compacted_to),
                Err(CommitError::Store(error)) => return Err(error),
                Err(refused @ CommitError::Refused(_)) => {
                    return Err(StoreError::Unavailable(refused.into()));
                }
            }
        }
    }

    async fn rung(&self) {
        self.bell.rung().await;
    }
}

/// About what a commit costs the transaction that it joins.
fn bytes(commit: &Commit) -> usize {
    let values = commit.operations.iter().map(|operation| match &operation.action {
        Action::Put { value, .. } => operation.key.len() + value.len(),
        Action::Delete { .. } => operation.key.len(),
    });
    values.sum()
}
