//! Serving a table that this user may read and not follow.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::LONG_ANSWER;
use super::connect::{Dialler, Session};
use super::error::OpenError;
use super::history::{LARGEST, stored};
use super::table::Table;
use crate::retry::Link;
use crate::store::{Store, StoreError};
use crate::stores::memory::Written;
use crate::stores::polled::{Polled, Source};

/// A table, read as a whole.
struct Rows {
    link: Link<Session>,
    table: Arc<Table>,
}

/// Serves `table` for reading, since `missing` keeps it from being followed.
pub(super) async fn open(
    dialler: Arc<Dialler>,
    table: Table,
    missing: String,
) -> Result<Arc<dyn Store>, OpenError> {
    let interval = dialler.address.poll;
    tracing::warn!(
        table = table.name,
        missing,
        ?interval,
        "read-only: the table cannot be followed, and is read again and again"
    );
    let why = format!("the table is served for reading: {missing}");
    let rows = Rows { link: Link::new(super::dial(dialler)), table: Arc::new(table) };
    let polled = Polled::start(rows, interval, "postgres (polled)", why).await;
    Ok(Arc::new(polled.map_err(|error| OpenError::Other(crate::error_chain(&error)))?))
}

#[async_trait]
impl Source for Rows {
    async fn read(&self) -> Result<Vec<Written>, StoreError> {
        let table = self.table.clone();
        self.link.run(LONG_ANSWER, |client| async move { rows(client, &table).await }.boxed()).await
    }
}

/// One statement sees one moment.
async fn rows(client: &Client, table: &Table) -> Result<Vec<Written>, StoreError> {
    let all = table.fill(
        "SELECT key::text, {type},
           CASE WHEN octet_length(held.value) <= $1 THEN {value} END, octet_length(held.value)
         FROM {table} AS held WHERE key IS NOT NULL AND held.value IS NOT NULL",
    );
    let rows = client.query_typed(&all, &[(&LARGEST, Type::INT4)]).await?;
    let written = rows.iter().map(|row| {
        let value = stored(row, 1)?;
        let bytes: i32 = row.try_get(3)?;
        let too_large = value.is_none().then(|| i64::from(bytes).cast_unsigned());
        Ok(Written { key: row.try_get::<_, &str>(0)?.into(), value, too_large, time: None })
    });
    written.collect()
}
