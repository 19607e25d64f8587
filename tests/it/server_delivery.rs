//! Laws of large states and slow readers, seen by a raw client.

use std::sync::Arc;
use std::time::Duration;

use datastream_server::Config;
use datastream_server::frame::PART_BYTES;
use datastream_server::store::{Commit, Operation, Store};
use datastream_server::stores::MemoryStore;
use datastream_server::testing::TestServer;
use tonic::Code;

use crate::wire::{Deliveries, Wire, announced, data, eventually, unannounced};

const MIB: usize = 1 << 20;
const MESSAGE_BYTES: usize = 4 * MIB;

/// A server that holds ten times 1 MiB and ten thousand small values, and has other settings than usual.
async fn large(config: Config) -> TestServer {
    let store = Arc::new(MemoryStore::new());
    let value = "x".repeat(MIB);
    let large = (0..10).map(|i| Operation::put(&format!("large/{i}"), "string", value.clone()));
    let small = (0..10_000).map(|i| Operation::put(&format!("small/{i:04}"), "int", "1"));
    let commit = Commit { operations: large.chain(small).collect(), ..Commit::default() };
    store.commit(commit).await.expect("the commit is taken");
    TestServer::start_with(store, config)
}

#[tokio::test]
async fn a_large_state_comes_in_parts_of_which_only_the_last_has_the_position() {
    let server = large(Config::default()).await;
    let wire = Wire::to(&server.url()).await;
    // `Delivery` fails the test where a part but the last has a position, or the last has none.
    for request in [announced([""; 0]), unannounced([""; 0]), announced(["large/", "small/"])] {
        let state = wire.subscribe(request).await.next().await;
        assert_eq!(state.data.len(), 10_010);
        assert!(state.sizes.len() >= 10, "it takes several messages: {:?}", state.sizes);
        assert!(state.sizes.iter().all(|size| *size <= MESSAGE_BYTES), "{:?}", state.sizes);
    }
}

#[tokio::test]
async fn a_delivery_is_of_one_version_however_long_it_takes() {
    let store = Arc::new(MemoryStore::new());
    let write = async |text: &str| {
        let value = text.repeat(MIB / text.len());
        let operations = (0..10).map(|i| Operation::put(&format!("large/{i}"), "string", value.clone()));
        let commit = Commit { operations: operations.collect(), ..Commit::default() };
        store.commit(commit).await.expect("the commit is taken").revision
    };
    let first = write("old.").await;
    let server = TestServer::start_with(store.clone(), Config::default());
    let mut slow = Wire::narrow(&server.url()).await.subscribe(announced(["large/"])).await;
    let mut quick = Wire::to(&server.url()).await.subscribe(announced(["large/"])).await;
    quick.next().await;
    let second = write("new.").await;
    quick.delivery().await;
    for (revision, text) in [(first, b"old."), (second, b"new.")] {
        let delivery = slow.delivery().await;
        assert_eq!((delivery.revision(), delivery.data.len()), (revision, 10));
        assert!(delivery.data.values().all(|data| data.value.starts_with(text)), "no mix of two commits");
    }
}

#[tokio::test]
async fn small_entries_travel_together() {
    let server = large(Config::default()).await;
    let wire = Wire::to(&server.url()).await;
    let state = wire.subscribe(unannounced(["small/"])).await.next().await;
    assert_eq!((state.data.len(), state.sizes.len()), (10_000, 1));
    let state = wire.subscribe(announced(["small/"])).await.delivery().await;
    let (_, full) = state.sizes.split_last().expect("there is a message");
    assert_eq!(state.data.len(), 10_000);
    assert!(full.iter().all(|size| (PART_BYTES * 9 / 10..=PART_BYTES + 100).contains(size)), "{full:?}");
}

#[tokio::test]
async fn a_value_of_the_highest_size_travels_both_ways() {
    let highest = datastream_server::MAX_VALUE_BYTES;
    let config = Config::default().max_value_bytes(highest);
    let server = TestServer::start_with(Arc::new(MemoryStore::new()), config);
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    stream.next().await;
    let value = vec![b'x'; highest];
    wire.push(data("a", "bytes", value.clone())).await.expect("it is taken");
    let change = stream.delivery().await;
    assert!(change.data["a"].value == value, "the value arrives as it was sent");
    assert!(change.sizes[0] <= MESSAGE_BYTES);
    let longer = wire.push(data("a", "bytes", vec![b'x'; highest + 1])).await;
    assert_eq!(longer.expect_err("it is too large").code(), Code::InvalidArgument);
}

/// Reads until `key` has this value. Fails the test where a revision of a key does not rise.
async fn read_until(stream: &mut Deliveries, key: &str, value: &[u8]) -> usize {
    let mut newest = 0;
    for count in 1.. {
        let delivery = stream.delivery().await;
        let Some(data) = delivery.data.get(key) else { continue };
        assert!(data.revision > newest, "no change comes twice, and none late");
        newest = data.revision;
        if data.value == value {
            return count;
        }
    }
    unreachable!("there is no last number")
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_value_and_no_backlog() {
    let server = TestServer::start();
    let wire = Wire::narrow(&server.url()).await;
    let mut slow = wire.subscribe(announced(["a"])).await;
    let mut quick = Wire::to(&server.url()).await.subscribe(announced(["a"])).await;
    let writer = Wire::to(&server.url()).await;
    const WRITES: usize = 200;
    let value = |i: usize| format!("{i:04}").repeat(MIB / 16);
    for i in 1..=WRITES {
        writer.push(data("a", "string", value(i))).await.expect("it is taken");
    }
    let last = value(WRITES).into_bytes();
    read_until(&mut quick, "a", &last).await;
    // What the transport holds already is delivered; all the rest is one value.
    let deliveries = read_until(&mut slow, "a", &last).await;
    assert!(deliveries <= 10, "{deliveries} deliveries of {WRITES} writes");
}

/// Symptom: a second write in the same second was never seen, or the same row came again and again. Cause:
/// rows were compared by a time of whole seconds. Revisions are.
#[tokio::test]
async fn d21_the_last_of_a_thousand_writes_in_a_second_arrives() {
    let server = TestServer::start();
    let wire = Wire::to(&server.url()).await;
    let mut streams = [wire.subscribe(announced(["a"])).await, wire.subscribe(unannounced(["a", "b"])).await];
    let mut writes = tokio::task::JoinSet::new();
    for i in 0..1000 {
        let wire = wire.clone();
        writes.spawn(async move { wire.push_int("a", i).await });
    }
    let positions = writes.join_all().await;
    let last = wire.push_int("a", -1).await;
    assert!(positions.iter().all(|position| position.revision < last.revision));
    for stream in &mut streams {
        read_until(stream, "a", b"-1").await;
    }
}

#[tokio::test]
async fn d22_no_change_is_delivered_twice() {
    let config = Config::default().heartbeat(Duration::from_millis(20));
    let server = TestServer::start_with(Arc::new(MemoryStore::new()), config);
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    wire.push_int("a", 1).await;
    read_until(&mut stream, "a", b"1").await;
    for _ in 0..3 {
        stream.heartbeat().await;
    }
    wire.push_int("b", 1).await;
    wire.push_int("a", 2).await;
    assert_eq!(stream.delivery().await.to_string(), "Change a=2");
}

/// Symptom: a subscriber of several keys got changes twice or not at all. Cause: its place was the time of
/// whichever row came last. Its place is a position, which only rises.
#[tokio::test]
async fn d58_the_position_of_a_stream_only_rises_and_no_key_is_skipped() {
    let server = TestServer::start();
    let wire = Wire::to(&server.url()).await;
    let keys: Vec<_> = (0..5).map(|i| format!("key/{i}")).collect();
    let mut stream = wire.subscribe(announced(&keys)).await;
    let mut writes = tokio::task::JoinSet::new();
    for key in keys.clone() {
        let wire = wire.clone();
        writes.spawn(async move {
            for value in 0..100 {
                wire.push_int(&key, value).await;
            }
        });
    }
    let mut newest = 0;
    let mut unfinished = keys.len();
    while unfinished > 0 {
        let delivery = stream.delivery().await;
        assert!(delivery.revision() > newest, "{} after {newest}", delivery.revision());
        assert!(delivery.data.values().all(|data| data.revision > newest), "no change comes twice");
        newest = delivery.revision();
        unfinished -= delivery.data.values().filter(|data| data.value == "99").count();
    }
    writes.join_all().await;
}

#[tokio::test]
async fn d12_a_client_that_leaves_in_the_middle_of_a_delivery_leaves_nothing_behind() {
    let server = large(Config::default()).await;
    let wire = Wire::narrow(&server.url()).await;
    let streams = [wire.subscribe(announced(["large/"])).await, wire.subscribe(unannounced([""; 0])).await];
    assert_eq!(server.subscribers(), 2);
    drop(streams);
    eventually("both are gone", || server.subscribers() == 0).await;
}

#[tokio::test]
async fn a_stuck_delivery_is_ended_and_a_slow_one_is_not() {
    let (limit, heartbeat) = (Duration::from_secs(2), Duration::from_millis(200));
    let server = large(Config::default().stall_limit(limit).heartbeat(heartbeat)).await;
    let wire = Wire::narrow(&server.url()).await;
    let mut stuck = wire.subscribe(announced(["large/"])).await;
    let mut clock = wire.subscribe(announced(["unknown"])).await;
    clock.next().await;
    for _ in 0..15 {
        clock.heartbeat().await;
    }
    let end = stuck.try_next().await.expect_err("it was ended");
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(end.message().contains("took no message"), "{end:?}");
    let mut again = wire.subscribe(announced(["large/"])).await;
    assert_eq!(again.next().await.data.len(), 10);
    eventually("the stuck one is gone", || server.subscribers() == 2).await;
}
