//! Comparing the table with the log, and committing the difference.
//!
//! Triggers see almost everything, not all: REPLACE through a second unique column deletes a row in silence, and a
//! table that was made again has no triggers at all. So the table is the truth, and each of its rows that differs from what the
//! log has last is fed into it once more.

use std::sync::LazyLock;

use rusqlite::{Connection, Result};

use super::capture::{NOW, logged};
use super::commit::annotate;
use super::history;
use super::table::quoted;
use crate::store::{Commit, CommitError, Held};

/// How many keys one step looks at: some milliseconds, in which commits wait.
const STEP: i64 = 500;

/// Whose the commits are.
const AUTHOR: &str = "reconcile";

/// A comparison that is under way, in steps between which commits go on.
#[derive(Debug)]
pub(super) struct Comparison {
    pass: Pass,
    /// The bytes of the last key that was looked at: one of a foreign writer need not be UTF-8.
    after: Vec<u8>,
}

/// The order is that of a comparison: what a rename left and brought is there, then gone.
#[derive(Debug)]
enum Pass {
    /// The rows of the table.
    Rows,
    /// The keys of the log that have no row.
    Gone,
}

impl Comparison {
    pub(super) fn new() -> Self {
        Self { pass: Pass::Rows, after: Vec::new() }
    }

    /// Compares the next keys, and commits what differs. Returns whether there is more to compare.
    pub(super) fn step(&mut self, connection: &Connection, table: &str) -> Result<bool, CommitError> {
        let last = committing(connection, || match self.pass {
            Pass::Rows => capture_rows(connection, table, &self.after),
            Pass::Gone => capture_gone(connection, table, &self.after),
        })?;
        match (last, &self.pass) {
            (Some(last), _) => self.after = last,
            (None, Pass::Rows) => *self = Self { pass: Pass::Gone, after: Vec::new() },
            (None, Pass::Gone) => return Ok(false),
        }
        Ok(true)
    }
}

/// Compares all of the table, and commits what differs.
pub(super) fn compare(connection: &Connection, table: &str) -> Result<(), CommitError> {
    committing(connection, || {
        let mut after = Vec::new();
        while let Some(last) = capture_rows(connection, table, &after)? {
            after = last;
        }
        after.clear();
        while let Some(last) = capture_gone(connection, table, &after)? {
            after = last;
        }
        Ok(())
    })
}

/// Whether a row `held` says something else than `last`, the row that the log has last of its key. What the log holds stands
/// first: the collation of the left side counts, and one of the user's may be unknown here, or take other texts for equal.
static DIFFERS: LazyLock<String> = LazyLock::new(|| {
    let [value, kind] = logged("held");
    format!("(last.value IS NOT {value} OR last.type IS NOT {kind})")
});

/// What is found of one key.
pub(super) struct Looked {
    /// Whether the table holds something else than the log has last.
    pub(super) differs: bool,
    /// What the log has last, and the revision at which the commit ended that made it.
    pub(super) latest: Option<(Held, u64)>,
    /// The revision of the head.
    pub(super) head: u64,
}

/// Looks at the table and at the log in one statement: beginning one costs as much as what it does.
pub(super) fn look(connection: &Connection, table: &str, key: &str) -> Result<Looked> {
    let sql = format!(
        "SELECT {},
           (SELECT max(revision) FROM datastream_token), last.type, last.value, last.revision, last.\"commit\"
         FROM (SELECT 1) LEFT JOIN {} AS held ON held.key = ?1 LEFT JOIN datastream_log AS last
           ON last.revision = (SELECT max(revision) FROM datastream_log WHERE key = ?1)",
        *DIFFERS,
        quoted(table)
    );
    connection.prepare_cached(&sql)?.query_row([key], |row| {
        let head = row.get::<_, i64>(1)?.cast_unsigned();
        Ok(Looked { differs: row.get(0)?, latest: history::held(row, 2)?, head })
    })
}

/// Brings the log to what the table holds of one key. Without a commit's words: somebody wrote it before.
pub(super) fn capture_key(connection: &Connection, table: &str, key: &str) -> Result<()> {
    let sql = format!(
        "INSERT INTO datastream_capture (key, value, value_type, time, now)
         SELECT asked.key, held.value, held.value_type, held.updated_at, {NOW}
         FROM (SELECT ?1 AS key) AS asked LEFT JOIN {} AS held ON held.key = asked.key",
        quoted(table)
    );
    connection.prepare_cached(&sql)?.execute([key]).map(drop)
}

/// How many rows have a key that is no text, and so none that a message could name.
pub(super) fn unkeyed(connection: &Connection, table: &str) -> Result<u64> {
    let sql = format!(
        "SELECT (SELECT count(*) FROM {table} WHERE key IS NULL) + (SELECT count(*) FROM {table} WHERE key < '')
           + (SELECT count(*) FROM {table} WHERE key >= x'')",
        table = quoted(table)
    );
    connection.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// What `capture` adds to the log becomes one commit.
fn committing<T>(connection: &Connection, capture: impl FnOnce() -> Result<T>) -> Result<T, CommitError> {
    let before = history::last(connection)?;
    let captured = capture()?;
    let revision = history::last(connection)?;
    if revision > before {
        let commit = Commit { author: AUTHOR.to_owned(), ..Commit::default() };
        annotate(connection, &commit, before, 0)?;
        let changes = revision - before;
        tracing::warn!(changes, "the table was changed past its triggers: what differed is committed now");
    }
    Ok(captured)
}

/// Feeds those rows of the next keys into the log that differ from it. Returns the last of these keys, if there is one.
fn capture_rows(connection: &Connection, table: &str, after: &[u8]) -> Result<Option<Vec<u8>>> {
    // Every text sorts before every blob.
    let next = format!(
        "SELECT max(key) FROM
           (SELECT key FROM {table} WHERE key > {AFTER} AND key < x'' ORDER BY key LIMIT {STEP})",
        table = quoted(table)
    );
    let capture = format!(
        "INSERT INTO datastream_capture (key, value, value_type, time, now)
         SELECT held.key, held.value, held.value_type, held.updated_at, {NOW}
         FROM {} AS held LEFT JOIN datastream_log AS last
           ON last.revision = (SELECT max(revision) FROM datastream_log WHERE key = held.key)
         WHERE held.key > {AFTER} AND held.key <= {LAST} AND {}",
        quoted(table),
        *DIFFERS
    );
    step(connection, &next, &capture, after)
}

/// Feeds those of the next keys that have no row into the log: as deletions, where it has them.
fn capture_gone(connection: &Connection, table: &str, after: &[u8]) -> Result<Option<Vec<u8>>> {
    // One look-up for each key, however long its history.
    let known = format!(
        "WITH RECURSIVE known (key) AS (
           SELECT min(key) FROM datastream_log WHERE key > {AFTER}
           UNION ALL
           SELECT (SELECT min(key) FROM datastream_log WHERE key > known.key) FROM known
           WHERE known.key IS NOT NULL LIMIT {STEP}
         )"
    );
    let next = format!("{known} SELECT max(key) FROM known");
    let capture = format!(
        "INSERT INTO datastream_capture (key, now) {known}
         SELECT key, {NOW} FROM known WHERE key <= {LAST} AND NOT EXISTS (SELECT 1 FROM {} AS held WHERE held.key = known.key)",
        quoted(table)
    );
    step(connection, &next, &capture, after)
}

/// The first parameter, bytes, as text. The plus takes the affinity away, or no index of a column without one would be
/// used.
const AFTER: &str = "+CAST(?1 AS TEXT)";
/// The second parameter, likewise.
const LAST: &str = "+CAST(?2 AS TEXT)";

fn step(connection: &Connection, next: &str, capture: &str, after: &[u8]) -> Result<Option<Vec<u8>>> {
    let last: Option<Vec<u8>> = connection
        .prepare_cached(next)?
        .query_row([after], |row| Ok(row.get_ref(0)?.as_bytes_or_null()?.map(<[u8]>::to_vec)))?;
    if let Some(last) = &last {
        connection.prepare_cached(capture)?.execute([after, last])?;
    }
    Ok(last)
}
