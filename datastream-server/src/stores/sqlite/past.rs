//! Reading the history: what was, and how much of it is kept.
//!
//! That may take as long as there are changes, so each such read has a connection of its own, one after the other, and the
//! thread that follows the file goes on meanwhile. One that nobody waits for any more is interrupted.

use std::path::PathBuf;

use datastream::key::Selector;
use rusqlite::{Connection, Error, InterruptHandle, Result, Row, params};
use tokio::sync::{Semaphore, oneshot};

use super::history::{LARGEST, change, identity, token};
use super::open;
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
#[derive(Debug)]
pub(super) struct Past(Semaphore);

impl Default for Past {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Past {
    /// Runs `read` on the file at `path`, in one read transaction.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        path: PathBuf,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let _turn = self.0.acquire().await.map_err(|closed| StoreError::Unavailable(closed.into()))?;
        let (begun, connected) = oneshot::channel();
        let reading = tokio::task::spawn_blocking(move || {
            let connection = open::connect(&path)?;
            connection.pragma_update(None, "query_only", true)?;
            if begun.send(connection.get_interrupt_handle()).is_err() {
                return Err(Error::QueryReturnedNoRows); // Nobody waits any more.
            }
            let transaction = connection.unchecked_transaction()?;
            read(&transaction)
        });
        let _interrupt = connected.await.ok().map(Interrupt);
        Ok(reading.await.map_err(|panicked| StoreError::Unavailable(panicked.into()))??)
    }
}

/// Ends a read when it is dropped; one that is over is not concerned.
struct Interrupt(InterruptHandle);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.interrupt();
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
