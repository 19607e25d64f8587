//! What the log and the token list say of the present.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use datastream::position::Position;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, GenericClient, IsolationLevel, Row, Transaction};

use super::LONG_ANSWER;
use crate::config::MAX_VALUE_BYTES;
use crate::store::{Batch, Change, Since, Snapshot, StoreError, Stored};

/// The largest value that is read, in bytes; of what is larger, the size alone.
pub(super) const LARGEST: i32 = MAX_VALUE_BYTES as i32;

/// The columns that [`change`] reads.
pub(super) const CHANGE: &str =
    "key, revision, time, type, CASE WHEN octet_length(value) <= $2 THEN value END,
  octet_length(value)";

/// Where the history stands.
pub(super) struct Head {
    pub(super) position: Position,
    pub(super) compacted_to: u64,
    identity: Vec<u8>,
    /// The token of the revision that was asked for, if it is kept.
    kept: Option<Vec<u8>>,
    /// Whether this is a replica, which may lag behind what it follows.
    pub(super) is_replica: bool,
}

/// Where the history stands, and what it knows of `revision`.
pub(super) async fn head(client: &impl GenericClient, revision: u64) -> Result<Head, Error> {
    let row = client
        .query_typed_one(
            "SELECT revision, token, decode((SELECT value FROM datastream.meta WHERE name = 'identity'), 'hex'),
               (SELECT value::bigint FROM datastream.meta WHERE name = 'compacted_to'),
               (SELECT token FROM datastream.token WHERE revision = $1), pg_is_in_recovery()
             FROM datastream.token ORDER BY revision DESC LIMIT 1",
            &[(&as_sql(revision), Type::INT8)],
        )
        .await?;
    let identity: Vec<u8> = row.try_get(2)?;
    Ok(Head {
        position: position(&identity, &row)?,
        compacted_to: row.try_get::<_, i64>(3)?.cast_unsigned(),
        kept: row.try_get(4)?,
        is_replica: row.try_get(5)?,
        identity,
    })
}

impl Head {
    /// What this history knows of a position that somebody else has.
    fn judge(&self, after: &Position) -> Knows {
        if self.position == *after {
            return Knows::Head;
        }
        let is_ahead = after.revision > self.position.revision;
        if is_ahead && self.is_replica && after.token.starts_with(&self.identity) {
            return Knows::NotYet;
        }
        let kept = self.kept.as_ref().map(|drawn| token(&self.identity, drawn));
        let is_known = kept.is_some_and(|kept| kept == after.token) && after.revision >= self.compacted_to;
        if is_known { Knows::Passed } else { Knows::Nothing }
    }

    /// The position of the revision that was asked for.
    pub(super) fn asked(&self, revision: u64) -> Position {
        self.position_of(revision, self.kept.as_deref())
    }

    /// A position of this history, without a token where none is kept.
    pub(super) fn position_of(&self, revision: u64, drawn: Option<&[u8]>) -> Position {
        Position { revision, token: drawn.map_or_else(Bytes::new, |drawn| token(&self.identity, drawn)) }
    }
}

enum Knows {
    /// It is the head.
    Head,
    /// It has gone on from there.
    Passed,
    /// It is a replica, and may come to know it.
    NotYet,
    Nothing,
}

/// What one question tells of what came after a position.
pub(super) enum Asked {
    /// All there is to say.
    Told(Since),
    /// There is more; [`gone_on`] says what.
    More,
    /// A replica that is behind the position.
    Behind,
}

/// Asks what came after a position; and whether this is a replica.
pub(super) async fn ask(client: &Client, after: &Position) -> Result<(Asked, bool), StoreError> {
    let head = head(client, after.revision).await?;
    let is_replica = head.is_replica;
    let asked = match head.judge(after) {
        Knows::NotYet => Asked::Behind,
        Knows::Nothing => Asked::Told(Since::Replaced),
        Knows::Head => Asked::Told(unchanged(head)),
        Knows::Passed => Asked::More,
    };
    Ok((asked, is_replica))
}

fn unchanged(head: Head) -> Since {
    let (position, compacted_to) = (head.position, head.compacted_to);
    Since::Changes(Batch { position, compacted_to, positions: Vec::new(), changes: Vec::new() })
}

/// What came after a position of this history: to the end, never a part, and as of one moment, since what one transaction
/// wrote must be seen together. Of a key the latest change, however many there were. Nothing, where it is no longer one.
pub(super) async fn gone_on(client: &mut Client, after: &Position) -> Result<Option<Batch>, StoreError> {
    let transaction = snapshot_of(client).await?;
    let head = head(&transaction, after.revision).await?;
    if !matches!(head.judge(after), Knows::Passed) {
        return Ok(None);
    }
    let sql = format!(
        "SELECT {CHANGE} FROM (
           SELECT key, max(revision) AS revision FROM datastream.log WHERE revision > $1 GROUP BY key
         ) AS latest JOIN datastream.log USING (key, revision) ORDER BY revision, key"
    );
    let positions = positions_after(&transaction, &head, after.revision).await?;
    let changes = changes(&transaction, &sql, after.revision).await?;
    transaction.commit().await?;
    Ok(Some(Batch { position: head.position, compacted_to: head.compacted_to, positions, changes }))
}

/// Everything, as of one moment, and whether a replica says so.
pub(super) async fn load(client: &mut Client) -> Result<(Snapshot, bool), StoreError> {
    let transaction = snapshot_of(client).await?;
    let head = head(&transaction, 0).await?;
    // Which row is the latest is found in the index alone, so superseded values cost nothing here.
    let sql = format!(
        "SELECT {CHANGE} FROM (SELECT key, max(revision) AS revision FROM datastream.log GROUP BY key) AS latest
           JOIN datastream.log USING (key, revision)
         WHERE value IS NOT NULL OR revision > $1"
    );
    let changes = changes(&transaction, &sql, head.compacted_to).await?;
    let positions = positions_after(&transaction, &head, head.compacted_to).await?;
    transaction.commit().await?;
    let is_replica = head.is_replica;
    Ok((
        Snapshot { position: head.position, compacted_to: head.compacted_to, positions, changes },
        is_replica,
    ))
}

/// A transaction that sees one moment, and hinders nobody. The database ends it when nobody waits for it any more.
pub(super) async fn snapshot_of(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let reading = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = reading.start().await?;
    transaction.batch_execute(&format!("SET LOCAL statement_timeout = {}", LONG_ANSWER.as_millis())).await?;
    Ok(transaction)
}

async fn changes(transaction: &Transaction<'_>, sql: &str, after: u64) -> Result<Vec<Change>, Error> {
    let rows = transaction.query_typed(sql, &[(&as_sql(after), Type::INT8), (&LARGEST, Type::INT4)]).await?;
    rows.iter().map(change).collect()
}

async fn positions_after(
    transaction: &Transaction<'_>,
    head: &Head,
    revision: u64,
) -> Result<Vec<Position>, Error> {
    let sql = "SELECT revision, token FROM datastream.token WHERE revision > $1 ORDER BY revision";
    let rows = transaction.query_typed(sql, &[(&as_sql(revision), Type::INT8)]).await?;
    rows.iter().map(|row| position(&head.identity, row)).collect()
}

fn position(identity: &[u8], row: &Row) -> Result<Position, Error> {
    let (revision, drawn): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Position { revision: revision.cast_unsigned(), token: token(identity, drawn) })
}

fn token(identity: &[u8], drawn: &[u8]) -> Bytes {
    [identity, drawn].concat().into()
}

/// A change, of the columns in [`CHANGE`].
pub(super) fn change(row: &Row) -> Result<Change, Error> {
    let (key, revision): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
    let value = stored(row, 3)?;
    let bytes: Option<i32> = row.try_get(5)?;
    Ok(Change {
        key: Arc::from(key),
        revision: revision.cast_unsigned(),
        time: row.try_get::<_, SystemTime>(2)?,
        too_large: bytes.filter(|_| value.is_none()).map(|bytes| i64::from(bytes).cast_unsigned()),
        value,
    })
}

/// A value, of a column with its type and the next with its bytes.
pub(super) fn stored(row: &Row, value_type: usize) -> Result<Option<Stored>, Error> {
    let (value_type, value): (Option<&str>, Option<&[u8]>) =
        (row.try_get(value_type)?, row.try_get(value_type + 1)?);
    Ok(value.map(|value| Stored {
        value: Bytes::copy_from_slice(value),
        value_type: value_type.unwrap_or_default().into(),
    }))
}

/// A revision as PostgreSQL counts; what is beyond that is none that it ever gave.
pub(super) fn as_sql(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
