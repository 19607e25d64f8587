//! The faults of a test server, each with the real client: what it shows while the fault lasts, and that it heals.

use std::time::{Duration, Instant};

use datastream_client::{Client, Disconnect, Limits, State, Watch};
use datastream_server::testing::{TestServer, message};

use crate::wire::{Wire, announced, eventually, within};

/// A server that holds `n`, a client that notices silence soon, and its handle.
async fn live() -> (TestServer, Client, Watch<i64>) {
    live_for(Duration::from_secs(2)).await
}

/// The same, with a client that takes so long for silence.
async fn live_for(limit: Duration) -> (TestServer, Client, Watch<i64>) {
    let server = TestServer::start().with("n", 10_i64);
    let limits = Limits::default().idle(limit).first_message(limit).sync(limit).seen(limit);
    let client = Client::builder(server.url()).limits(limits).connect();
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    eventually("a stream", || server.subscribers() == 1).await;
    (server, client, n)
}

async fn becomes(n: &Watch<i64>, value: i64, state: State) {
    eventually("the value and the state", || n.get() == Some(value) && n.status().state == state).await;
}

#[tokio::test]
async fn a_server_that_is_cut_off_is_missed_and_found_again() {
    let (server, client, n) = live().await;
    let cut = server.cut();
    server.set("n", 11_i64);
    becomes(&n, 10, State::Stale).await;
    let refused = || matches!(client.status().last_error.as_deref(), Some(Disconnect::Unreachable(_)));
    eventually("new connections are refused", refused).await;
    drop(cut);
    becomes(&n, 11, State::Ready).await;
}

#[tokio::test]
async fn a_cut_ends_with_its_server_and_with_a_restart() {
    let (mut server, _client, n) = live().await;
    let cut = server.cut();
    becomes(&n, 10, State::Stale).await;
    server.restart();
    becomes(&n, 10, State::Ready).await;
    drop(cut);
    becomes(&n, 10, State::Ready).await;
    // A guard that is left over has nothing to end.
    let cut = server.cut();
    drop(server);
    drop(cut);
}

#[tokio::test]
async fn a_silent_server_makes_the_client_stale_and_what_it_held_back_arrives() {
    let (server, client, n) = live().await;
    let silence = server.silence();
    server.set("n", 11_i64);
    becomes(&n, 10, State::Stale).await;
    let late = client.watch::<i64>("late");
    eventually("the reason", || client.status().last_error.as_deref() == Some(&Disconnect::Silent)).await;
    assert_eq!(late.status().state, State::NotReady);
    server.set("late", 1_i64);
    drop(silence);
    becomes(&n, 11, State::Ready).await;
    becomes(&late, 1, State::Ready).await;
}

#[tokio::test]
async fn a_silence_ends_no_stream() {
    let server = TestServer::start().with("n", 10_i64);
    let mut stream = Wire::to(&server.url()).await.subscribe(announced(["n"])).await;
    stream.delivery().await;
    let silence = server.silence();
    server.set("n", 11_i64);
    let said = tokio::time::timeout(Duration::from_millis(1_500), stream.next()).await;
    assert!(said.is_err(), "not even a heartbeat: {:?}", said.ok());
    drop(silence);
    assert_eq!(within("what was held back", stream.delivery()).await.revision(), 3);
}

#[tokio::test]
async fn a_late_message_is_late_and_in_its_order() {
    let (server, _client, mut n) = live().await;
    let delay = Duration::from_millis(400);
    let late = server.delay(delay);
    within("what was under way", async { while tokio::time::timeout(delay, n.changed()).await.is_ok() {} })
        .await;
    let began = Instant::now();
    server.set("n", 11_i64);
    server.set("n", 12_i64);
    within("the first", n.changed()).await;
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
    becomes(&n, 12, State::Ready).await;
    assert!(began.elapsed() < 30 * delay, "they are late together: {:?}", began.elapsed());
    drop(late);
    server.set("n", 13_i64);
    becomes(&n, 13, State::Ready).await;
}

#[tokio::test]
async fn what_is_said_twice_is_one_change() {
    let (server, client, mut n) = live_for(Duration::from_secs(10)).await;
    let _seen = tokio::time::timeout(Duration::ZERO, n.changed()).await;
    let twice = server.duplicate();
    let mut stream = Wire::to(&server.url()).await.subscribe(announced(["n"])).await;
    stream.delivery().await;
    server.set("n", 11_i64);
    let said = async { [stream.delivery().await, stream.delivery().await] };
    let said = within("it is said twice", said).await;
    assert_eq!(said.map(|said| said.revision()), [3, 3], "it is said twice");
    within("the change", n.changed()).await;
    eventually("heartbeats", || client.status().age.is_some_and(|age| age < Duration::from_millis(500)))
        .await;
    assert_eq!((n.get(), client.status().last_error), (Some(11), None));
    assert!(tokio::time::timeout(Duration::ZERO, n.changed()).await.is_err(), "it is one change");
    drop(twice);
    server.set("n", 12_i64);
    within("the next", n.changed()).await;
    assert_eq!(n.get(), Some(12));
}

#[tokio::test]
async fn a_value_that_is_corrupt_is_refused_and_the_last_one_stays_until_it_is_well() {
    let (server, client, n) = live().await;
    let other = client.watch::<i64>("other");
    for (value_type, text) in [("int", "ten"), ("money", "10"), ("string", "ten"), ("json", "{")] {
        let what = format!("{value_type} {text}");
        let bad = server.corrupt("n", value_type, text);
        eventually(&what, || n.status().state == State::Error && n.status().refusal.is_some()).await;
        assert_eq!(n.get(), Some(10), "{what}");
        server.set("other", i64::try_from(text.len()).expect("it is short"));
        eventually("others go on", || other.status().state == State::Ready).await;
        let fresh = Client::connect(server.url());
        let (of_fresh, other) = (fresh.watch::<i64>("n"), fresh.watch::<i64>("other"));
        within("ready", other.ready()).await.expect("a corrupt key harms no other");
        drop(bad);
        eventually(&what, || n.status().refusal.is_none() && n.status().state == State::Ready).await;
        becomes(&of_fresh, 10, State::Ready).await;
    }
    let bad = server.corrupt("n", "int", "ten");
    server.set("n", 11_i64);
    drop(bad);
    becomes(&n, 11, State::Ready).await;
}

#[tokio::test]
async fn revisions_that_are_lowered_and_tokens_that_are_changed_without_a_reset_are_not_followed() {
    for (what, fault) in [
        ("lower revisions", TestServer::lower_revisions as fn(&TestServer) -> _),
        ("other tokens", TestServer::change_tokens),
    ] {
        let (server, client, n) = live().await;
        let fault = fault(&server);
        eventually(what, || matches!(client.status().last_error.as_deref(), Some(Disconnect::Violation(_))))
            .await;
        becomes(&n, 10, State::Stale).await;
        drop(fault);
        server.set("n", 11_i64);
        becomes(&n, 11, State::Ready).await;
    }
}

#[tokio::test]
async fn another_history_with_a_reset_is_followed() {
    let (server, client, n) = live_for(Duration::from_secs(10)).await;
    (11..20_i64).for_each(|value| server.set("n", value));
    becomes(&n, 19, State::Ready).await;
    server.begin_anew();
    eventually("a lower revision", || client.status().position.is_some_and(|at| at.revision == 2)).await;
    assert_eq!((n.get(), client.status().last_error), (Some(19), None));
    server.set("n", 20_i64);
    becomes(&n, 20, State::Ready).await;
}

#[tokio::test]
async fn after_a_restart_positions_are_honoured_and_after_a_compaction_they_are_not() {
    let mut server = TestServer::start().with("n", 10_i64).with("gone", 1_i64);
    let wire = Wire::to(&server.url()).await;
    let at = wire.subscribe(announced(["n", "gone"])).await.delivery().await.position;
    server.delete("gone");
    server.restart();
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(crate::wire::resuming(["n", "gone"], &at)).await;
    assert_eq!(stream.delivery().await.phase, datastream::proto::Phase::Resume);
    server.compact();
    let mut stream = wire.subscribe(crate::wire::resuming(["n", "gone"], &at)).await;
    assert_eq!(stream.delivery().await.phase, datastream::proto::Phase::Reset);
}

#[tokio::test]
async fn a_client_that_was_away_during_a_compaction_loses_what_was_deleted() {
    let (server, client, n) = live().await;
    let gone = client.watch::<i64>("gone");
    server.set("gone", 1_i64);
    becomes(&gone, 1, State::Ready).await;
    let cut = server.cut();
    server.delete("gone");
    server.set("n", 11_i64);
    server.compact();
    drop(cut);
    becomes(&n, 11, State::Ready).await;
    assert_eq!((gone.get(), gone.status().state), (None, State::Ready));
}

#[tokio::test]
async fn a_client_follows_a_script_and_then_the_server_again() {
    let (mut server, _client, n) = live().await;
    let mut script = server.script();
    server.restart();
    let asked = within("Subscribe", script.next()).await;
    assert_eq!(asked.request().keys, ["n"]);
    asked.refuse(tonic::Status::unavailable("not now"));
    let stream = within("Subscribe", script.answer([message::reset(90, [("n", 90, "int", "66")])])).await;
    becomes(&n, 66, State::Ready).await;
    drop(script);
    becomes(&n, 66, State::Ready).await;
    drop(stream);
    becomes(&n, 10, State::Ready).await;
}
