//! Forgetting what is no longer needed to know the present.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use super::LONG_ANSWER;
use super::commit::writing;
use super::history::as_sql;
use crate::state::Place;
use crate::store::{Retention, StoreError};

/// How many rows one transaction looks at: some milliseconds, in which nobody waits for it.
const STEP: i64 = 1000;
const FULL: u64 = STEP as u64;

/// How far [`step`] came.
pub(super) struct Forgotten {
    pub(super) compacted_to: u64,
    /// Where to go on, if there is more.
    pub(super) next: Option<Option<Place>>,
}

/// Forgets what `retention` lets go, and looks at a bounded part of the log to do so: what is after `from`, where that is
/// given.
pub(super) async fn step(
    client: &mut Client,
    retention: Retention,
    from: Option<Place>,
) -> Result<Forgotten, StoreError> {
    let transaction = writing(client, LONG_ANSWER).await?;
    let compacted_to = raise_compacted_to(&transaction, retention).await?;
    let tokens = "DELETE FROM datastream.token WHERE revision IN
      (SELECT revision FROM datastream.token WHERE revision <= $1 ORDER BY revision LIMIT $2)";
    let mut more =
        transaction.execute_typed(tokens, &[(&compacted_to, Type::INT8), (&STEP, Type::INT8)]).await? == FULL;
    more |= forget_requests(&transaction, retention).await? == FULL;
    more |= forget_notes(&transaction).await? == FULL;
    let to = match &from {
        Some(from) => forget_changes(&transaction, retention, from, compacted_to).await?,
        None => None,
    };
    transaction.commit().await?;
    // Behind the last change there is nothing to look at, but there may be more of the rest.
    let next = if to.is_some() { Some(to) } else { more.then_some(None) };
    Ok(Forgotten { compacted_to: compacted_to.cast_unsigned(), next })
}

/// Writes only what is new, so that a compaction of nothing costs no sync. A position grows old from when the next one came:
/// until then it was the newest, and everybody may hold it.
async fn raise_compacted_to(client: &Transaction<'_>, retention: Retention) -> Result<i64, StoreError> {
    let most = as_sql(retention.max_positions.max(1));
    let row = client
        .query_typed_one(
            "SELECT greatest(value::bigint, coalesce((
               SELECT max(revision) FROM datastream.token WHERE revision < greatest(
                 coalesce((SELECT max(revision) FROM datastream.token WHERE revision < coalesce(
                   (SELECT min(revision) FROM datastream.token WHERE time > now() - make_interval(secs => $1)),
                   9223372036854775807)), 0),
                 coalesce((SELECT revision FROM datastream.token ORDER BY revision DESC OFFSET $2 LIMIT 1), 0)
               )), 0)), value::bigint
             FROM datastream.meta WHERE name = 'compacted_to'",
            &[(&seconds(retention.positions), Type::FLOAT8), (&(most - 1), Type::INT8)],
        )
        .await?;
    let (compacted_to, before): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if compacted_to > before {
        let raise = "UPDATE datastream.meta SET value = $1::bigint::text
          WHERE name = 'compacted_to' AND value::bigint < $1::bigint";
        client.execute_typed(raise, &[(&compacted_to, Type::INT8)]).await?;
    }
    Ok(compacted_to)
}

/// Returns the last change that it looked at, if there was one. A tombstone goes only when nothing else of its key is left,
/// or what it ended would come back.
async fn forget_changes(
    transaction: &Transaction<'_>,
    retention: Retention,
    (revision, key): &Place,
    compacted_to: i64,
) -> Result<Option<Place>, StoreError> {
    let (revision, versions) = (as_sql(*revision), as_sql(retention.versions.max(1)));
    let kept = seconds(retention.history);
    let row = transaction
        .query_typed_opt(
            "WITH step AS MATERIALIZED (
               SELECT revision, key FROM datastream.log WHERE (revision, key) > ($1, $2) AND revision <= $3
               ORDER BY revision, key LIMIT $4
             ), gone AS (
               DELETE FROM datastream.log AS old USING step
               WHERE old.revision = step.revision AND old.key = step.key AND (
                 (SELECT time FROM datastream.log WHERE key = old.key AND revision > old.revision
                  ORDER BY revision LIMIT 1) <= now() - make_interval(secs => $5)
                 OR old.revision <= (SELECT revision FROM datastream.log WHERE key = old.key
                                     ORDER BY revision DESC OFFSET $6 LIMIT 1))
             )
             SELECT revision, key FROM step ORDER BY revision DESC, key DESC LIMIT 1",
            &[
                (&revision, Type::INT8),
                (&&**key, Type::TEXT),
                (&compacted_to, Type::INT8),
                (&STEP, Type::INT8),
                (&kept, Type::FLOAT8),
                (&versions, Type::INT8),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (last, last_key): (i64, &str) = (row.try_get(0)?, row.try_get(1)?);
    let tombstones = "DELETE FROM datastream.log AS old
      WHERE (revision, key) > ($1, $2) AND (revision, key) <= ($3, $4) AND value IS NULL
        AND time <= now() - make_interval(secs => $5)
        AND NOT EXISTS (SELECT FROM datastream.log WHERE key = old.key AND revision <> old.revision)";
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&revision, Type::INT8),
        (&&**key, Type::TEXT),
        (&last, Type::INT8),
        (&last_key, Type::TEXT),
        (&kept, Type::FLOAT8),
    ];
    transaction.execute_typed(tombstones, &parameters).await?;
    Ok(Some((last.cast_unsigned(), last_key.into())))
}

/// Notes of transactions that have ended. Those of truncations are for who compares.
async fn forget_notes(transaction: &Transaction<'_>) -> Result<u64, StoreError> {
    let forget = "DELETE FROM datastream.pending WHERE ctid = ANY (ARRAY
      (SELECT ctid FROM datastream.pending WHERE key IS NOT NULL LIMIT $1))";
    Ok(transaction.execute_typed(forget, &[(&STEP, Type::INT8)]).await?)
}

async fn forget_requests(client: &Transaction<'_>, retention: Retention) -> Result<u64, StoreError> {
    let forget = "DELETE FROM datastream.request WHERE number IN
      (SELECT number FROM datastream.request
       WHERE time <= now() - make_interval(secs => $1) OR number <= (SELECT max(number) FROM datastream.request) - $2
       ORDER BY number LIMIT $3)";
    let most = as_sql(retention.max_requests);
    let parameters = [(&most as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT8), (&STEP, Type::INT8)];
    let since = seconds(retention.requests);
    let parameters = [(&since as _, Type::FLOAT8)].into_iter().chain(parameters).collect::<Vec<_>>();
    Ok(client.execute_typed(forget, &parameters).await?)
}

/// As PostgreSQL counts back by its own clock; beyond a thousand years it has no word for it.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64().min(31_536_000_000.0)
}
