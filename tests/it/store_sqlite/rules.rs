//! Rules that a user has put on the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datastream_server::Config;
use datastream_server::store::{Commit, CommitError, Operation, Refused, Store as _, StoreError};
use datastream_server::testing::TestServer;

use super::{File, changes, commit, head};
use crate::bad_input::{MARKER, assert_hides, assert_invalid, assert_not_logged};
use crate::captured_log;
use crate::wire::{Wire, data, unannounced};

/// A table of the original's columns with rules of each kind. Those of triggers go by the key, and say the value.
const TABLE: &str = "
    CREATE TABLE data (
      key TEXT PRIMARY KEY CHECK (key <> 'check'),
      value BLOB UNIQUE,
      value_type TEXT NOT NULL CHECK (value_type <> 'float'),
      updated_at DATETIME DEFAULT CURRENT_TIMESTAMP
    );
    INSERT INTO data (key, value, value_type) VALUES ('taken', x'74616b656e', 'string');
    CREATE TRIGGER abort BEFORE INSERT ON data WHEN NEW.key = 'abort'
      BEGIN SELECT RAISE(ABORT, NEW.value); END;
    CREATE TRIGGER fail AFTER INSERT ON data WHEN NEW.key = 'fail'
      BEGIN SELECT RAISE(FAIL, NEW.value); END;
    CREATE TRIGGER ignore BEFORE INSERT ON data WHEN NEW.key = 'ignore'
      BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER frozen BEFORE UPDATE OF value ON data WHEN NEW.key = 'frozen' AND NEW.value <> OLD.value
      BEGIN SELECT RAISE(ABORT, NEW.value); END;
    CREATE TRIGGER kept BEFORE DELETE ON data WHEN OLD.key = 'frozen'
      BEGIN SELECT RAISE(ABORT, OLD.value); END;
    CREATE TRIGGER end_all BEFORE INSERT ON data WHEN NEW.key = 'end_all'
      BEGIN SELECT RAISE(ROLLBACK, NEW.value); END;";

fn file() -> File {
    let file = File::new();
    file.foreign().execute_batch(TABLE).expect("SQLite takes it");
    file
}

/// Puts that the rules refuse, but the one that ends the transaction of all.
fn refused() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("check", "string", MARKER),
        ("another", "string", "taken"),
        ("number", "float", "0.5"),
        ("abort", "string", MARKER),
        ("fail", "string", MARKER),
        ("ignore", "string", MARKER),
        ("frozen", "string", MARKER),
    ]
}

#[tokio::test]
async fn what_the_table_refuses_fails_alone() {
    let file = file();
    let store = Arc::new(file.store());
    commit(&store, [Operation::put("frozen", "string", "first")]).await;
    let deletion = Commit::one(Operation::delete("frozen"));
    assert!(matches!(store.commit(deletion).await, Err(CommitError::Refused { why: Refused::Rules, .. })));
    let before = store.transactions();
    let mut commits = Vec::new();
    for round in 0..20 {
        for (n, (key, value_type, value)) in refused().into_iter().enumerate() {
            for operation in [
                Operation::put(key, value_type, value),
                Operation::put(&format!("good/{n}"), "string", format!("{n}.{round}")),
            ] {
                let store = store.clone();
                let commit = tokio::spawn(async move {
                    (operation.key.clone(), store.commit(Commit::one(operation)).await)
                });
                commits.push(commit);
            }
        }
    }
    for commit in commits {
        let (key, result) = commit.await.expect("it does not panic");
        match result {
            Ok(_) => assert!(key.starts_with("good/"), "{key}"),
            Err(CommitError::Refused { why: refused, .. }) => {
                assert!(!key.starts_with("good/"), "{key}");
                assert_eq!(refused, Refused::Rules, "{key}");
            }
            Err(CommitError::Store(error)) => panic!("{key}: {error:?}"),
            Err(other) => panic!("{key}: {other:?}"),
        }
    }
    assert!(store.transactions() - before < 280, "some of them shared a transaction");
    let held = store.load().await.expect("load").changes;
    assert_eq!(held.len(), 2 + refused().len(), "taken, frozen, and the good ones");
}

#[tokio::test]
async fn a_trigger_that_ends_the_transaction_is_a_rule_too() {
    let file = file();
    let store = file.store();
    let ends = Commit::one(Operation::put("end_all", "string", "1"));
    assert!(matches!(store.commit(ends).await, Err(CommitError::Refused { why: Refused::Rules, .. })));
    commit(&store, [Operation::put("after", "string", "2")]).await;
}

#[tokio::test]
async fn a_push_that_the_table_refuses_is_invalid_and_nothing_is_echoed() {
    captured_log::capture();
    let file = file();
    let server = TestServer::start_with(Arc::new(file.store()), Config::default());
    let wire = Wire::to(&server.url()).await;
    wire.push(data("frozen", "string", "first")).await.expect("it is new");
    for (key, value_type, value) in refused().into_iter().chain([("end_all", "string", MARKER)]) {
        let status = wire.push(data(key, value_type, value)).await.expect_err(key);
        assert_invalid(key, &status, "value");
        assert!(status.message().contains("the store's own rules"), "{status:?}");
        assert_hides(key, &status, MARKER.as_bytes());
        wire.push(data("good", "string", key)).await.expect("others are taken");
    }
    let held = wire.sync(unannounced(["frozen", "abort", "fail", "good"])).await.data;
    assert_eq!(held.len(), 2, "nothing that was refused is there: {:?}", held.keys());
    assert_eq!((&held["frozen"].value[..], &held["good"].value[..]), (&b"first"[..], &b"end_all"[..]));
    assert_not_logged(MARKER);
}

/// Checked at the end of a transaction alone, where it would fail for all.
#[tokio::test]
async fn a_foreign_key_that_is_checked_at_the_end_fails_alone() {
    let file = File::new();
    file.foreign()
        .execute_batch(
            "CREATE TABLE owners (key TEXT PRIMARY KEY);
             CREATE TABLE data (key TEXT PRIMARY KEY REFERENCES owners (key) DEFERRABLE INITIALLY DEFERRED,
               value BLOB, value_type TEXT, updated_at DATETIME);
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
               INSERT INTO owners SELECT 'k' || i FROM n;",
        )
        .expect("SQLite takes it");
    let store = Arc::new(file.store());
    let (mut puts, again) = (tokio::task::JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    // So that all of them are in one transaction.
    let locking = file.foreign();
    locking.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    for number in 0..50 {
        let again = again.clone();
        let (store, is_bad) = (store.clone(), number % 10 == 5);
        let key = if is_bad { format!("nobody's {number}") } else { format!("k{number}") };
        puts.spawn(async move {
            loop {
                match store.commit(Commit::one(Operation::put(&key, "int", "1"))).await {
                    // What a client does: another of its transaction was to blame.
                    Err(CommitError::Store(StoreError::Unavailable(_))) => {
                        _ = again.fetch_add(1, Ordering::Relaxed)
                    }
                    answer => return (is_bad, answer),
                }
            }
        });
    }
    // Nothing tells that they wait behind the lock; if not all of them do, the law is only easier to keep.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    locking.execute_batch("COMMIT").expect("its end");
    while let Some(put) = puts.join_next().await {
        match put.expect("it does not panic") {
            (true, Err(CommitError::Refused { why: Refused::Rules, .. })) | (false, Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let again = again.load(Ordering::Relaxed);
    assert!((1..=100).contains(&again), "{again} attempts were made again");
}

#[tokio::test]
async fn a_deletion_that_the_table_ignores_is_refused() {
    let file = file();
    file.foreign()
        .execute_batch(
            "CREATE TRIGGER forever BEFORE DELETE ON data WHEN OLD.key = 'taken' BEGIN SELECT RAISE(IGNORE); END",
        )
        .expect("a trigger");
    let store = file.store();
    let refused = store.commit(Commit::one(Operation::delete("taken"))).await;
    assert!(matches!(refused, Err(CommitError::Refused { why: Refused::Rules, .. })), "{refused:?}");
}

/// It is no damage of the store, and nobody is told that it was written: the log would not have it.
#[tokio::test]
async fn a_push_that_a_trigger_turns_back_into_what_stands_is_refused() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("b", "string", "first"), Operation::put("c", "int", "7")]).await;
    file.foreign()
        .execute_batch(
            "CREATE TRIGGER normal AFTER UPDATE OF value ON data WHEN NEW.key = 'b' AND NEW.value <> upper(NEW.value)
             BEGIN UPDATE data SET value = CAST(upper(NEW.value) AS BLOB) WHERE key = 'b'; END;
             CREATE TRIGGER kept AFTER UPDATE OF value ON data WHEN NEW.key = 'c' AND NEW.value <> OLD.value
             BEGIN UPDATE data SET value = OLD.value WHERE key = 'c'; END;",
        )
        .expect("triggers");
    commit(&store, [Operation::put("b", "string", "x")]).await;
    let stands = store.load().await.expect("load");
    let b = || Operation::put("b", "string", "x");
    let c = || Operation::put("c", "int", "8");
    for (operations, turned_back) in
        [(vec![b()], "b"), (vec![c()], "c"), (vec![Operation::put("d", "int", "1"), c()], "c")]
    {
        let refused = store.commit(Commit { operations, ..Commit::default() }).await;
        let Err(CommitError::Refused { key, why: Refused::Rules }) = refused else {
            panic!("{turned_back} was turned back: {refused:?}");
        };
        assert_eq!(key.as_deref(), Some(turned_back));
    }
    assert_eq!(store.load().await.expect("load").changes, stands.changes, "nothing of it is there");
    commit(&store, [Operation::put("b", "string", "y")]).await;
}

/// The user's trigger writes another key of the same commit, after it was decided.
#[tokio::test]
async fn a_commit_is_decided_before_any_of_it_is_applied() {
    let file = File::new();
    let store = file.store();
    let made = commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "int", "1")]).await;
    file.foreign()
        .execute_batch(
            "CREATE TRIGGER follow AFTER UPDATE OF value ON data WHEN NEW.key = 'a'
             BEGIN UPDATE data SET value = CAST('7' AS BLOB) WHERE key = 'b'; END",
        )
        .expect("a trigger");
    let b = made.revision;
    let operations = vec![Operation::put("a", "int", "2"), Operation::put("b", "int", "2").expecting(b)];
    let made =
        store.commit(Commit { operations, ..Commit::default() }).await.expect("it was at that revision");
    assert!(made.revision > b);
}

/// `INSERT OR REPLACE` through another unique column deletes a row in silence: who is told so can read it.
#[tokio::test]
async fn what_a_refused_commit_found_out_stays() {
    let file = File::new();
    file.foreign()
        .execute_batch(
            "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT, updated_at DATETIME, slot TEXT UNIQUE);
             INSERT INTO data (key, value, value_type, slot) VALUES ('a', '1', 'int', 'one')",
        )
        .expect("a table");
    let store = file.store();
    let at = head(&store).await;
    file.foreign()
        .execute(
            "INSERT OR REPLACE INTO data (key, value, value_type, slot) VALUES ('b', '1', 'int', 'one')",
            [],
        )
        .expect("a write");
    let put = Operation::put("a", "int", "2").expecting(at.revision);
    let refused = store.commit(Commit::one(put)).await;
    let Err(CommitError::Refused { why: Refused::Conflict { revision: 0 }, .. }) = refused else {
        panic!("it is gone: {refused:?}");
    };
    let batch = changes(&store, &at).await;
    assert!(batch.changes.iter().any(|change| &*change.key == "a" && change.value.is_none()), "{batch:?}");
}
