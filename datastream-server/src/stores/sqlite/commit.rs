//! What the writer does inside a transaction: commits, the seed, and forgetting.
//!
//! The user's table is written first, its triggers keep the log, and the rows that they made are then given
//! the commit's own words. So our writes take the same way into the log as everybody's.

use std::sync::Arc;

use datastream::position::Position;
use rusqlite::{Connection, params};

use super::error::of_write;
use super::reconcile::Looked;
use super::table::quoted;
use super::writer::in_savepoint;
use super::{history, reconcile, request};
use crate::store::{Action, Commit, CommitError, Effect, Operation, Refused, Retention, StoreError};

/// How many rows one transaction of [`forget`] looks at: some milliseconds, in which commits wait.
const STEP: i64 = 1000;

/// What became of a commit: made, or refused with nothing of it applied. What was found out about its keys stays either way.
pub(super) type Decided = Result<Position, CommitError>;

/// Applies `commit` to `table`, unless that was done before. On an error the caller rolls back.
///
/// It is decided by what the table holds, which the log is brought to first: what was deleted past the triggers does
/// not stand, and a push of it is one. That is kept even where the commit is refused, so that who is told of a revision
/// can read it.
pub(super) fn commit(connection: &Connection, table: &str, commit: &Commit) -> Result<Decided, CommitError> {
    let steps = decide(connection, table, commit)?;
    if !steps.iter().any(|step| step.differs) {
        // Nothing was found out that a refusal would take along: the caller's savepoint is enough.
        return once(connection, table, commit, steps).map(Ok);
    }
    for step in steps.iter().filter(|step| step.differs) {
        reconcile::capture_key(connection, table, &step.operation.key)?;
    }
    let steps = decide(connection, table, commit)?;
    match in_savepoint(connection, |connection| once(connection, table, commit, steps)) {
        Err(error @ CommitError::Store(_)) => Err(error),
        // A trigger of the user's may have ended the transaction.
        Err(refused) if connection.is_autocommit() => Err(refused),
        decided => Ok(decided),
    }
}

/// What is to be done about an operation. Of what its key holds nothing is kept: it may be large, and there may be many.
struct Step<'a> {
    operation: &'a Operation,
    effect: Result<Effect, Refused>,
    /// Where the commit ended that made what the key holds.
    made_at: Option<u64>,
    /// Whether the table holds something else than the log: then the effect is not to be relied on.
    differs: bool,
    /// The revision of the head.
    head: u64,
}

/// Decides every operation, before the first is applied: a trigger of the user's may write other keys of the commit.
fn decide<'a>(connection: &Connection, table: &str, commit: &'a Commit) -> rusqlite::Result<Vec<Step<'a>>> {
    let step = |operation: &'a Operation| {
        let Looked { differs, latest, head } = reconcile::look(connection, table, &operation.key)?;
        let effect = operation.decide(latest.as_ref().map(|(held, _)| held));
        Ok(Step { operation, effect, made_at: latest.map(|(_, made_at)| made_at), differs, head })
    };
    commit.operations.iter().map(step).collect()
}

/// Makes the commit, unless it was made under its name before.
fn once(
    connection: &Connection,
    table: &str,
    commit: &Commit,
    steps: Vec<Step<'_>>,
) -> Result<Position, CommitError> {
    let Some(request) = commit.request.as_ref().filter(|_| !commit.operations.is_empty()) else {
        return make(connection, table, commit, steps);
    };
    if let Some(position) = request::applied(connection, request)? {
        return Ok(position);
    }
    let position = make(connection, table, commit, steps)?;
    request::remember(connection, request, position.revision)?;
    Ok(position)
}

/// Applies what was decided, if none of it was refused.
fn make(
    connection: &Connection,
    table: &str,
    commit: &Commit,
    steps: Vec<Step<'_>>,
) -> Result<Position, CommitError> {
    let before = steps.first().map_or(0, |step| step.head);
    let made_at: Vec<_> = steps.iter().map(|step| step.made_at).collect();
    let effects = steps.into_iter().map(|step| {
        let refused = |why| CommitError::from(why).of(&step.operation.key);
        Ok((&step.operation.key, step.effect.map_err(refused)?))
    });
    let effects: Vec<_> = effects.collect::<Result<_, CommitError>>()?;
    let mut written = Vec::with_capacity(effects.len());
    for (key, effect) in &effects {
        if apply(connection, table, key, effect).map_err(|error| error.of(key))? {
            written.push(*key);
        }
    }
    if written.is_empty() {
        return standing(connection, made_at.into_iter());
    }
    match unite(connection, commit, before, written.len() as u64)? {
        Some(position) => Ok(position),
        None => Err(why_unlogged(connection, table, &written, before)?),
    }
}

/// Why the log has fewer changes than were `written`: a trigger of the user's turned one of them back into what stood, or
/// ours are not there to tell.
fn why_unlogged(
    connection: &Connection,
    table: &str,
    written: &[&Arc<str>],
    before: u64,
) -> rusqlite::Result<CommitError> {
    let mut refused = CommitError::from(Refused::Rules);
    for key in written {
        let Looked { differs, latest, .. } = reconcile::look(connection, table, key)?;
        if differs {
            return Ok(untold());
        }
        if latest.is_none_or(|(held, _)| held.revision <= before) {
            refused = refused.of(key);
        }
    }
    Ok(refused)
}

/// That the log has missed what was written.
fn untold() -> CommitError {
    let cause = "the triggers that keep the log are missing from the table; restart the server";
    StoreError::Corrupt(cause.into()).into()
}

/// Applies those puts of `seed` whose key is not live, unless that was done before.
pub(super) fn seed(connection: &Connection, table: &str, mut seed: Commit) -> Result<bool, CommitError> {
    if connection.prepare_cached("SELECT 1 FROM datastream_meta WHERE name = 'seeded'")?.exists([])? {
        return Ok(false);
    }
    let mut puts = Vec::new();
    for operation in seed.operations {
        let live = history::latest(connection, &operation.key)?.is_some_and(|(held, _)| held.value.is_some());
        if matches!(operation.action, Action::Put { .. }) && !live {
            puts.push(operation);
        }
    }
    seed.operations = puts;
    commit(connection, table, &seed)??;
    connection.execute("INSERT INTO datastream_meta (name, value) VALUES ('seeded', 1)", [])?;
    Ok(true)
}

/// Writes what was decided, and says whether there was anything to write.
fn apply(connection: &Connection, table: &str, key: &str, effect: &Effect) -> Result<bool, CommitError> {
    let table = quoted(table);
    match effect {
        Effect::Write(stored) => {
            let write = format!(
                "INSERT INTO {table} (key, value, value_type, updated_at)
                 VALUES (?1, ?2, ?3, CURRENT_TIMESTAMP)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value,
                   value_type = excluded.value_type, updated_at = excluded.updated_at"
            );
            let mut write = connection.prepare_cached(&write)?;
            let values = params![key, &stored.value[..], stored.value_type];
            // A trigger of the user's that raises IGNORE drops the row without an error.
            if write.execute(values).map_err(of_write)? == 0 {
                return Err(Refused::Rules.into());
            }
        }
        Effect::Remove => {
            let remove = format!("DELETE FROM {table} WHERE key = ?1");
            connection.prepare_cached(&remove)?.execute([key]).map_err(of_write)?;
            let left = history::latest(connection, key)?;
            if left.is_some_and(|(held, _)| held.value.is_some()) {
                return Err(Refused::Rules.into());
            }
        }
        Effect::Stands => return Ok(false),
    }
    Ok(true)
}

/// Where the newest of the commits ended whose work stands. That a key never was is true only as of the head.
fn standing(
    connection: &Connection,
    commits: impl Iterator<Item = Option<u64>>,
) -> Result<Position, CommitError> {
    match commits.collect::<Option<Vec<_>>>().and_then(|commits| commits.into_iter().max()) {
        Some(commit) => Ok(history::position_at(connection, commit)?),
        None => Ok(history::newest(connection)?),
    }
}

/// Makes one commit of all log rows above `before`: they share its last revision and its words, and only that
/// revision is a position.
pub(super) fn annotate(
    connection: &Connection,
    commit: &Commit,
    before: u64,
    written: u64,
) -> Result<Position, CommitError> {
    unite(connection, commit, before, written)?.ok_or_else(untold)
}

/// The same; `None`, with nothing done, where fewer rows are there than were `written`.
fn unite(
    connection: &Connection,
    commit: &Commit,
    before: u64,
    written: u64,
) -> rusqlite::Result<Option<Position>> {
    let position = history::newest(connection)?;
    if position.revision - before < written {
        return Ok(None);
    }
    let (before, last) = (before.cast_signed(), position.revision.cast_signed());
    let request = commit.request.as_ref().map(|request| &*request.id);
    connection
        .prepare_cached(
            "UPDATE datastream_log SET \"commit\" = ?2, author = nullif(?3, ''), message = nullif(?4, ''),
               request_id = ?5 WHERE revision > ?1",
        )?
        .execute(params![before, last, commit.author, commit.message, request])?;
    if last - before > 1 {
        connection
            .prepare_cached("DELETE FROM datastream_token WHERE revision > ?1 AND revision < ?2")?
            .execute([before, last])?;
    }
    Ok(Some(position))
}

/// How far [`forget`] came.
pub(super) struct Forgotten {
    pub(super) compacted_to: u64,
    /// Where to go on, if there is more.
    pub(super) next: Option<Option<u64>>,
}

/// Forgets what `retention` lets go, and looks at a bounded part of the log to do so: what is after `from`, where that
/// is given.
pub(super) fn forget(
    connection: &Connection,
    retention: Retention,
    from: Option<u64>,
) -> rusqlite::Result<Forgotten> {
    let compacted_to = match from {
        None | Some(0) => raise_compacted_to(connection, retention)?,
        Some(_) => history::head(connection)?.compacted_to.cast_signed(),
    };
    let mut tokens = connection.prepare_cached(
        "DELETE FROM datastream_token WHERE revision IN
           (SELECT revision FROM datastream_token WHERE revision <= ?1 ORDER BY revision LIMIT ?2)",
    )?;
    let more_tokens = tokens.execute([compacted_to, STEP])?.cast_signed() as i64 == STEP;
    let to = match from {
        Some(from) => forget_changes(connection, retention, from.cast_signed(), compacted_to)?,
        None => compacted_to,
    };
    let since = before_now(connection, retention.requests)?;
    let more_requests = request::forget(connection, &since, retention.max_requests)?;
    let more = more_tokens || more_requests || to < compacted_to;
    let next = more.then_some(from.map(|_| to.cast_unsigned()));
    Ok(Forgotten { compacted_to: compacted_to.cast_unsigned(), next })
}

/// Writes only what is new, so that a compaction of nothing costs no sync. A position grows old from when the next one came:
/// until then it was the newest, and everybody may hold it.
fn raise_compacted_to(connection: &Connection, retention: Retention) -> rusqlite::Result<i64> {
    let most = i64::try_from(retention.max_positions.max(1)).unwrap_or(i64::MAX);
    let compacted_to: i64 = connection
        .prepare_cached(
            "SELECT max(value, coalesce((
               SELECT max(revision) FROM datastream_token WHERE revision < max(
                 coalesce((SELECT max(revision) FROM datastream_token WHERE revision < coalesce(
                   (SELECT revision FROM datastream_token WHERE time > ?1 ORDER BY revision LIMIT 1), 9223372036854775807
                 )), 0),
                 coalesce((SELECT revision FROM datastream_token ORDER BY revision DESC LIMIT 1 OFFSET ?2), 0)
               )), 0))
             FROM datastream_meta WHERE name = 'compacted_to'",
        )?
        .query_row(params![before_now(connection, retention.positions)?, most - 1], |row| row.get(0))?;
    connection
        .prepare_cached("UPDATE datastream_meta SET value = ?1 WHERE name = 'compacted_to' AND value < ?1")?
        .execute([compacted_to])?;
    Ok(compacted_to)
}

/// Returns the revision up to which it looked. A tombstone goes only when nothing else of its key is left, or
/// what it ended would come back.
fn forget_changes(
    connection: &Connection,
    retention: Retention,
    from: i64,
    compacted_to: i64,
) -> rusqlite::Result<i64> {
    let to = connection
        .prepare_cached(
            "SELECT coalesce(max(revision), ?2) FROM
               (SELECT revision FROM datastream_log WHERE revision > ?1 ORDER BY revision LIMIT ?3)",
        )?
        .query_row([from, compacted_to, STEP], |row| row.get::<_, i64>(0))?
        .min(compacted_to);
    let before = before_now(connection, retention.history)?;
    for forgotten in [
        "DELETE FROM datastream_log AS old
         WHERE revision > ?1 AND revision <= ?2 AND
           (SELECT time FROM datastream_log WHERE key = old.key AND revision > old.revision
            ORDER BY revision LIMIT 1) <= ?3",
        "DELETE FROM datastream_log AS old
         WHERE revision > ?1 AND revision <= ?2 AND time <= ?3 AND key IS NOT NULL AND value IS NULL
           AND NOT EXISTS (SELECT 1 FROM datastream_log WHERE key = old.key AND revision <> old.revision)",
    ] {
        connection.prepare_cached(forgotten)?.execute(params![from, to, before])?;
    }
    let versions = i64::try_from(retention.versions.max(1)).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "DELETE FROM datastream_log AS old
             WHERE revision > ?1 AND revision <= ?2 AND revision <=
               (SELECT revision FROM datastream_log WHERE key = old.key ORDER BY revision DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute([from, to, versions])?;
    Ok(to)
}

/// The time that long ago, as the tables hold it; before all times where SQLite has no word for it.
fn before_now(connection: &Connection, ago: std::time::Duration) -> rusqlite::Result<String> {
    connection
        .prepare_cached("SELECT coalesce(strftime('%Y-%m-%d %H:%M:%f', 'now', ?1), '')")?
        .query_row([format!("-{:.3} seconds", ago.as_secs_f64())], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::open;
    use super::*;

    /// The connection that writes into a new file, and the folder of that.
    fn file() -> (Connection, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = open::open(&folder.path().join("settings.db"), "data", true).expect("a new file");
        (opened.writer, folder)
    }

    fn push(connection: &Connection, value: u32) -> Result<Position, CommitError> {
        let put = Operation::put("a", "int", value.to_string());
        in_savepoint(connection, |connection| commit(connection, "data", &Commit::one(put)))?
    }

    /// Nobody could be told of it, so it must not be acknowledged.
    #[test]
    fn a_push_without_the_triggers_is_damage_and_leaves_no_trace() {
        let (connection, _folder) = file();
        push(&connection, 1).expect("the triggers are there");
        let drop = "DROP TRIGGER datastream_insert; DROP TRIGGER datastream_update";
        connection.execute_batch(drop).expect("they go");
        let refused = push(&connection, 2).expect_err("they are not there to tell");
        assert!(matches!(refused, CommitError::Store(StoreError::Corrupt(_))), "{refused:?}");
        let (held, _) = history::latest(&connection, "a").expect("the log").expect("a change");
        assert_eq!(&held.value.expect("it is live").value[..], b"1");
    }

    /// Everybody held it until then, however long ago it was made.
    #[test]
    fn a_position_that_was_superseded_just_now_is_kept() {
        let (connection, _folder) = file();
        let genesis = history::last(&connection).expect("a head");
        let [long, just] = [1, 2].map(|value| push(&connection, value).expect("a commit").revision);
        let old = "UPDATE datastream_token SET time = datetime('now', '-2 hours') WHERE revision <= ?1";
        connection.execute(old, [long.cast_signed()]).expect("a clock");
        let head = push(&connection, 3).expect("a commit").revision;
        let forgotten = |retention| forget(&connection, retention, None).expect("it forgets").compacted_to;
        assert_eq!(forgotten(Retention::default()), genesis, "{long} was the newest until just now");
        assert_eq!(forgotten(Retention { max_positions: 2, ..Retention::default() }), long);
        assert_eq!(forgotten(Retention { positions: Duration::ZERO, ..Retention::default() }), just);
        assert_eq!(history::last(&connection).expect("a head"), head);
    }
}
