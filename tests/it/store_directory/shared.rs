//! Several who write: servers that take turns, and one that is killed.

use std::fs;
use std::sync::Arc;

use datastream_server::store::{Commit, CommitError, Operation, Refused, Store};

use super::{Folder, commit, setting, state};
use crate::process::Server;

async fn read(store: &Arc<dyn Store>) -> (u64, u64) {
    store.refresh().await.expect("it can look");
    let snapshot = store.load().await.expect("load");
    let change = snapshot.changes.iter().find(|change| &*change.key == "count").expect("it is there");
    let text = change.value.as_ref().expect("a value").value.clone();
    (std::str::from_utf8(&text).expect("digits").parse().expect("a number"), change.revision)
}

/// Each adds one, when nobody else did since it read.
async fn count(store: Arc<dyn Store>, times: u64) {
    for _ in 0..times {
        loop {
            let (count, revision) = read(&store).await;
            let put = Operation::put("count", "int", (count + 1).to_string()).expecting(revision);
            match store.commit(Commit::one(put)).await {
                Ok(_) => break,
                Err(CommitError::Refused { why: Refused::Conflict { .. }, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_on_one_folder_none_loses_an_update() {
    let folder = Folder::new();
    let [one, other] = [folder.store().await, folder.store().await];
    commit(&one, Operation::put("count", "int", "0")).await;
    let counting = [one.clone(), other.clone()].map(|store| tokio::spawn(count(store, 60)));
    for counting in counting {
        counting.await.expect("it counts");
    }
    assert_eq!(state(&one).await, [setting("count", "int", "120")]);
    assert_eq!(state(&other).await, [setting("count", "int", "120")]);
    assert_eq!(fs::read_dir(folder.file(".datastream")).expect("a folder").count(), 1, "the lock only");
}

/// One key of many is created by whoever is first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_one_creates_a_key() {
    let folder = Folder::new();
    let [one, other] = [folder.store().await, folder.store().await];
    for n in 0..20 {
        let key = format!("k/{n}");
        let create = |store: &Arc<dyn Store>, text: &str| {
            let (store, put) = (store.clone(), Operation::put(&key, "string", text.to_owned()).expecting(0));
            tokio::spawn(async move { store.commit(Commit::one(put)).await })
        };
        let (one, other) = (create(&one, "one"), create(&other, "other"));
        let (one, other) = (one.await.expect("it ends"), other.await.expect("it ends"));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let text = if one.is_ok() { "one" } else { "other" };
        assert_eq!(fs::read_to_string(folder.file(&key)).expect("it is there"), text);
    }
}

/// Killed at any time: each file is whole, and what a write left unfinished is gone after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_leaves_whole_files() {
    let folder = Folder::new();
    let flag = format!("file:{}", folder.path().display());
    let values = ["a", "b"].map(|letter| letter.repeat(100_000));
    for round in 0..3 {
        let server = Server::start(&["--store", &flag, "--listen", "127.0.0.1:0"]);
        let client = datastream_client::Client::connect(server.url());
        let values = values.clone();
        let pushing = tokio::spawn(async move {
            for value in values.iter().cycle() {
                if client.set("large", value.clone()).await.is_err() {
                    break;
                }
            }
        });
        let began = std::time::Instant::now();
        while !folder.file("large").exists() || began.elapsed().as_millis() < 40 + 17 * round {
            assert!(began.elapsed() < super::DEADLINE, "nothing is written");
            tokio::task::yield_now().await;
        }
        server.kill();
        pushing.abort();
        let text = fs::read_to_string(folder.file("large")).expect("it is there");
        assert!(values_of(&text), "{} bytes", text.len());
    }
    folder.write(".datastream/0123456789abcdef.tmp", "left");
    let store = folder.store().await;
    let left = fs::read_dir(folder.file(".datastream")).expect("a folder").map_while(Result::ok);
    let left: Vec<_> = left.filter(|entry| entry.file_name().as_encoded_bytes().ends_with(b".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(state(&store).await.len(), 1);
}

fn values_of(text: &str) -> bool {
    text.len() == 100_000 && text.bytes().all(|byte| byte == text.as_bytes()[0])
}
