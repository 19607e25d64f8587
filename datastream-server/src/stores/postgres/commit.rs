//! One attempt to make a commit: in one transaction, in the order in which everybody's goes.
//!
//! The user's rows are locked and written first; the turn is taken last, by the triggers, when all else is done. A commit
//! that took its turn first would wait for rows while others, who have these rows, wait for the turn.

use std::time::Duration;

use datastream::position::Position;
use futures_util::future::try_join_all;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::LONG_ANSWER;
use super::attempt::{Attempt, of_write};
use super::history::head;
use super::known::Known;
use super::request;
use super::table::Table;
use crate::store::{Action, Commit, CommitError, Effect, Operation, Refused, StoreError};

/// For how long an attempt waits for rows that others have, while it has some itself. Shorter than the time after which
/// PostgreSQL looks for deadlocks: it is this attempt that gives way, and is made again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Hardly: others wait for the connection.
    Hurried,
    /// As long as may be, among those that have given way before.
    Patient,
}

impl Patience {
    /// In milliseconds.
    fn rows(self) -> i32 {
        match self {
            Self::Hurried => 10,
            Self::Patient => 500,
        }
    }
}

/// The same for the turn, which others have for the time of their commit.
const TURN: i32 = 900;

/// Sets how long a lock is waited for: so many milliseconds, and not as long as it takes until somebody looks for deadlocks.
fn lock_timeout(milliseconds: i32) -> String {
    format!(
        "set_config('lock_timeout', least({milliseconds},
           extract(epoch FROM current_setting('deadlock_timeout')::interval) * 900)::int::text, true)"
    )
}

/// Makes the commit, unless it was made under its name before.
pub(super) async fn commit(
    client: &mut Client,
    table: &Table,
    commit: &Commit,
    patience: Patience,
) -> Result<Position, Attempt> {
    let transaction = begin(client, commit, patience).await?;
    let request = commit.request.as_ref().filter(|_| !commit.operations.is_empty());
    if let Some(request) = request
        && let Some(position) = request::applied(&transaction, request).await?
    {
        return Ok(position);
    }
    let position = make(&transaction, table, &commit.operations).await?;
    if let Some(request) = request {
        request::remember(&transaction, request, position.revision).await?;
    }
    transaction.commit().await?;
    Ok(position)
}

/// Applies those puts whose key is not live, unless that was done before. Returns whether it did.
pub(super) async fn seed(
    client: &mut Client,
    table: &Table,
    seed: &Commit,
    patience: Patience,
) -> Result<bool, Attempt> {
    let transaction = begin(client, seed, patience).await?;
    let mark = "INSERT INTO datastream.meta (name, value) VALUES ('seeded', 'true') ON CONFLICT DO NOTHING";
    if transaction.execute_typed(mark, &[]).await? == 0 {
        return Ok(false);
    }
    let known = Known::lock(&transaction, table, &seed.operations).await?;
    let is_missing = |operation: &&Operation| {
        matches!(operation.action, Action::Put { .. }) && known.live(&operation.key).is_none()
    };
    let puts: Vec<_> = seed.operations.iter().filter(is_missing).cloned().collect();
    make(&transaction, table, &puts).await?;
    transaction.commit().await?;
    Ok(true)
}

/// What the triggers are to write into the log, and for how long this may take.
async fn begin<'c>(
    client: &'c mut Client,
    commit: &Commit,
    patience: Patience,
) -> Result<Transaction<'c>, Attempt> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let transaction = transaction.start().await?;
    let request = commit.request.as_ref().map_or("", |request| &*request.id);
    let words = format!(
        "SELECT set_config('datastream.author', $1, true), set_config('datastream.message', $2, true),
           set_config('datastream.request', $3, true), set_config('datastream.gives_way', 'yes', true),
           set_config('statement_timeout', '10s', true), set_config('idle_in_transaction_session_timeout', '10s', true),
           {}",
        lock_timeout(patience.rows())
    );
    let parameters = [&&*commit.author, &&*commit.message, &request];
    let parameters = parameters.map(|word| (word as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT));
    transaction.query_typed(&words, &parameters).await?;
    Ok(transaction)
}

/// Decides every operation before it applies the first: a trigger of the user's may write other keys of the commit.
async fn make(
    transaction: &Transaction<'_>,
    table: &Table,
    operations: &[Operation],
) -> Result<Position, Attempt> {
    let known = Known::lock(transaction, table, operations).await?;
    let mut decided = Vec::with_capacity(operations.len());
    for operation in operations {
        let effect = operation.decide(known.latest.get(&*operation.key));
        let effect = effect.map_err(|why| CommitError::from(why).of(&operation.key))?;
        if effect != Effect::Stands {
            decided.push((operation, effect));
        }
    }
    if decided.is_empty() {
        return standing(transaction, &known, operations).await;
    }
    // All are sent before the first is answered.
    try_join_all(decided.iter().map(|(operation, effect)| {
        let is_there = known.rows.contains_key(&*operation.key);
        write(transaction, table, operation, effect, is_there)
    }))
    .await?;
    take_turn(transaction, table).await
}

/// Lets the triggers, and the user's own, do now what they would do at the end, so that it is known what came of it.
async fn take_turn(transaction: &Transaction<'_>, table: &Table) -> Result<Position, Attempt> {
    let turn = format!("SELECT {}; SET CONSTRAINTS ALL IMMEDIATE", lock_timeout(TURN));
    transaction.batch_execute(&turn).await.map_err(of_write)?;
    let given = "SELECT nullif(current_setting('datastream.revision', true), '')::bigint";
    let given: Option<i64> = transaction.query_typed_one(given, &[]).await?.try_get(0)?;
    if let Some(revision) = given {
        let revision = revision.cast_unsigned();
        return Ok(head(transaction, revision).await?.asked(revision));
    }
    // Nothing has come of it: a trigger of the user's saw to that, or ours are not there to tell.
    if table.is_followed(transaction).await? {
        return Err(CommitError::from(Refused::Rules).into());
    }
    let cause = "the triggers that keep the log are missing from the table; restart the server";
    Err(StoreError::Corrupt(cause.into()).into())
}

/// Where the newest of the commits ended whose work stands. That a key never was is true only as of the head.
async fn standing(
    transaction: &Transaction<'_>,
    known: &Known,
    operations: &[Operation],
) -> Result<Position, Attempt> {
    let revisions = operations.iter().map(|operation| Some(known.latest.get(&*operation.key)?.revision));
    Ok(match revisions.collect::<Option<Vec<_>>>().and_then(|revisions| revisions.into_iter().max()) {
        Some(revision) => head(transaction, revision).await?.asked(revision),
        None => head(transaction, 0).await?.position,
    })
}

async fn write(
    transaction: &Transaction<'_>,
    table: &Table,
    operation: &Operation,
    effect: &Effect,
    is_there: bool,
) -> Result<(), Attempt> {
    let of_key = |error| match of_write(error) {
        Attempt::Failed(error) => Attempt::Failed(error.of(&operation.key)),
        contended => contended,
    };
    let key = (&&*operation.key as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT);
    let written = match effect {
        Effect::Write(value) => {
            let put = if is_there {
                "UPDATE {table} SET value = {$value}, value_type = $3, updated_at = {now} WHERE key = $1"
            } else {
                "INSERT INTO {table} (key, value, value_type, updated_at) VALUES ($1, {$value}, $3, {now})
                 ON CONFLICT (key) DO NOTHING"
            };
            let (bytes, value_type) = (&value.value[..], &*value.value_type);
            transaction
                .execute_typed(&table.fill(put), &[key, (&bytes, Type::BYTEA), (&value_type, Type::TEXT)])
                .await
        }
        _ => transaction.execute_typed(&table.fill("DELETE FROM {table} WHERE key = $1"), &[key]).await,
    };
    match written.map_err(of_key)? {
        0 if is_there || !exists(transaction, table, &operation.key).await? => {
            // A trigger of the user's drops the row without an error.
            Err(CommitError::from(Refused::Rules).of(&operation.key).into())
        }
        // Somebody else has made it meanwhile.
        0 => Err(Attempt::Contended),
        _ => Ok(()),
    }
}

async fn exists(transaction: &Transaction<'_>, table: &Table, key: &str) -> Result<bool, Attempt> {
    let exists = table.fill("SELECT EXISTS (SELECT FROM {table} WHERE key = $1)");
    Ok(transaction.query_typed_one(&exists, &[(&key, Type::TEXT)]).await?.try_get(0)?)
}

/// Brings the log to what the table holds: what was written past the triggers enters as a commit.
pub(super) async fn compare(client: &mut Client) -> Result<(), StoreError> {
    let transaction = writing(client, LONG_ANSWER).await?;
    // A transaction that saw an earlier moment has not seen all that it truncated, and has left its note.
    let noted = "DELETE FROM datastream.pending WHERE key IS NULL";
    transaction.execute_typed(noted, &[]).await?;
    let compare = "SELECT set_config('datastream.author', 'datastream', true), datastream.compare()";
    let changes: i64 = transaction.query_typed_one(compare, &[]).await?.try_get(1)?;
    transaction.commit().await?;
    if changes > 0 {
        tracing::warn!(changes, "the table was changed past its triggers: what differed is committed now");
    }
    Ok(())
}

/// A transaction that sees what others have committed, and that the database ends when nobody waits for it any more.
pub(super) async fn writing(
    client: &mut Client,
    limit: Duration,
) -> Result<Transaction<'_>, tokio_postgres::Error> {
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    transaction.batch_execute(&format!("SET LOCAL statement_timeout = {}", limit.as_millis())).await?;
    Ok(transaction)
}
