//! A SQLite file, and a program that opens it for each of its transactions.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datastream_server::store::Store;
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::testing::conformance::{ForeignWrite, ForeignWriter, Open, Subject};
use futures_util::FutureExt as _;
use rusqlite::{Connection, TransactionBehavior};

pub(super) fn open() -> Open {
    Arc::new(|| {
        async {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("settings.db");
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path).expect("a new file"));
            Subject { store, foreign: Some(Box::new(Stranger(path))), kept: Box::new(folder) }
        }
        .boxed()
    })
}

/// A program that opens the file for each of its transactions.
struct Stranger(PathBuf);

#[async_trait]
impl ForeignWriter for Stranger {
    async fn write(&self, transaction: &[ForeignWrite]) {
        let (path, writes) = (self.0.clone(), transaction.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(std::time::Duration::from_secs(10))?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for ForeignWrite { key, value } in writes {
                match value {
                    Some((value_type, text)) => transaction.execute(
                        "INSERT INTO data (key, value, value_type) VALUES (?1, ?2, ?3)
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value, value_type = excluded.value_type",
                        [key, text, value_type],
                    )?,
                    None => transaction.execute("DELETE FROM data WHERE key = ?1", [key])?,
                };
            }
            transaction.commit()
        });
        written.await.expect("it does not panic").expect("the file can be written");
    }
}
