//! The client against a real server, over a real socket.

use std::time::Duration;

use datastream_client::{Client, Origin, Seen, State, Unavailable};
use datastream_server::testing::TestServer;

/// Waits until `condition` holds; fails after ten seconds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), poll).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn the_line_of_the_mission_reads_a_live_value() {
    let server = TestServer::start().with("max_connections", 10_i64);
    let url = server.url();
    let cfg = Client::connect(url).watch::<i64>("max_connections");
    cfg.ready().await.expect("the key is there");
    assert_eq!(cfg.get(), Some(10));
    server.set("max_connections", 20_i64);
    until("the new value", || cfg.get() == Some(20)).await;
}

#[tokio::test]
async fn a_missing_key_fails_as_missing_and_arrives_when_born() {
    let server = TestServer::start();
    let client = Client::connect(server.url());
    let mut late = client.watch::<String>("not/yet");
    assert!(matches!(late.ready().await, Err(Unavailable::Missing { .. })));
    server.set("not/yet", "born".to_owned());
    late.changed().await;
    assert_eq!(late.get().as_deref(), Some("born"));
}

#[tokio::test]
async fn a_key_changed_long_before_is_watched_late_and_arrives() {
    let server = TestServer::start().with("old", 1_i64).with("busy", 0_i64);
    let client = Client::connect(server.url());
    let busy = client.watch::<i64>("busy");
    busy.ready().await.expect("busy");
    (1..=100).for_each(|n| server.set("busy", n));
    until("busy is current", || busy.get() == Some(100)).await;
    let old = client.watch::<i64>("old");
    old.ready().await.expect("old");
    assert_eq!(old.get(), Some(1));
    assert_eq!(busy.get(), Some(100));
}

#[tokio::test]
async fn a_restart_on_the_same_port_goes_stale_and_comes_back() {
    let mut server = TestServer::start().with("max_connections", 10_i64);
    let client = Client::connect(server.url());
    let cfg = client.watch::<i64>("max_connections");
    cfg.ready().await.expect("the key is there");
    until("live", || cfg.status().state == State::Ready).await;
    server.kill();
    until("stale", || cfg.status().state == State::Stale).await;
    assert_eq!(cfg.get(), Some(10), "the last value stays");
    server.set("max_connections", 30_i64);
    server.restart();
    until("back", || cfg.get() == Some(30) && cfg.status().state == State::Ready).await;
}

#[tokio::test]
async fn an_application_that_starts_while_its_server_is_down_has_its_last_settings_and_then_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache");
    let mut server = TestServer::start().with("max_connections", 10_i64).with("rate", 1_i64);
    let connect = || Client::builder(server.url()).cache_file(&path).connect();
    let client = connect();
    let (max, rate) = (client.watch::<i64>("max_connections"), client.watch::<i64>("rate"));
    max.ready().await.expect("it is there");
    rate.ready().await.expect("it is there");
    until("the file is written", || path.is_file()).await;
    drop((client, max, rate));

    let client = connect();
    server.kill();
    server.set("max_connections", 20_i64);
    let (max, rate) = (client.watch::<i64>("max_connections"), client.watch::<i64>("rate"));
    max.ready().await.expect("the file has it");
    assert_eq!((max.get(), rate.get()), (Some(10), Some(1)));
    assert_eq!((max.status().state, max.status().origin), (State::Stale, Origin::Cache));
    server.restart();
    until("live", || rate.status().state == State::Ready).await;
    assert_eq!((max.get(), rate.get()), (Some(20), Some(1)));
    assert_eq!(rate.status().origin, Origin::Live);
}

#[tokio::test]
async fn a_write_is_seen_when_it_returns() {
    let server = TestServer::start().with("n", 1_i64);
    let client = Client::connect(server.url());
    let n = client.watch::<i64>("n");
    n.ready().await.expect("n");
    for value in 2..50_i64 {
        let written = client.set("n", value).await.expect("written");
        assert_eq!(written.seen, Seen::Applied);
        assert_eq!(n.get(), Some(value));
    }
}

#[test]
fn the_runtime_of_the_application_dies_and_the_handle_goes_on() {
    let server = TestServer::start().with("n", 1_i64);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cfg = runtime.block_on(async {
        let cfg = Client::connect(server.url()).watch::<i64>("n");
        cfg.ready().await.expect("n");
        cfg
    });
    runtime.shutdown_background();
    server.set("n", 2_i64);
    let elsewhere = tokio::runtime::Runtime::new().expect("a runtime");
    elsewhere.block_on(until("the new value", || cfg.get() == Some(2)));
}
