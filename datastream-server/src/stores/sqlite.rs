//! The store `sqlite`: settings in a table of a SQLite file, open to every other program that writes it.
//!
//! The table is the user's, of the four columns that the original has. Triggers on it keep a log, which numbers
//! every change, whoever made it, and a list of tokens, drawn in the transaction of the change itself
//! (`sqlite/schema.sql`). The triggers are not trusted alone: at the start, when the schema has changed, and now and
//! then, the table is compared with the log. One thread writes, another reads; both end with the store. A file that
//! takes the place of the one that is served is opened in its stead.
//!
//! Not for network file systems: neither SQLite's locks nor the watch on the folder work there.

mod bell;
mod capture;
mod commit;
mod detach;
mod error;
mod file;
mod history;
mod meta;
mod open;
mod past;
mod reader;
mod reconcile;
mod request;
mod table;
mod target;
mod thread;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use datastream::position::Position;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

pub use detach::detach;
pub use error::OpenError;

use self::bell::Bell;
use self::commit::Forgotten;
use self::file::{Lock, Log};
use self::past::{ClosedOnDrop, Past};
use self::reader::Reader;
use self::target::Target;
use self::writer::Writer;
use super::sweep::Sweep;
use crate::store::{
    Action, Commit, CommitError, HistoryPage, HistoryQuery, News, Retention, Since, Snapshot, Store,
    StoreError, Usage,
};

/// How a file is served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The user's table. Default: `data`, the original's.
    pub table: Arc<str>,
    /// How often the table is compared with the log, for what triggers cannot see. Default: ten minutes; at least
    /// 10 ms. It costs some microseconds for each row, in steps between which commits go on.
    pub reconcile: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { table: "data".into(), reconcile: Duration::from_secs(10 * 60) }
    }
}

impl Options {
    /// Sets [`table`](Self::table).
    #[must_use]
    pub fn table(mut self, name: &str) -> Self {
        self.table = name.into();
        self
    }

    /// Sets [`reconcile`](Self::reconcile).
    #[must_use]
    pub fn reconcile(mut self, interval: Duration) -> Self {
        self.reconcile = interval.max(Duration::from_millis(10));
        self
    }
}

/// A store in a SQLite file.
///
/// A commit is durable when it returns (`synchronous = FULL`); commits that wait together share one transaction.
/// What another process writes rings the bell within some milliseconds; within a second where the file system
/// tells late, and every 20 ms it looks where the folder cannot be watched at all.
///
/// When the table is dropped, or the file removed, the store is not available, and what was read last stays; it goes on
/// when the table, or a file, is there again. The second store that opens a file is refused, in whichever process.
///
/// Dropping it finishes the work that was asked for and closes the file, which blocks for that long.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    options: Options,
    bell: Arc<Bell>,
    transactions: Arc<AtomicU64>,
    sweep: Sweep,
    /// `None` while the file cannot be opened.
    open: Arc<RwLock<Option<Open>>>,
}

/// A file that is open.
#[derive(Debug)]
struct Open {
    // In this order: the writer after all who read, since it brings the WAL into the file; then what is left of the WAL,
    // if the file is another; the lock last.
    past: ClosedOnDrop,
    reader: Reader,
    writer: Writer,
    target: Arc<Target>,
    _log: Log,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the file at `path`, and creates it if there is none. Blocks, as long as SQLite needs.
    ///
    /// A file that has the table already, with the original's four columns, is adopted: its rows become the first
    /// commit. [`detach`] takes out again what that adds.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says in one line what to do. A file that is refused is left as it was.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default())
    }

    /// [`open`](Self::open), with options of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, options: Options) -> Result<Self, OpenError> {
        let (bell, transactions) = (Arc::new(Bell::default()), Arc::default());
        let open = Open::new(path, &options, &bell, &transactions, true)?;
        Ok(Self {
            path: path.to_owned(),
            options,
            bell,
            transactions,
            sweep: Sweep::default(),
            open: Arc::new(RwLock::new(Some(open))),
        })
    }

    /// How many transactions this store has made durable; fewer than commits, where those came together.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// The open file; what is at its path now, if that is another.
    async fn current(&self) -> Result<OwnedRwLockReadGuard<Option<Open>>, StoreError> {
        let open = self.open.clone().read_owned().await;
        if is_current(&open) {
            return Ok(open);
        }
        drop(open);
        let mut open = self.open.clone().write_owned().await;
        if !is_current(&open) {
            open = self.reopen(open).await?;
        }
        Ok(open.downgrade())
    }

    /// Opens what is at the path now. A caller that goes away meanwhile takes nothing with it: the next one finds the
    /// file open.
    async fn reopen(&self, mut open: Opening) -> Result<Opening, StoreError> {
        let (path, options) = (self.path.clone(), self.options.clone());
        let (bell, transactions) = (self.bell.clone(), self.transactions.clone());
        let reopened = tokio::task::spawn_blocking(move || {
            if let Some(old) = open.take() {
                tracing::warn!(path = %path.display(), "the file is not the one that was opened: opening it anew");
                drop(old);
            }
            *open = Some(Open::new(&path, &options, &bell, &transactions, false)?);
            tracing::info!(path = %path.display(), "the file is served again");
            Ok::<_, OpenError>(open)
        });
        Ok(reopened.await.map_err(|panicked| StoreError::Unavailable(panicked.into()))??)
    }

    /// Reads of the past hold up no reopening: they end with the file.
    async fn past(&self) -> Result<Arc<Past>, StoreError> {
        Ok(opened(&*self.current().await?)?.past.0.clone())
    }
}

impl Open {
    fn new(
        path: &Path,
        options: &Options,
        bell: &Arc<Bell>,
        transactions: &Arc<AtomicU64>,
        create: bool,
    ) -> Result<Self, OpenError> {
        let opened = open::open(path, &options.table, create)?;
        let failed = |error: error::Failed| OpenError::Other { path: path.to_owned(), source: error.into() };
        let head = history::newest(&opened.writer).map_err(|error| OpenError::of(path, error))?;
        bell.ring_for(&head);
        // Whatever the head: what was told is of the file before.
        bell.ring();
        let place = Arc::new(opened.lock.place(path, &opened.path));
        let target = Arc::new(Target::new(
            options.table.clone(),
            place.clone(),
            bell.clone(),
            options.reconcile,
            transactions.clone(),
        ));
        let writer = Writer::start(opened.writer, target.clone()).map_err(failed)?;
        let reader =
            Reader::start(opened.reader, &opened.path, target.clone(), writer.tasks()).map_err(failed)?;
        let past = ClosedOnDrop(Arc::new(Past::of(opened.past)));
        Ok(Self { past, reader, writer, target, _log: place.log(), _lock: opened.lock })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = self.reader.run(read).await?;
        if self.target.is_unfit() {
            return Err(StoreError::Unavailable("the table cannot be served as it is now".into()));
        }
        Ok(read)
    }

    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&rusqlite::Connection, &str) -> Result<T, CommitError> + Send + 'static,
    ) -> Result<T, CommitError> {
        let table = self.target.table.clone();
        self.writer.run(bytes, move |connection| work(connection, &table)).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        opened(&*self.current().await?)?.read(history::snapshot).await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        let after = after.clone();
        opened(&*self.current().await?)?.read(move |connection| history::since(connection, &after)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let bytes = bytes(&commit);
        let apply = move |connection: &_, table: &_| commit::commit(connection, table, &commit);
        opened(&*self.current().await?)?.write(bytes, apply).await?
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        let bytes = bytes(&commit);
        let apply = move |connection: &_, table: &_| commit::seed(connection, table, commit);
        opened(&*self.current().await?)?.write(bytes, apply).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        let page = move |connection: &_| past::page(connection, &query);
        Ok(Some(self.past().await?.read(page).await?))
    }

    async fn usage(&self) -> Result<Option<Usage>, StoreError> {
        Ok(Some(self.past().await?.read(past::usage).await?))
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }

    /// In steps, between which commits go on. Superseded values are looked for at most a hundred times in the time for
    /// which they are kept, and once an hour.
    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        let mut from = self.sweep.is_due(retention).then_some(0);
        loop {
            let step = move |connection: &_, _: &_| Ok(commit::forget(connection, retention, from)?);
            match opened(&*self.current().await?)?.write(0, step).await {
                Ok(Forgotten { next: Some(next), .. }) => from = next,
                Ok(Forgotten { compacted_to, next: None }) => return Ok(compacted_to),
                Err(CommitError::Store(error)) => return Err(error),
                Err(refused) => {
                    return Err(StoreError::Unavailable(refused.into()));
                }
            }
        }
    }

    async fn rung(&self) {
        self.bell.rung().await;
    }

    /// What its last transaction wrote, with what others wrote before that, unless it is much.
    fn news(&self) -> Option<News> {
        self.bell.news()
    }
}

/// The right to open the file anew.
type Opening = OwnedRwLockWriteGuard<Option<Open>>;

fn is_current(open: &Option<Open>) -> bool {
    open.as_ref().is_some_and(|open| !open.target.place.is_left())
}

fn opened(open: &Option<Open>) -> Result<&Open, StoreError> {
    open.as_ref().ok_or_else(|| StoreError::Unavailable("the file is not open".into()))
}

/// What a row of the log takes beside its texts, in the table and its index.
const ROW_BYTES: usize = 256;

/// About what a commit costs the transaction that it joins: its author and message stand in each row.
fn bytes(commit: &Commit) -> usize {
    let words = ROW_BYTES + commit.author.len() + commit.message.len();
    let rows = commit.operations.iter().map(|operation| match &operation.action {
        Action::Put { value, .. } => words + operation.key.len() + value.len(),
        Action::Delete => words + operation.key.len(),
    });
    rows.sum()
}
