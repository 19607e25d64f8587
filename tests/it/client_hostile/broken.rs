//! Streams that break the contract: each is left, and nothing of what it said is shown.

use datastream::proto::{DataResponse, Phase};
use datastream_client::{Disconnect, State};
use datastream_server::testing::ScriptedStream;
use futures_util::future::join_all;

use super::{TEN, elsewhere};
use crate::hostile::{Hostile, left};
use crate::scripted::{change, heartbeat, message, resume, state};
use crate::wire::{eventually, within};

/// A part of a delivery that goes on.
fn part(message: DataResponse) -> DataResponse {
    DataResponse { more: true, position: None, ..message }
}

fn without_position(message: DataResponse) -> DataResponse {
    DataResponse { position: None, ..message }
}

/// Breaks a live stream, and says how.
type Breaking = (&'static str, fn(&ScriptedStream));

/// This one shows by silence alone.
const UNFINISHED: Breaking = ("row 75: a delivery that is never finished", |fed| {
    fed.say(part(change(6, [("n", 6, "int", "66")])));
});

/// Each of these ends the stream, and nothing of what it said is shown.
const BREAKING: [Breaking; 13] = [
    ("row 77: a revision that decreases", |fed| fed.say(change(4, [("n", 4, "int", "66")]))),
    ("row 89: another history at the same revision", |fed| {
        fed.say(elsewhere(change(5, [("n", 5, "int", "66")])))
    }),
    ("row 81: a second state", |fed| fed.say(state(6, [("n", 6, "int", "66")]))),
    ("row 81: a resume in the middle", |fed| fed.say(resume(6, [("n", 6, "int", "66")]))),
    ("row 77: a value that is newer than its delivery", |fed| {
        fed.say(change(6, [("n", u64::MAX, "int", "66")]))
    }),
    ("row 75: a delivery without a position", |fed| {
        fed.say(without_position(change(6, [("n", 6, "int", "66")])))
    }),
    ("row 84: a heartbeat inside a delivery", |fed| {
        fed.say(part(change(6, [("n", 6, "int", "66")])));
        fed.say(heartbeat(6));
    }),
    ("row 84: a heartbeat that lowers the revision", |fed| fed.say(heartbeat(4))),
    ("row 84: a heartbeat of another history", |fed| fed.say(elsewhere(heartbeat(5)))),
    ("row 84: a heartbeat without a position", |fed| fed.say(without_position(heartbeat(6)))),
    ("row 81: a phase of the future", |fed| {
        fed.say(DataResponse { phase: 77, ..change(6, [("n", 6, "int", "66")]) });
    }),
    ("row 81: bytes that are no message", |fed| fed.say_bytes(vec![0xff; 100])),
    ("row 76: a message of 9 MiB", |fed| {
        let value = "6".repeat(9 << 20);
        fed.say(change(6, [("n", 6, "int", &value)]));
    }),
];

#[tokio::test]
pub(super) async fn rows_75_76_77_81_84_89_a_broken_stream_is_dropped_and_what_it_said_is_not_shown() {
    let unfinished = is_dropped(UNFINISHED, "100");
    tokio::join!(unfinished, join_all(BREAKING.map(|breaking| is_dropped(breaking, "2000"))));
}

/// Breaks a stream whose heartbeats come so often as it says.
async fn is_dropped((what, break_it): Breaking, heartbeat: &str) {
    let mut server = Hostile::start();
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.asked().await.accept_with_heartbeat(heartbeat);
    fed.say(state(5, [TEN]));
    within(what, n.ready()).await.expect(what);
    break_it(&fed);
    left(&fed).await;
    let asked = server.asked().await;
    assert_eq!(asked.request().resume.as_ref().map(|resume| resume.revision), Some(5), "{what}");
    assert_eq!((n.get(), n.status().state), (Some(10), State::Stale), "{what}");
    let why = client.status().last_error.expect(what).to_string();
    assert!(why.len() < 300 && !why.contains("66"), "{what}: {why}");
    assert!(!why.starts_with("the server refused: INTERNAL"), "it refused nothing: {what}: {why}");
    // And a good server heals it.
    let fed = asked.accept();
    fed.say(resume(7, [("n", 7, "int", "11")]));
    eventually(what, || n.get() == Some(11) && n.status().state == State::Ready).await;
}

#[tokio::test]
pub(super) async fn row_81_a_first_delivery_that_does_not_fit_is_no_state() {
    let table: [(&str, DataResponse); 4] = [
        ("a change before a state", change(6, [TEN])),
        ("a resume of nothing", resume(6, [TEN])),
        ("a heartbeat before a state", heartbeat(6)),
        ("a server without the additions", without_position(message(Phase::Unspecified, 6, [TEN]))),
    ];
    join_all(table.map(|(what, first)| async move {
        let mut server = Hostile::start();
        let client = server.client();
        let n = client.watch::<i64>("n");
        left(&server.serve(first).await).await;
        let asked = server.asked().await;
        assert_eq!(n.get(), None, "{what}");
        assert!(matches!(client.status().last_error.as_deref(), Some(Disconnect::Violation(_))), "{what}");
        asked.accept().say(state(7, [("n", 7, "int", "11")]));
        eventually(what, || n.get() == Some(11)).await;
    }))
    .await;
}

#[tokio::test]
pub(super) async fn row_75_a_first_state_that_is_never_finished_is_not_shown() {
    let mut server = Hostile::start();
    let client = server.impatient_client();
    let n = client.watch::<i64>("n");
    let fed = server.accept_to_be_missed().await;
    for revision in 5..10 {
        fed.say(part(state(revision, [("n", 5, "int", "66")])));
    }
    left(&fed).await;
    assert_eq!((n.get(), client.snapshot().position()), (None, None));
    assert_eq!(client.status().last_error.as_deref(), Some(&Disconnect::Silent));
    let _fed = server.serve(state(7, [("n", 7, "int", "11")])).await;
    eventually("a whole one", || n.get() == Some(11)).await;
}

#[tokio::test]
pub(super) async fn row_84_a_heartbeat_ahead_of_the_data_moves_the_position() {
    let mut server = Hostile::start();
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    fed.say(heartbeat(900));
    eventually("nothing was owed", || client.status().position.is_some_and(|at| at.revision == 900)).await;
    assert_eq!((n.get(), n.status().state), (Some(10), State::Ready));
    drop(fed);
    let asked = server.asked().await;
    assert_eq!(asked.request().resume.as_ref().map(|resume| resume.revision), Some(900));
}
