//! What a position is worth: laws of `resume` and `fresh`, seen by a raw client.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::KeySet;
use datastream::position;
use datastream::proto::{DataRequest, Phase, Position};
use datastream_server::Config;
use datastream_server::frame::JOIN_BYTES;
use datastream_server::state::State;
use datastream_server::store::{Retention, Snapshot, Store as _};
use datastream_server::stores::MemoryStore;
use datastream_server::subscription::{Input, Output, Pace, Request, Subscription};
use datastream_server::testing::TestServer;

use crate::faulty_store::FaultyStore;
use crate::wire::{Wire, announced, resuming};

/// A server without heartbeats, on a store that the test can reach as well.
async fn serve() -> (TestServer, Arc<MemoryStore>, Wire) {
    let store = Arc::new(MemoryStore::new());
    let config = Config::default().heartbeat(Duration::from_secs(600));
    let server = TestServer::start_with(store.clone(), config);
    let wire = Wire::to(&server.url()).await;
    (server, store, wire)
}

/// Keeps nothing but the newest position.
const NOTHING: Retention = Retention {
    positions: Duration::ZERO,
    max_positions: 1,
    history: Duration::ZERO,
    versions: 1,
    requests: Duration::ZERO,
    max_requests: 0,
};

#[tokio::test]
async fn d01_every_answer_has_a_position_and_resume_brings_exactly_what_changed() {
    let (server, _, wire) = serve().await;
    for key in ["same", "changed", "deleted", "retouched"] {
        server.set(key, 1_i64);
    }
    let keys = ["same", "changed", "deleted", "retouched", "born"];
    let before = wire.subscribe(announced(keys)).await.next().await;
    assert_eq!(before.to_string(), "State changed=1 deleted=1 retouched=1 same=1");
    server.set("changed", 2_i64);
    server.delete("deleted");
    server.set("born", 3_i64);
    server.set("retouched", 4_i64);
    server.set("retouched", 5_i64);
    server.set("elsewhere", 6_i64);
    let resumed = wire.subscribe(resuming(keys, &before.position)).await.next().await;
    assert_eq!(resumed.to_string(), "Resume born=3 changed=2 deleted=gone retouched=5");
    let again = wire.subscribe(resuming(keys, &resumed.position)).await.next().await;
    assert_eq!(again.to_string(), "Resume", "nothing is owed, and that is said");
    assert_eq!(again.position, resumed.position);
}

#[tokio::test]
async fn d02_no_write_between_sync_and_subscribe_is_lost() {
    let (server, _, wire) = serve().await;
    server.set("a", 1_i64);
    let synced = wire.sync(announced(["a"])).await;
    server.set("a", 2_i64);
    let position = synced.position.expect("Sync names its position");
    let mut stream = wire.subscribe(resuming(["a"], &position)).await;
    assert_eq!(stream.next().await.to_string(), "Resume a=2");
}

#[tokio::test]
async fn a_position_of_another_history_gets_a_reset() {
    let (_server, _, wire) = serve().await;
    let head = wire.push_int("a", 1).await;
    let foreign = Position { revision: head.revision, token: vec![7; 16].into() };
    let reset = wire.subscribe(resuming(["a"], &foreign)).await.next().await;
    assert_eq!(reset.to_string(), "Reset a=1");
    assert_eq!(reset.position, head);
    let higher = Position { revision: u64::MAX, token: vec![7; 16].into() };
    assert_eq!(wire.subscribe(resuming(["a"], &higher)).await.next().await.to_string(), "Reset a=1");
}

#[tokio::test]
async fn a_position_that_was_compacted_away_gets_a_reset() {
    let (_server, store, wire) = serve().await;
    let old = wire.push_int("a", 1).await;
    wire.push_int("a", 2).await;
    store.compact(NOTHING).await.expect("it compacts");
    wire.push_int("b", 1).await;
    let reset = wire.subscribe(resuming(["a"], &old)).await.next().await;
    assert_eq!(reset.to_string(), "Reset a=2");
}

#[tokio::test]
async fn a_position_above_the_head_of_an_authoritative_store_gets_a_reset() {
    let (_server, _, wire) = serve().await;
    let head = wire.push_int("a", 1).await;
    let ahead = Position { revision: head.revision + 100, token: head.token.clone() };
    let reset = wire.subscribe(resuming(["a"], &ahead)).await.next().await;
    assert_eq!(reset.to_string(), "Reset a=1");
    assert_eq!(reset.position, head);
}

#[tokio::test]
async fn what_is_fresh_comes_whole_in_one_delivery_with_what_the_others_missed() {
    let (server, _, wire) = serve().await;
    server.set("old/same", 1_i64);
    server.set("new", 2_i64);
    server.set("new/below", 3_i64);
    server.set("new/gone", 0_i64);
    server.delete("new/gone");
    let before = wire.subscribe(announced(["old/"])).await.next().await;
    server.set("old/changed", 4_i64);
    server.set("new/changed", 5_i64);
    let fresh = vec!["new".to_owned(), "new/".to_owned()];
    let request = resuming(["old/", "new", "new/"], &before.position);
    let mut stream = wire.subscribe(DataRequest { fresh, ..request }).await;
    let whole = stream.next().await;
    assert_eq!(whole.to_string(), "Resume new=2 new/below=3 new/changed=5 old/changed=4");
}

#[tokio::test]
async fn a_live_stream_is_told_when_the_history_changes_under_it() {
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default());
    let wire = Wire::to(&server.url()).await;
    server.set("a", 1_i64);
    let mut stream = wire.subscribe(announced(["a"])).await;
    assert_eq!(stream.next().await.to_string(), "State a=1");
    store.replace();
    let reset = stream.next().await;
    assert_eq!((reset.phase, reset.to_string().as_str(), reset.revision()), (Phase::Reset, "Reset", 1));
    server.set("a", 2_i64);
    assert_eq!(stream.next().await.to_string(), "Change a=2");
}

/// A version of the state of one store, which has no keys.
fn state(revision: u64, lineage: u64) -> Arc<State> {
    let token = [[0; 8], revision.to_be_bytes()].concat().into();
    let position = position::Position { revision, token };
    let positions = vec![position.clone()];
    Arc::new(State::new(Snapshot { position, compacted_to: 0, positions, changes: Vec::new() }, lineage))
}

/// The store was loaded anew, and is behind what the stream has sent: another history, or a store that lags by now.
#[test]
fn what_a_position_above_the_head_proves_is_judged_when_it_is_met() {
    for authoritative in [true, false] {
        let request =
            Request { keys: Arc::new(KeySet::all()), fresh: Arc::default(), resume: None, announced: true };
        let pace = Pace { heartbeat: Duration::from_secs(5), join_bytes: JOIN_BYTES };
        let mut subscription = Subscription::new(request, pace);
        let mut step = |state: Arc<State>, authoritative| {
            let (now, state) = (Duration::ZERO, &state);
            subscription.step(Input { now, state, touched: 0, source_age: None, authoritative })
        };
        let first = step(state(10, 0), !authoritative);
        assert!(matches!(first, Output::Send(frame) if frame.phase == Phase::State));
        let next = step(state(5, 1), authoritative);
        let is_reset = matches!(&next, Output::Send(frame) if frame.phase == Phase::Reset);
        let is_behind = matches!(next, Output::Behind);
        assert_eq!((is_reset, is_behind), (authoritative, !authoritative));
    }
}

/// In the state that is left revisions may be above those of what has taken its place.
#[tokio::test]
async fn a_push_into_another_history_is_answered_when_that_is_shown() {
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default());
    (1..=3).for_each(|value| server.set("a", value));
    let wire = Wire::to(&server.url()).await;
    // To see the other history takes two calls, the push one.
    store.delay_calls(Duration::from_millis(100));
    store.replace();
    wire.push_int("b", 1).await;
    let shown = wire.sync(announced(["a", "b"])).await.data;
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["b"]);
}
