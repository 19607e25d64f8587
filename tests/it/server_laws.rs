//! What a subscriber is owed: laws of `Subscribe`, seen by a raw client through a real socket.

use std::sync::Arc;
use std::time::Duration;

use datastream::header;
use datastream_server::Config;
use datastream_server::store::{Commit, Operation, Store};
use datastream_server::stores::MemoryStore;
use datastream_server::testing::TestServer;

use crate::wire::{Wire, announced, eventually, resuming, unannounced, within};

/// A server on a store that the test can write to as well.
async fn serve(heartbeat: Duration) -> (TestServer, Arc<MemoryStore>, Wire) {
    let store = Arc::new(MemoryStore::new());
    let server = TestServer::start_with(store.clone(), Config::default().heartbeat(heartbeat));
    let wire = Wire::to(&server.url()).await;
    (server, store, wire)
}

/// Heartbeats that no test waits for.
const RARE: Duration = Duration::from_secs(600);
const OFTEN: Duration = Duration::from_millis(20);

async fn commit(store: &dyn Store, operations: impl IntoIterator<Item = Operation>) -> u64 {
    let commit = Commit { operations: operations.into_iter().collect(), ..Commit::default() };
    store.commit(commit).await.expect("the commit is taken").revision
}

#[tokio::test]
async fn headers_come_at_once_even_for_an_unknown_key() {
    let (_server, _, wire) = serve(RARE).await;
    for request in [unannounced(["unknown"]), announced(["unknown"]), unannounced(["un/known/"])] {
        let stream = wire.subscribe(request).await;
        assert_eq!(stream.headers.get(header::HEARTBEAT_MS).expect("it is there"), "600000");
    }
}

#[tokio::test]
async fn d04_the_first_delivery_says_that_the_state_is_complete_even_when_it_is_empty() {
    let (_server, _, wire) = serve(RARE).await;
    let first = wire.subscribe(announced(["unknown"])).await.next().await;
    assert_eq!(first.to_string(), "State");
    assert_eq!(first.revision(), 1, "an empty store stands at its genesis");
}

#[tokio::test]
async fn an_unannounced_client_gets_no_empty_message_no_heartbeat_no_tombstone() {
    let (server, _, wire) = serve(OFTEN).await;
    let mut stream = wire.subscribe(unannounced(["a", "unknown"])).await;
    let mut observer = wire.subscribe(announced(["a"])).await;
    assert_eq!(observer.next().await.to_string(), "State");
    server.set("a", 1_i64);
    assert_eq!(stream.next().await.to_string(), "Change a=1");
    server.delete("a");
    let gone = async { while observer.delivery().await.to_string() != "Change a=gone" {} };
    within("the deletion", gone).await;
    for _ in 0..3 {
        observer.heartbeat().await;
    }
    server.set("unknown", 2_i64);
    assert_eq!(stream.next().await.to_string(), "Change unknown=2", "nothing came before it");
    server.set("a", 3_i64);
    assert_eq!(stream.next().await.to_string(), "Change a=3", "the key is born again");
}

#[tokio::test]
async fn a_key_that_is_born_later_arrives() {
    let (server, _, wire) = serve(RARE).await;
    let mut stream = wire.subscribe(announced(["later", "below/"])).await;
    assert_eq!(stream.next().await.to_string(), "State");
    server.set("later", 1_i64);
    assert_eq!(stream.next().await.to_string(), "Change later=1");
    server.set("below/later", 2_i64);
    assert_eq!(stream.next().await.to_string(), "Change below/later=2");
}

#[tokio::test]
async fn d03_a_deletion_arrives_as_a_tombstone() {
    let (server, _, wire) = serve(RARE).await;
    server.set("a", 1_i64);
    let mut stream = wire.subscribe(announced(["a"])).await;
    assert_eq!(stream.next().await.to_string(), "State a=1");
    server.delete("a");
    let change = stream.next().await;
    assert_eq!(change.to_string(), "Change a=gone");
    assert_eq!(change.data["a"].revision, change.revision(), "a tombstone has a revision of its own");
    let state = wire.subscribe(announced(["a"])).await.next().await;
    assert_eq!(state.to_string(), "State", "a state holds no tombstones");
}

#[tokio::test]
async fn d10_heartbeats_come_by_themselves_and_move_the_position() {
    let (server, store, wire) = serve(OFTEN).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    assert_eq!(stream.headers.get(header::HEARTBEAT_MS).expect("it is there"), "20");
    assert_eq!(stream.next().await.to_string(), "State");
    assert_eq!(stream.heartbeat().await.revision(), 1);
    let elsewhere = commit(&*store, [Operation::put("b", "int", "1")]).await;
    let moved = async {
        loop {
            let newest = stream.heartbeat().await;
            if newest.revision() >= elsewhere {
                return newest;
            }
        }
    };
    let newest = within("a heartbeat at the new position", moved).await;
    server.set("a", 1_i64);
    let mut resumed = wire.subscribe(resuming(["a"], &newest.position)).await;
    assert_eq!(resumed.delivery().await.to_string(), "Resume a=1", "such a position can be resumed from");
}

#[tokio::test]
async fn a_key_that_several_entries_match_comes_once() {
    let (server, _, wire) = serve(RARE).await;
    server.set("a/b/c", 1_i64);
    let keys = ["a/b/c", "a/", "a/b/", "a/b/c", "a/"];
    // `Delivery` fails the test on a key that comes twice.
    let mut stream = wire.subscribe(announced(keys)).await;
    let first = stream.next().await;
    assert_eq!(first.to_string(), "State a/b/c=1");
    server.set("a/b/c", 2_i64);
    assert_eq!(stream.next().await.to_string(), "Change a/b/c=2");
    let mut request = resuming(keys, &first.position);
    request.fresh = vec!["a/b/".to_owned(), "a/b/c".to_owned()];
    assert_eq!(wire.subscribe(request).await.next().await.to_string(), "Resume a/b/c=2");
}

#[tokio::test]
async fn a_prefix_means_what_lies_below_it_and_a_key_means_itself() {
    let (server, _, wire) = serve(RARE).await;
    for key in ["app", "app/x", "app/x/y", "app2/x", "apple"] {
        server.set(key, 1_i64);
    }
    for (asked, expected) in [
        (&["app"] as &[_], "State app=1"),
        (&["app/"], "State app/x=1 app/x/y=1"),
        (&["app/x"], "State app/x=1"),
        (&["app", "app/x/"], "State app=1 app/x/y=1"),
        (&[], "State app=1 app/x=1 app/x/y=1 app2/x=1 apple=1"),
    ] {
        let first = wire.subscribe(announced(asked)).await.next().await;
        assert_eq!(first.to_string(), expected, "asked for {asked:?}");
    }
}

#[tokio::test]
async fn d07_no_keys_mean_all_of_them_those_of_later_too() {
    let (server, _, wire) = serve(RARE).await;
    let mut stream = wire.subscribe(announced([""; 0])).await;
    assert_eq!(stream.next().await.to_string(), "State");
    server.set("any/key", 1_i64);
    assert_eq!(stream.next().await.to_string(), "Change any/key=1");
}

#[tokio::test]
async fn d14_one_commit_is_one_delivery() {
    let (server, store, wire) = serve(RARE).await;
    server.set("gone", 1_i64);
    let mut some = wire.subscribe(announced(["a", "gone"])).await;
    let mut all = wire.subscribe(announced([""; 0])).await;
    assert_eq!(some.next().await.to_string(), "State gone=1");
    assert_eq!(all.next().await.to_string(), "State gone=1");
    let batch = [
        Operation::put("a", "int", "1"),
        Operation::put("b", "int", "2"),
        Operation::put("c", "int", "3"),
        Operation::delete("gone"),
    ];
    let end = commit(&*store, batch).await;
    let change = all.next().await;
    assert_eq!(change.to_string(), "Change a=1 b=2 c=3 gone=gone");
    assert_eq!(change.revision(), end, "the position is that of the whole commit");
    let change = some.next().await;
    assert_eq!((change.to_string().as_str(), change.revision()), ("Change a=1 gone=gone", end));
}

#[tokio::test]
async fn d20_any_number_of_keys_is_followed_whatever_characters_they_have() {
    let (server, _, wire) = serve(RARE).await;
    let odd = ["a,b", "it's", "say \"x\"", "100%", "under_score", "*", "?", "$1", "--", "%2e%2e"];
    let many: Vec<_> = (0..1000).map(|i| format!("many/{i}")).collect();
    for keys in [vec!["one"], vec!["one", "two"], odd.to_vec(), many.iter().map(String::as_str).collect()] {
        let mut stream = wire.subscribe(announced(&keys)).await;
        stream.next().await;
        for key in keys.iter().take(20) {
            server.set(key, i64::try_from(keys.len()).expect("it is small"));
            let change = stream.next().await;
            assert_eq!(change.to_string(), format!("Change {key}={}", keys.len()));
        }
    }
}

#[tokio::test]
async fn d11_a_client_that_went_away_leaves_nothing_behind() {
    let (server, _, wire) = serve(RARE).await;
    for _ in 0..3 {
        let mut streams = Vec::new();
        for i in 0..100 {
            streams.push(wire.subscribe(announced([format!("key/{i}"), "all/".into()])).await);
        }
        assert_eq!(server.subscribers(), 100);
        streams.truncate(50);
        eventually("the first half is gone", || server.subscribers() == 50).await;
        drop(streams);
        eventually("all are gone", || server.subscribers() == 0).await;
    }
}

#[tokio::test]
async fn d57_a_client_whose_connection_breaks_leaves_nothing_behind() {
    let (server, _, wire) = serve(RARE).await;
    let connection = Wire::to(&server.url()).await;
    let stream = connection.subscribe(announced(["a"])).await;
    let other = wire.subscribe(announced(["a"])).await;
    assert_eq!(server.subscribers(), 2);
    drop((connection, stream));
    eventually("the broken one is gone", || server.subscribers() == 1).await;
    assert_eq!(other.headers.get(header::PROTOCOL).expect("it is there"), "1");
}
