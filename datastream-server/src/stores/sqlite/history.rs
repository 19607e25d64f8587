//! What the log and the token list say. Each function is to run inside one transaction.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use datastream::position::Position;
use rusqlite::{Connection, Error, ErrorCode, OptionalExtension, Result, Row};

use crate::config::MAX_VALUE_BYTES;
use crate::store::{Batch, Change, Held, Since, Snapshot, Stored};

/// The largest value that is read, in bytes; of what is larger, the size alone.
pub(super) const LARGEST: i64 = MAX_VALUE_BYTES as i64;

/// Where the history stands.
pub(super) struct Head {
    pub(super) position: Position,
    pub(super) compacted_to: u64,
    identity: Vec<u8>,
}

pub(super) fn head(connection: &Connection) -> Result<Head> {
    let mut query = connection.prepare_cached(
        "SELECT revision, token,
           (SELECT value FROM datastream_meta WHERE name = 'identity'),
           (SELECT value FROM datastream_meta WHERE name = 'compacted_to')
         FROM datastream_token ORDER BY revision DESC LIMIT 1",
    )?;
    query.query_row([], |row| {
        let identity: Vec<u8> = row.get(2)?;
        let position = position(&identity, row)?;
        Ok(Head { position, compacted_to: row.get::<_, i64>(3)?.cast_unsigned(), identity })
    })
}

/// The position of the head.
pub(super) fn newest(connection: &Connection) -> Result<Position> {
    let mut query = connection.prepare_cached(
        "SELECT revision, token, (SELECT value FROM datastream_meta WHERE name = 'identity')
         FROM datastream_token ORDER BY revision DESC LIMIT 1",
    )?;
    query.query_row([], |row| position(row.get_ref(2)?.as_blob()?, row))
}

/// The revision of the head.
pub(super) fn last(connection: &Connection) -> Result<u64> {
    connection
        .prepare_cached("SELECT max(revision) FROM datastream_token")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(i64::cast_unsigned)
}

/// Where the history of ours stands that the database holds; `None` unless all that belongs to it is there.
pub(super) fn whole(connection: &Connection) -> Result<Option<Head>> {
    // The genesis is never forgotten.
    let genesis = "SELECT 1 FROM datastream_log WHERE key IS NULL";
    let found =
        head(connection).and_then(|head| Ok(connection.prepare_cached(genesis)?.exists([])?.then_some(head)));
    match found {
        Err(Error::QueryReturnedNoRows) => Ok(None),
        // SQLite's word for a table that is not there.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(None),
        found => found,
    }
}

/// Where the database stands, if it goes on with the history that `position` was the head of. One that is forgotten is
/// taken for its own: what came after it is not known then, which whoever asks for changes is told.
pub(super) fn continued(connection: &Connection, position: &Position) -> Result<Option<Position>> {
    let Some(head) = whole(connection)? else { return Ok(None) };
    let kept = position_at(connection, position.revision)?;
    let is_forgotten = kept.token.is_empty() && position.revision <= head.compacted_to;
    Ok((kept == *position || is_forgotten).then_some(head.position))
}

/// The position at which a commit ended, without a token if that is forgotten.
pub(super) fn position_at(connection: &Connection, revision: u64) -> Result<Position> {
    let mut query = connection.prepare_cached(
        "SELECT revision, token, (SELECT value FROM datastream_meta WHERE name = 'identity')
         FROM datastream_token WHERE revision = ?1",
    )?;
    let kept = query
        .query_row([revision.cast_signed()], |row| position(&row.get::<_, Vec<u8>>(2)?, row))
        .optional()?;
    Ok(kept.unwrap_or(Position { revision, token: Bytes::new() }))
}

/// The latest change of a key, and the revision at which the commit ended that made it.
pub(super) fn latest(connection: &Connection, key: &str) -> Result<Option<(Held, u64)>> {
    let mut query = connection.prepare_cached(
        "SELECT type, value, revision, \"commit\" FROM datastream_log
         WHERE key = ?1 ORDER BY revision DESC LIMIT 1",
    )?;
    Ok(query.query_row([key], |row| held(row, 0)).optional()?.flatten())
}

/// What four columns from `first` on say: the type, the value, the revision, where the commit ended. `None` where they are of
/// no row.
pub(super) fn held(row: &Row<'_>, first: usize) -> Result<Option<(Held, u64)>> {
    let Some(revision) = row.get::<_, Option<i64>>(first + 2)?.map(i64::cast_unsigned) else {
        return Ok(None);
    };
    // A foreign change stands for itself.
    let commit = row.get::<_, Option<i64>>(first + 3)?.map_or(revision, i64::cast_unsigned);
    Ok(Some((Held { value: stored(row, first, first + 1)?, is_left_out: false, revision }, commit)))
}

pub(super) fn snapshot(connection: &Connection) -> Result<Snapshot> {
    let head = head(connection)?;
    // The inner query reads the index alone, so superseded values cost nothing here.
    let mut query = connection.prepare_cached(
        "SELECT key, revision, CAST(round(unixepoch(time, 'subsec') * 1000) AS INTEGER), type,
           CASE WHEN length(value) <= ?2 THEN value END, length(value)
         FROM (SELECT max(revision) AS revision FROM datastream_log WHERE key IS NOT NULL GROUP BY key)
           JOIN datastream_log USING (revision)
         WHERE value IS NOT NULL OR revision > ?1",
    )?;
    let changes = query.query_map([head.compacted_to.cast_signed(), LARGEST], change)?;
    Ok(Snapshot {
        changes: changes.collect::<Result<_>>()?,
        positions: positions_after(connection, &head, head.compacted_to)?,
        position: head.position,
        compacted_to: head.compacted_to,
    })
}

pub(super) fn since(connection: &Connection, after: &Position) -> Result<Since> {
    // There cannot be more than that.
    Ok(since_within(connection, after, usize::MAX)?.unwrap_or(Since::Replaced))
}

/// The same; `None` where the values have more bytes than `most`, of which about that many are read.
pub(super) fn since_within(connection: &Connection, after: &Position, most: usize) -> Result<Option<Since>> {
    let head = head(connection)?;
    let (mut positions, mut changes) = (Vec::new(), Vec::new());
    if head.position != *after {
        let kept = position_at(connection, after.revision)?;
        if after.revision < head.compacted_to || after.token.is_empty() || kept != *after {
            return Ok(Some(Since::Replaced));
        }
        positions = positions_after(connection, &head, after.revision)?;
        let Some(found) = changes_after(connection, after.revision, most)? else { return Ok(None) };
        changes = found;
    }
    let (position, compacted_to) = (head.position, head.compacted_to);
    Ok(Some(Since::Changes(Batch { position, compacted_to, positions, changes })))
}

/// To the end, never a part: what one transaction wrote must be seen together.
fn changes_after(connection: &Connection, revision: u64, most: usize) -> Result<Option<Vec<Change>>> {
    let mut query = connection.prepare_cached(
        "SELECT key, revision, CAST(round(unixepoch(time, 'subsec') * 1000) AS INTEGER), type,
           CASE WHEN length(value) <= ?2 THEN value END, length(value)
         FROM datastream_log WHERE revision > ?1 AND key IS NOT NULL ORDER BY revision",
    )?;
    let (mut changes, mut bytes) = (Vec::new(), 0);
    for found in query.query_map([revision.cast_signed(), LARGEST], change)? {
        let found = found?;
        bytes += found.value.as_ref().map_or(0, |stored| stored.value.len());
        if bytes > most {
            return Ok(None);
        }
        changes.push(found);
    }
    Ok(Some(changes))
}

fn positions_after(connection: &Connection, head: &Head, revision: u64) -> Result<Vec<Position>> {
    let mut query = connection.prepare_cached(
        "SELECT revision, token FROM datastream_token WHERE revision > ?1 ORDER BY revision",
    )?;
    let rows = query.query_map([revision.cast_signed()], |row| position(&head.identity, row))?;
    rows.collect()
}

fn position(identity: &[u8], row: &Row<'_>) -> Result<Position> {
    Ok(token(identity, row.get::<_, i64>(0)?.cast_unsigned(), Some(row.get_ref(1)?.as_blob()?)))
}

/// A position; without a token where none is kept.
pub(super) fn token(identity: &[u8], revision: u64, drawn: Option<&[u8]>) -> Position {
    let token = drawn.map_or_else(Bytes::new, |drawn| [identity, drawn].concat().into());
    Position { revision, token }
}

/// What stands before every token of this store.
pub(super) fn identity(connection: &Connection) -> Result<Vec<u8>> {
    connection
        .prepare_cached("SELECT value FROM datastream_meta WHERE name = 'identity'")?
        .query_row([], |row| row.get(0))
}

pub(super) fn change(row: &Row<'_>) -> Result<Change> {
    let millis = row.get::<_, Option<i64>>(2)?.and_then(|millis| u64::try_from(millis).ok()).unwrap_or(0);
    let value = stored(row, 3, 4)?;
    let bytes = row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned);
    Ok(Change {
        key: key(row)?,
        revision: row.get::<_, i64>(1)?.cast_unsigned(),
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
        too_large: bytes.filter(|_| value.is_none()),
        value,
    })
}

/// A key that is no UTF-8 cannot be named on the wire. It is given a name that no key may have.
fn key(row: &Row<'_>) -> Result<Arc<str>> {
    let bytes = row.get_ref(0)?.as_bytes()?;
    Ok(match std::str::from_utf8(bytes) {
        Ok(key) => Arc::from(key),
        Err(_) => Arc::from(format!("{}\0", String::from_utf8_lossy(bytes))),
    })
}

fn stored(row: &Row<'_>, value_type: usize, value: usize) -> Result<Option<Stored>> {
    let Some(value) = row.get_ref(value)?.as_blob_or_null()? else {
        return Ok(None);
    };
    let value_type = String::from_utf8_lossy(row.get_ref(value_type)?.as_bytes()?).into();
    Ok(Some(Stored { value: Bytes::copy_from_slice(value), value_type }))
}
