//! The commits that were made under a name, so that one which comes again is not made again.

use datastream::position::Position;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::attempt::Attempt;
use super::history::{as_sql, head};
use crate::store::{CommitError, RequestId};

/// Where the commit of this request ended, if it was made before.
pub(super) async fn applied(
    transaction: &Transaction<'_>,
    request: &RequestId,
) -> Result<Option<Position>, Attempt> {
    let made = "SELECT digest, revision FROM datastream.request WHERE id = $1";
    let Some(row) = transaction.query_typed_opt(made, &[(&&*request.id, Type::TEXT)]).await? else {
        return Ok(None);
    };
    let (digest, revision): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if digest.cast_unsigned() != request.digest {
        return Err(CommitError::Reused.into());
    }
    let revision = revision.cast_unsigned();
    Ok(Some(head(transaction, revision).await?.asked(revision)))
}

/// Notes that the commit of this request ended at `revision`, in its transaction. Where another one has just done so,
/// this one is to look again.
pub(super) async fn remember(
    transaction: &Transaction<'_>,
    request: &RequestId,
    revision: u64,
) -> Result<(), Attempt> {
    let remember = "INSERT INTO datastream.request (id, digest, revision, time)
      VALUES ($1, $2, $3, clock_timestamp())";
    let (digest, revision) = (request.digest.cast_signed(), as_sql(revision));
    let values = [(&&*request.id as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT)];
    let values = values.into_iter().chain([(&digest as _, Type::INT8), (&revision as _, Type::INT8)]);
    match transaction.execute_typed(remember, &values.collect::<Vec<_>>()).await {
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Err(Attempt::Contended),
        other => Ok(other.map(drop)?),
    }
}
