//! Laws of a stop: streams are told to go, calls are finished, and nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastream::proto::Phase;
use datastream_server::store::Store;
use datastream_server::stores::MemoryStore;
use datastream_server::testing::TestServer;
use datastream_server::{Config, incoming, serve};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Code;

use crate::wire::{DEADLINE, Deliveries, Wire, announced, data, eventually, unannounced, within};

/// Longer than a test waits: a stop that needs it fails.
const DRAIN_LIMIT: Duration = DEADLINE.saturating_mul(2);

fn server(store: Arc<MemoryStore>) -> TestServer {
    let config = Config::default().heartbeat(Duration::from_secs(600)).drain_limit(DRAIN_LIMIT);
    TestServer::start_with(store, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_announced_clients_when_to_come_back_and_ends_all_as_unavailable() {
    let mut server = server(Arc::default());
    server.set("a", 1_i64);
    let wire = Wire::to(&server.url()).await;
    let mut announced = wire.subscribe(announced(["a"])).await;
    let mut unannounced = wire.subscribe(unannounced(["a"])).await;
    announced.next().await;
    unannounced.next().await;
    server.stop();
    let drain = announced.next().await;
    assert_eq!(drain.phase, Phase::Drain);
    let delay = drain.delay.expect("it says when to come back");
    assert!(delay.seconds > 0 || delay.nanos > 0, "{delay:?}");
    assert_eq!(announced.end().await.code(), Code::Unavailable);
    assert_eq!(unannounced.end().await.code(), Code::Unavailable, "and no message came before it");
}

/// Follows a stream to its end.
async fn follow(mut stream: Deliveries) {
    let status = loop {
        if let Err(status) = stream.try_next().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

/// Pushes to one key until the server is gone. Returns the last value that was acknowledged.
async fn push_until_gone(wire: Wire, key: String) -> (String, u64) {
    for value in 0_u64.. {
        if wire.push(data(&key, "int", value.to_string())).await.is_err() {
            return (key, value);
        }
    }
    unreachable!("the server stops")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_open_streams_and_pushes_in_flight_is_quick_and_keeps_what_was_acknowledged() {
    let store = Arc::new(MemoryStore::new());
    let mut server = server(store.clone());
    let url = server.url();
    let mut streams = JoinSet::new();
    for _ in 0..10 {
        let wire = Wire::to(&url).await;
        for i in 0..20 {
            let keys = [format!("key/{i}"), "key/".to_owned()];
            let request = if i % 2 == 0 { announced(keys) } else { unannounced(keys) };
            streams.spawn(follow(wire.subscribe(request).await));
        }
    }
    assert_eq!(server.subscribers(), 200);
    let mut pushes = JoinSet::new();
    for i in 0..8 {
        pushes.spawn(push_until_gone(Wire::to(&url).await, format!("key/{i}")));
    }
    let mut observer = Wire::to(&url).await.subscribe(announced(["key/7"])).await;
    while observer.delivery().await.data.is_empty() {}

    let stopped = tokio::task::spawn_blocking(move || server.stop());
    within("the streams go by themselves", stopped).await.expect("it does not panic");

    let acknowledged = pushes.join_all().await;
    let held = store.load().await.expect("it can be read");
    let held: BTreeMap<_, _> = held.changes.into_iter().map(|change| (change.key, change.value)).collect();
    for (key, next) in acknowledged {
        let value = held.get(key.as_str()).and_then(Option::as_ref);
        let value =
            value.map_or(0, |stored| String::from_utf8_lossy(&stored.value).parse::<u64>().expect("int") + 1);
        assert!(value == next || value == next + 1, "{key}: {next} were acknowledged, {value} are there");
    }
    within("the end of all streams", streams.join_all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_longer_than_its_limit_for_a_reader_that_is_stuck() {
    let limit = Duration::from_millis(200);
    let mut server =
        TestServer::start_with(Arc::new(MemoryStore::new()), Config::default().drain_limit(limit));
    for i in 0..10 {
        server.set(&format!("large/{i}"), "x".repeat(1 << 20));
    }
    let wire = Wire::narrow(&server.url()).await;
    let stuck = wire.subscribe(announced(["large/"])).await;
    let asked = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    tokio::time::timeout(DEADLINE, stopped).await.expect("it stops").expect("it does not panic");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_came_back_on_the_same_port_resumes_its_clients() {
    let mut server = server(Arc::default());
    server.set("a", 1_i64);
    server.set("b", 1_i64);
    let before = Wire::to(&server.url()).await.subscribe(announced(["a", "b"])).await.next().await;
    server.stop();
    server.set("b", 2_i64);
    server.restart();
    let wire = Wire::to(&server.url()).await;
    let resumed = wire.subscribe(crate::wire::resuming(["a", "b"], &before.position)).await.next().await;
    assert_eq!(resumed.to_string(), "Resume b=2");
}

/// An application may drop the server, and open the store again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_ends_its_streams_and_lets_go_of_its_store() {
    let store = Arc::new(MemoryStore::new());
    let held = Arc::downgrade(&store);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it has an address"));
    let config = Config::default().heartbeat(Duration::from_millis(100)).drain_limit(DRAIN_LIMIT);
    let serving = tokio::spawn(serve(incoming(listener), store, config, std::future::pending()));
    let wire = Wire::to(&url).await;
    wire.push(data("a", "int", "1")).await.expect("it is taken");
    let mut stream = wire.subscribe(announced(["a"])).await;
    stream.next().await;
    serving.abort();
    within("the end of the stream", follow(stream)).await;
    drop(wire);
    eventually("the store is let go of", || held.strong_count() == 0).await;
}
