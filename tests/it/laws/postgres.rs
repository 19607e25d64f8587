//! A database, and a program with a connection of its own.

use std::sync::Arc;

use async_trait::async_trait;
use datastream_server::testing::conformance::{ForeignWrite, ForeignWriter, Open, Subject};
use futures_util::FutureExt as _;

use crate::postgres::Cluster;
use crate::store_postgres;

pub(super) fn open(cluster: &Cluster) -> Open {
    let cluster = cluster.clone();
    Arc::new(move || {
        let cluster = cluster.clone();
        async move {
            let database = cluster.database();
            let store = store_postgres::on(&database).await;
            let foreign = Some(Box::new(Other(database.connect().await.into())) as Box<dyn ForeignWriter>);
            Subject { store, foreign, kept: Box::new(database) }
        }
        .boxed()
    })
}

/// A program with a connection of its own.
struct Other(tokio::sync::Mutex<tokio_postgres::Client>);

#[async_trait]
impl ForeignWriter for Other {
    async fn write(&self, transaction: &[ForeignWrite]) {
        let mut client = self.0.lock().await;
        let writing = client.transaction().await.expect("a transaction");
        for ForeignWrite { key, value } in transaction {
            let written = match value {
                Some((value_type, text)) => {
                    let put = "INSERT INTO data (key, value, value_type) VALUES ($1, $2, $3)
                      ON CONFLICT (key) DO UPDATE SET value = excluded.value, value_type = excluded.value_type";
                    writing.execute(put, &[key, &text.as_bytes(), value_type]).await
                }
                None => writing.execute("DELETE FROM data WHERE key = $1", &[key]).await,
            };
            written.expect("the table can be written");
        }
        writing.commit().await.expect("it is committed");
    }
}
