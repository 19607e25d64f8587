//! Reading the history: what was, and how much of it is kept.
//!
//! That may take as long as there are changes, so such reads have a connection of their own, one after the other, and the
//! thread that follows the file goes on meanwhile. One that nobody waits for any more is interrupted. The connection is
//! opened and closed with the others: one to the path, opened later, may meet another file there, beside the log of
//! the one that is served, which SQLite would read into it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datastream::key::Selector;
use rusqlite::{Connection, InterruptHandle, Result, Row, params};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, spawn_blocking};

use super::history::{LARGEST, change, identity, token};
use crate::store::{HistoryPage, HistoryQuery, Logged, StoreError, Usage};
use crate::stores::range::behind;

/// The columns that [`logged`] reads, newest first.
const SELECT: &str =
    "SELECT key, log.revision, CAST(round(unixepoch(log.time, 'subsec') * 1000) AS INTEGER), type,
  CASE WHEN length(value) <= ?2 THEN value END, length(value), coalesce(\"commit\", log.revision), token,
  coalesce(author, ''), coalesce(message, '')
FROM datastream_log AS log
  LEFT JOIN datastream_token AS token ON token.revision = coalesce(\"commit\", log.revision)
WHERE log.revision < ?1 AND length(key) <= 512 AND coalesce(length(type), 0) <= 256";

/// Reads that take their time, one at a time.
pub(super) struct Past {
    turns: Semaphore,
    interrupt: InterruptHandle,
    /// `None` once it is closed.
    connection: Mutex<Option<Connection>>,
}

impl Past {
    pub(super) fn of(connection: Connection) -> Self {
        let interrupt = connection.get_interrupt_handle();
        Self { turns: Semaphore::new(1), interrupt, connection: Mutex::new(Some(connection)) }
    }

    /// Runs `read` in one read transaction.
    pub(super) async fn read<T: Send + 'static>(
        self: Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the file is not open".into());
        let _turn = self.turns.acquire().await.map_err(|_| closed())?;
        let past = self.clone();
        let reading = spawn_blocking(move || {
            let connection = past.connection();
            let Some(connection) = connection.as_ref().filter(|_| !past.turns.is_closed()) else {
                return Ok(None);
            };
            // The end of the read before may have been interrupted, too.
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
            let result = connection.unchecked_transaction().and_then(|transaction| read(&transaction));
            connection.release_memory()?;
            result.map(Some)
        });
        // It is dropped before the turn, so it meets no other read.
        let _interrupt = Interrupt { past: &self, reading: reading.abort_handle() };
        reading.await.map_err(|panicked| StoreError::Unavailable(panicked.into()))??.ok_or_else(closed)
    }

    /// Ends the read that is under way and closes the connection. Blocks for that long.
    pub(super) fn close(&self) {
        self.turns.close();
        self.interrupt.interrupt();
        drop(self.connection().take());
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who read may hold on to it for longer than the file is open; then it is closed all the same.
#[derive(Debug)]
pub(super) struct ClosedOnDrop(pub(super) Arc<Past>);

impl Drop for ClosedOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past").finish_non_exhaustive()
    }
}

/// Ends a read when it is dropped, or keeps it from beginning; one that is over is not concerned.
struct Interrupt<'a> {
    past: &'a Past,
    reading: AbortHandle,
}

impl Drop for Interrupt<'_> {
    fn drop(&mut self) {
        self.past.interrupt.interrupt();
        self.reading.abort();
    }
}

/// A part of the history, newest first.
pub(super) fn page(connection: &Connection, query: &HistoryQuery) -> Result<HistoryPage> {
    let identity = identity(connection)?;
    let before = query.before.as_ref().and_then(|(revision, _)| i64::try_from(*revision).ok());
    let before = before.unwrap_or(i64::MAX);
    let (which, from, to) = match &query.of {
        None => ("", String::new(), String::new()),
        Some(Selector::Key(key)) => (" AND key = ?3", key.to_string(), String::new()),
        // What begins with the prefix lies before the prefix with its `/` raised by one. The log is walked backwards and
        // not sorted, whatever the planner thinks.
        Some(Selector::Prefix(prefix)) => {
            (" AND +key > ?3 AND +key < ?4", prefix.to_string(), behind(prefix))
        }
    };
    let mut select = connection.prepare_cached(&format!("{SELECT}{which} ORDER BY log.revision DESC"))?;
    let read = |row: &Row<'_>| logged(row, &identity);
    match select.parameter_count() {
        2 => query.page(select.query_map(params![before, LARGEST], read)?),
        3 => query.page(select.query_map(params![before, LARGEST, from], read)?),
        _ => query.page(select.query_map(params![before, LARGEST, from, to], read)?),
    }
}

fn logged(row: &Row<'_>, identity: &[u8]) -> Result<Logged> {
    let revision = row.get::<_, i64>(6)?.cast_unsigned();
    let position = token(identity, revision, row.get_ref(7)?.as_blob_or_null()?);
    Ok(Logged { change: change(row)?, position, author: row.get(8)?, message: row.get(9)? })
}

/// What we added to the database: the pages of our tables and their indices. Reads all of these pages.
pub(super) fn usage(connection: &Connection) -> Result<Usage> {
    let changes = "SELECT count(*) FROM datastream_log WHERE key IS NOT NULL";
    let pages = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE aggregate = 1 AND name IN
      (SELECT name FROM sqlite_schema WHERE tbl_name IN
        ('datastream_log', 'datastream_token', 'datastream_request', 'datastream_meta'))";
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(Usage { changes: count(changes)?.cast_unsigned(), bytes: count(pages)?.cast_unsigned() })
}
