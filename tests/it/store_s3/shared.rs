//! Two servers on one bucket.

use std::sync::Arc;

use datastream_server::store::{Commit, CommitError, Operation, Refused, Store};

use super::{commit, open, setting, state};
use crate::s3::Server;

async fn read(store: &Arc<dyn Store>, key: &str) -> (u64, u64) {
    store.refresh().await.expect("it can look");
    let snapshot = store.load().await.expect("load");
    let change = snapshot.changes.iter().find(|change| &*change.key == key).expect("it is there");
    let text = change.value.as_ref().expect("a value").value.clone();
    (std::str::from_utf8(&text).expect("digits").parse().expect("a number"), change.revision)
}

/// Each adds one, when nobody else did since it read.
async fn count(store: Arc<dyn Store>, key: &'static str, times: u64) {
    for _ in 0..times {
        loop {
            let (count, revision) = read(&store, key).await;
            let put = Operation::put(key, "int", (count + 1).to_string()).expecting(revision);
            match store.commit(Commit::one(put)).await {
                Ok(_) => break,
                Err(CommitError::Refused { why: Refused::Conflict { .. }, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_on_one_bucket_none_loses_an_update() {
    let server = Server::start().await;
    let [one, other] = [open(&server, "").await, open(&server, "").await];
    for key in ["a", "b"] {
        commit(&one, Operation::put(key, "int", "0")).await;
    }
    let counting = [(&one, "a"), (&one, "b"), (&other, "a"), (&other, "b")]
        .map(|(store, key)| tokio::spawn(count(store.clone(), key, 25)));
    for counting in counting {
        counting.await.expect("it counts");
    }
    for store in [&one, &other] {
        assert_eq!(state(store).await, [setting("a", "int", "50"), setting("b", "int", "50")]);
    }
}

/// Whoever comes first, of a creation and of a deletion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_one_creates_and_one_deletes() {
    let server = Server::start().await;
    let [one, other] = [open(&server, "").await, open(&server, "").await];
    for n in 0..20 {
        let key = format!("k/{n}");
        let both = |operation: Operation| {
            [&one, &other].map(|store| {
                let (store, commit) = (store.clone(), Commit::one(operation.clone()));
                tokio::spawn(async move { store.commit(commit).await })
            })
        };
        let [first, second] = both(Operation::put(&key, "int", "1").expecting(0));
        let made = [first.await.expect("it ends").is_ok(), second.await.expect("it ends").is_ok()];
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{key}");
        let [first, second] = both(Operation::delete(&key));
        assert!(first.await.expect("it ends").is_ok() && second.await.expect("it ends").is_ok(), "{key}");
    }
    assert_eq!(state(&one).await, []);
}

/// In the life of the bucket, not of a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_is_remembered_by_the_bucket() {
    let server = Server::start().await;
    let seed = Commit::one(Operation::put("a", "int", "1"));
    let store = open(&server, "").await;
    assert!(store.seed(seed.clone()).await.expect("seed"));
    commit(&store, Operation::delete("a")).await;
    let store = open(&server, "").await;
    assert!(!store.seed(seed).await.expect("seed"));
    assert_eq!(state(&store).await, []);
}
