//! Taking out of a database what was added to it.

use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::GIVE_WAY;
use super::address::Address;
use super::error::OpenError;
use super::install::{AT_THE_START, alone};
use super::meta::{self, Meta};

/// How often it is tried while a server works on the same tables.
const ATTEMPTS: u32 = 5;

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
    let (mut attempt, mut pauses) = (1, GIVE_WAY);
    loop {
        match take_out(client).await {
            Ok(Some(table)) => return Ok(table),
            Ok(None) => return Err(OpenError::NotAdopted { database: address.database().to_owned() }),
            // A server that compares takes its locks in another order: PostgreSQL has ended one of the two, with nothing done.
            Err(error) if attempt < ATTEMPTS && error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                attempt += 1;
                sleep(pauses.next()).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// `None` if there is nothing of ours.
async fn take_out(client: &mut Client) -> Result<Option<String>, tokio_postgres::Error> {
    let transaction = alone(client, AT_THE_START).await?;
    let Some(meta) = meta::read(&transaction).await? else { return Ok(None) };
    drop_all(&transaction, &meta).await?;
    transaction.commit().await?;
    Ok(Some(meta.table))
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
