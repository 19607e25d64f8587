//! A table that may be read and not followed.

use datastream_server::store::{Commit, CommitError, Operation, StoreError};

use super::{TABLE, changes, head, open, state, told, until};
use crate::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rights_a_table_is_read_again_and_again_and_never_written() {
    let database = Cluster::shared().database();
    let reader = database.role("reader");
    database.psql(&format!("{TABLE}; GRANT SELECT ON data TO {}", reader.name()));
    database.psql("INSERT INTO data VALUES ('a', '1', 'int'), ('b', 'x', NULL), ('n', NULL, NULL)");
    let store = open(&format!("{}?poll=20ms", reader.url())).await.expect("it can be read");
    let before = head(&store).await;
    assert_eq!(state(&store).await.len(), 2);
    assert_eq!(store.kind(), "postgres (polled)");
    database
        .psql("BEGIN; UPDATE data SET value = '2' WHERE key = 'a'; DELETE FROM data WHERE key = 'b'; COMMIT");
    until("the change is read", || async { !changes(&store, &before).await.changes.is_empty() }).await;
    let batch = changes(&store, &before).await;
    assert_eq!(told(&batch.changes), [("a", Some(("int", &b"2"[..]))), ("b", None)]);
    assert_eq!(batch.positions.len(), 1, "what one reading finds is one commit");
    match store.commit(Commit::one(Operation::put("a", "int", "3"))).await {
        Err(CommitError::Store(error @ StoreError::ReadOnly(_))) => {
            let why = std::error::Error::source(&error).expect("it says why").to_string();
            assert!(why.contains("owner") && why.contains("CREATE SCHEMA datastream AUTHORIZATION"), "{why}");
        }
        other => panic!("it is not to be written: {other:?}"),
    }
    assert_eq!(database.psql("SELECT to_regnamespace('datastream') IS NULL"), "t", "nothing is added");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_fails_is_told_and_forgotten_when_it_succeeds() {
    let database = Cluster::shared().database();
    let reader = database.role("reader");
    database.psql(&format!("{TABLE}; GRANT SELECT ON data TO {}", reader.name()));
    let store = open(&format!("{}?poll=20ms", reader.url())).await.expect("it can be read");
    let before = head(&store).await;
    database.psql("ALTER TABLE data RENAME TO other");
    until("it is told", || async { store.changes(&before).await.is_err() }).await;
    database.psql("ALTER TABLE other RENAME TO data");
    until("it is well again", || async { store.changes(&before).await.is_ok() }).await;
}

/// Who set it up has not let this one see what was added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_others_serve_is_read_by_who_may_read_it_alone() {
    let (database, beside) = super::served().await;
    let reader = database.role("reader");
    database.psql(&format!("GRANT SELECT ON data TO {}", reader.name()));
    super::commit(&beside, [Operation::put("a", "int", "1")]).await;
    let store = open(&reader.url()).await.expect("it can be read");
    assert_eq!((store.kind(), state(&store).await.len()), ("postgres (polled)", 1));
}
