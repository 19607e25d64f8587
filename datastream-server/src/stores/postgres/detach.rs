//! Taking out of a database what was added to it.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::address::Address;
use super::error::OpenError;
use super::install::{AT_THE_START, alone};
use super::meta::{self, Meta};

/// Takes out of a database all that was added to it. Returns the name of the table.
pub(super) async fn remove(client: &mut Client, address: &Address) -> Result<String, OpenError> {
    let failed = |error: tokio_postgres::Error| match error.code().map(SqlState::code) {
        Some("42501") => OpenError::Rights {
            what: "taking datastream out",
            user: address.user().to_owned(),
            needed: "it takes the user who added it".to_owned(),
        },
        _ => OpenError::of(address, &error),
    };
    let transaction = alone(client, AT_THE_START).await.map_err(failed)?;
    let Some(meta) = meta::read(&transaction).await.map_err(failed)? else {
        return Err(OpenError::NotAdopted { database: address.database().to_owned() });
    };
    drop_all(&transaction, &meta).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(meta.table)
}

/// The triggers go with their functions. A schema that others use too, or made for us, stays.
async fn drop_all(transaction: &Transaction<'_>, meta: &Meta) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(include_str!("remove.sql")).await?;
    let left = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('datastream'))
      + (SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('datastream'))";
    let left: i64 = transaction.query_typed_one(left, &[]).await?.try_get(0)?;
    if meta.made_schema && left == 0 {
        transaction.batch_execute("DROP SCHEMA datastream").await?;
    }
    Ok(())
}
