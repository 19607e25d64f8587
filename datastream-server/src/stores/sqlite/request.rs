//! The commits that were made under a name, so that one which comes again is not made again.

use datastream::position::Position;
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::history;
use crate::store::{CommitError, RequestId};

/// How many names one step forgets.
const STEP: i64 = 1000;

/// Where the commit of this request ended, if it was made before.
pub(super) fn applied(connection: &Connection, request: &RequestId) -> Result<Option<Position>, CommitError> {
    let mut query =
        connection.prepare_cached("SELECT digest, revision FROM datastream_request WHERE id = ?1")?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    match query.query_row([&request.id], row).optional()? {
        Some((digest, _)) if digest.cast_unsigned() != request.digest => Err(CommitError::Reused),
        Some((_, revision)) => Ok(Some(history::position_at(connection, revision.cast_unsigned())?)),
        None => Ok(None),
    }
}

/// Notes that the commit of this request ended at `revision`, in its transaction.
pub(super) fn remember(connection: &Connection, request: &RequestId, revision: u64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO datastream_request (id, digest, revision, time)
             VALUES (?1, ?2, ?3, strftime('%Y-%m-%d %H:%M:%f', 'now'))",
        )?
        .execute(params![request.id, request.digest.cast_signed(), revision.cast_signed()])
        .map(drop)
}

/// Forgets some of those from `before` and earlier, and of those beyond the newest `most`. Returns whether there may be more.
pub(super) fn forget(connection: &Connection, before: &str, most: u64) -> Result<bool> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let forgotten = connection
        .prepare_cached(
            "DELETE FROM datastream_request WHERE rowid IN
               (SELECT rowid FROM datastream_request
                WHERE time <= ?1 OR rowid <= (SELECT max(rowid) FROM datastream_request) - ?2
                ORDER BY rowid LIMIT ?3)",
        )?
        .execute(params![before, most, STEP])?;
    Ok(forgotten.cast_signed() as i64 == STEP)
}
