//! Forgetting what is no longer needed to know the present.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::history::as_sql;
use crate::store::{Retention, StoreError};

/// How many rows one transaction looks at: some milliseconds, in which nobody waits for it.
const STEP: i64 = 1000;

/// How far [`step`] came.
pub(super) struct Forgotten {
    pub(super) compacted_to: u64,
    /// Where to go on, if there is more.
    pub(super) next: Option<Option<u64>>,
}

/// Forgets what `retention` lets go, and looks at a bounded part of the log to do so: what is after `from`, where that is
/// given.
pub(super) async fn step(
    client: &mut Client,
    retention: Retention,
    from: Option<u64>,
) -> Result<Forgotten, StoreError> {
    let compacted_to = raise_compacted_to(client, retention).await?;
    let tokens = "DELETE FROM datastream.token WHERE revision IN
      (SELECT revision FROM datastream.token WHERE revision <= $1 ORDER BY revision LIMIT $2)";
    let tokens = client.execute_typed(tokens, &[(&compacted_to, Type::INT8), (&STEP, Type::INT8)]).await?;
    let to = match from {
        Some(from) => forget_changes(client, retention, as_sql(from), compacted_to).await?,
        None => compacted_to,
    };
    let requests = forget_requests(client, retention).await?;
    client.batch_execute("DELETE FROM datastream.pending").await?;
    let more = tokens == STEP as u64 || requests == STEP as u64 || to < compacted_to;
    Ok(Forgotten {
        compacted_to: compacted_to.cast_unsigned(),
        next: more.then_some(from.map(|_| to.cast_unsigned())),
    })
}

/// Writes only what is new, so that a compaction of nothing costs no sync.
async fn raise_compacted_to(client: &Client, retention: Retention) -> Result<i64, StoreError> {
    let most = as_sql(retention.max_positions.max(1));
    let row = client
        .query_typed_one(
            "SELECT greatest(value::bigint, coalesce((
               SELECT max(revision) FROM datastream.token WHERE revision < greatest(
                 coalesce((SELECT min(revision) FROM datastream.token WHERE time > now() - make_interval(secs => $1)),
                   (SELECT max(revision) FROM datastream.token)),
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

/// Returns the revision up to which it looked. A tombstone goes only when nothing else of its key is left, or what it
/// ended would come back.
async fn forget_changes(
    client: &mut Client,
    retention: Retention,
    from: i64,
    compacted_to: i64,
) -> Result<i64, StoreError> {
    let transaction = client.transaction().await?;
    let to = "SELECT max(revision) FROM (SELECT revision FROM datastream.log WHERE revision > $1
      ORDER BY revision LIMIT $2) AS step";
    let to = transaction.query_typed_one(to, &[(&from, Type::INT8), (&STEP, Type::INT8)]).await?;
    let to = to.try_get::<_, Option<i64>>(0)?.unwrap_or(compacted_to).min(compacted_to);
    let (before, versions) = (seconds(retention.history), as_sql(retention.versions.max(1)));
    let part = [(&from as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT8), (&to, Type::INT8)];
    let with = |last| part.iter().cloned().chain([last]).collect::<Vec<_>>();
    let superseded = "DELETE FROM datastream.log AS old WHERE revision > $1 AND revision <= $2 AND
      (SELECT time FROM datastream.log WHERE key = old.key AND revision > old.revision ORDER BY revision LIMIT 1) <= now() - make_interval(secs => $3)";
    let tombstones = "DELETE FROM datastream.log AS old WHERE revision > $1 AND revision <= $2 AND value IS NULL
      AND time <= now() - make_interval(secs => $3) AND NOT EXISTS (SELECT FROM datastream.log WHERE key = old.key AND revision <> old.revision)";
    for forgotten in [superseded, tombstones] {
        transaction.execute_typed(forgotten, &with((&before, Type::FLOAT8))).await?;
    }
    let excess = "DELETE FROM datastream.log AS old WHERE revision > $1 AND revision <= $2 AND revision <=
      (SELECT revision FROM datastream.log WHERE key = old.key ORDER BY revision DESC OFFSET $3 LIMIT 1)";
    transaction.execute_typed(excess, &with((&versions, Type::INT8))).await?;
    transaction.commit().await?;
    Ok(to)
}

async fn forget_requests(client: &Client, retention: Retention) -> Result<u64, StoreError> {
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
