//! Laws of a server whose store fails, lags or panics.

use std::sync::Arc;
use std::time::Duration;

use datastream::proto::Position;
use datastream_server::Config;
use datastream_server::store::{Commit, Operation, Store as _};
use datastream_server::testing::TestServer;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::captured_log;
use crate::faulty_store::{CAUSE, Fault, FaultyStore};
use crate::wire::{Deliveries, Wire, announced, data, eventually, resuming, within};

async fn server(heartbeat: Duration) -> (TestServer, Arc<FaultyStore>, Wire) {
    captured_log::capture();
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default().heartbeat(heartbeat));
    let wire = Wire::to(&server.url()).await;
    (server, store, wire)
}

const OFTEN: Duration = Duration::from_millis(20);
const RARE: Duration = Duration::from_secs(600);

/// Waits for a heartbeat that says, or does not say, that the store cannot be read.
async fn heartbeat_with_age(stream: &mut Deliveries, wanted: bool) {
    let found = async { while stream.heartbeat().await.source_age.is_some() != wanted {} };
    within("such a heartbeat", found).await;
}

#[tokio::test]
async fn d13_a_failing_store_ends_no_stream_and_is_seen_as_the_age_of_the_source() {
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::Panic] {
        let (server, store, wire) = server(OFTEN).await;
        server.set("a", 1_i64);
        let mut stream = wire.subscribe(announced(["a"])).await;
        assert_eq!(stream.next().await.to_string(), "State a=1");
        heartbeat_with_age(&mut stream, false).await;
        let failing = store.fail_reads(fault);
        let change = Commit::one(Operation::put("a", "int", "2"));
        store.commit(change).await.expect("it is written, and cannot be read");
        heartbeat_with_age(&mut stream, true).await;
        let synced = wire.sync(announced(["a"])).await;
        assert_eq!(synced.data["a"].value, "1", "{fault:?}: the last state stays");
        assert!(synced.source_age.is_some(), "and its age is told");
        drop(failing);
        assert_eq!(stream.delivery().await.to_string(), "Change a=2", "{fault:?}");
        heartbeat_with_age(&mut stream, false).await;
    }
}

#[tokio::test]
async fn d15_what_a_store_says_of_its_failures_stays_in_the_log() {
    let (_server, store, wire) = server(RARE).await;
    for (fault, code) in [
        (Fault::Unavailable, Code::Unavailable),
        (Fault::Full, Code::ResourceExhausted),
        (Fault::ReadOnly, Code::FailedPrecondition),
        (Fault::Corrupt, Code::DataLoss),
        (Fault::Panic, Code::Internal),
    ] {
        let failing = store.fail_commits(fault);
        let status = wire.push(data("a", "int", "1")).await.expect_err("the store fails");
        assert_eq!(status.code(), code, "{fault:?}");
        if fault == Fault::ReadOnly {
            let info = status.get_details_error_info().expect("it names the reason");
            assert_eq!(info.reason, "READ_ONLY");
        }
        let details = String::from_utf8_lossy(status.details()).into_owned();
        for hidden in [CAUSE, "SELECT", "/srv", "the panic that a test asked for"] {
            assert!(!status.message().contains(hidden) && !details.contains(hidden), "{fault:?}: {status:?}");
        }
        drop(failing);
        wire.push(data("a", "int", "1")).await.expect("the server still serves");
    }
    assert!(!captured_log::lines_with(CAUSE).is_empty(), "the operator can see the cause");
}

#[tokio::test]
async fn a_store_that_may_lag_makes_a_client_that_is_ahead_wait_and_never_resets_it() {
    let (_server, store, wire) = server(RARE).await;
    store.lag();
    let head = wire.push_int("a", 1).await;
    let ahead = Position { revision: head.revision + 100, token: head.token.clone() };
    let mut stream = wire.subscribe(resuming(["a"], &ahead)).await;
    let status = stream.end().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    let mut identity = head.token.to_vec();
    identity[..8].fill(7);
    let foreign = Position { token: identity.into(), ..ahead };
    let reset = wire.subscribe(resuming(["a"], &foreign)).await.next().await;
    assert_eq!(reset.to_string(), "Reset a=1", "another store is another history, lag or not");
}

#[tokio::test]
async fn a_server_that_is_behind_its_store_catches_up_before_it_judges_a_position() {
    let (server, store, wire) = server(RARE).await;
    server.set("a", 1_i64);
    let reading = store.fail_reads(Fault::Slow);
    let pushed = tokio::spawn({
        let wire = wire.clone();
        async move { wire.push_int("b", 1).await }
    });
    let written = async {
        loop {
            let snapshot = store.held().await;
            if snapshot.position.revision > 2 {
                return snapshot.position.to_proto();
            }
            tokio::task::yield_now().await;
        }
    };
    let ahead = within("the write", written).await;
    let resumed = tokio::spawn({
        let wire = wire.clone();
        async move { wire.subscribe(resuming(["a", "b"], &ahead)).await.next().await }
    });
    eventually("the subscriber is registered", || server.subscribers() == 1).await;
    drop(reading);
    let resumed = within("the stream", resumed).await.expect("it does not panic");
    assert_eq!(resumed.to_string(), "Resume");
    pushed.await.expect("the push is answered");
}

#[tokio::test]
async fn a_push_that_was_acknowledged_is_in_every_later_answer() {
    let (_server, store, wire) = server(RARE).await;
    let reading = store.fail_reads(Fault::Slow);
    let pushed = tokio::spawn({
        let wire = wire.clone();
        async move { wire.push_int("a", 1).await }
    });
    let written = async {
        while store.held().await.position.revision == 1 {
            tokio::task::yield_now().await;
        }
    };
    within("the write", written).await;
    for _ in 0..20 {
        let acknowledged = pushed.is_finished();
        let synced = wire.sync(announced(["a"])).await;
        assert!(!acknowledged || synced.data.contains_key("a"), "it is acknowledged, and cannot be read");
    }
    drop(reading);
    within("the push", pushed).await.expect("it does not panic");
    assert!(wire.sync(announced(["a"])).await.data.contains_key("a"));
}

/// Symptom: each subscriber polled the database. Cause: a loop for each of them. There is one feed.
#[tokio::test]
async fn d19_the_store_is_not_asked_more_often_for_more_subscribers() {
    let (_server, store, wire) = server(RARE).await;
    let mut looks = Vec::new();
    for subscribers in [1, 100] {
        let mut streams = Vec::new();
        for _ in 0..subscribers {
            streams.push(wire.subscribe(announced(["a"])).await);
        }
        let before = store.looks();
        for _ in 0..20 {
            let next = i64::try_from(store.looks()).expect("it is small");
            wire.push_int("a", next).await;
        }
        for stream in &mut streams {
            stream.delivery().await;
        }
        looks.push(store.looks() - before);
    }
    // One for each push, and where the machine is busy some of the clock. A loop for each subscriber would make 2000.
    assert!(looks.iter().all(|looks| *looks <= 3 * 20), "{looks:?}");
}

#[tokio::test]
async fn d56_an_idle_server_asks_the_store_next_to_nothing() {
    let (_server, store, wire) = server(OFTEN).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(wire.subscribe(announced(["a"])).await);
    }
    let before = store.looks();
    for stream in &mut streams {
        stream.next().await;
    }
    for _ in 0..20 {
        streams[0].heartbeat().await;
    }
    let looks = store.looks() - before;
    assert!(looks <= 2, "{looks} looks during 20 heartbeats of 100 streams");
}

#[tokio::test]
async fn d63_every_call_and_every_stream_is_logged_with_method_peer_duration_and_status() {
    let (_server, _, wire) = server(RARE).await;
    drop(wire.subscribe(announced(["a"])).await);
    let refused: Status = wire.push(data("logged//key", "int", "1")).await.expect_err("no key");
    assert_eq!(refused.code(), Code::InvalidArgument);
    for (method, status) in [("Subscribe", "\"gone\""), ("PushUpdate", "\"3\"")] {
        let logged = || {
            let lines = captured_log::lines_with(&format!("method=/datastream.DataService/{method}"));
            lines.iter().any(|line| {
                line.contains("peer=127.0.0.1:")
                    && line.contains("ms=")
                    && line.contains(&format!("status={status}"))
            })
        };
        eventually(method, logged).await;
    }
}
