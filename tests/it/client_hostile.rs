//! A hostile or broken server towards our client: it survives, keeps what it has, says what is wrong, and is well
//! again as soon as the server is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use datastream::proto::{DataResponse, Phase, Position};
use datastream_client::{Client, Disconnect, Seen, State};
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::hostile::{Fed, Hostile};
use crate::scripted::{change, deletion, heartbeat, message, reset, resume, state};
use crate::wire::{eventually, within};

const TEN: (&str, u64, &str, &str) = ("n", 3, "int", "10");

/// A part of a delivery that goes on.
fn part(message: DataResponse) -> DataResponse {
    DataResponse { more: true, position: None, ..message }
}

/// The same, said of another history.
fn elsewhere(message: DataResponse) -> DataResponse {
    let position = message.position.clone();
    let position = position.map(|position| Position { token: "elsewhere".into(), ..position });
    DataResponse { position, ..message }
}

fn without_position(message: DataResponse) -> DataResponse {
    DataResponse { position: None, ..message }
}

/// Breaks a live stream, and says how.
type Breaking = (&'static str, fn(&Fed));

/// Each of these ends the stream, and nothing of what it said is shown.
const BREAKING: [Breaking; 14] = [
    ("a delivery that is never finished", |fed| {
        fed.say(part(change(6, [("n", 6, "int", "66")])));
    }),
    ("a revision that decreases", |fed| fed.say(change(4, [("n", 4, "int", "66")]))),
    ("another history at the same revision", |fed| fed.say(elsewhere(change(5, [("n", 5, "int", "66")])))),
    ("a second state", |fed| fed.say(state(6, [("n", 6, "int", "66")]))),
    ("a resume in the middle", |fed| fed.say(resume(6, [("n", 6, "int", "66")]))),
    ("a value that is newer than its delivery", |fed| fed.say(change(6, [("n", u64::MAX, "int", "66")]))),
    ("a delivery without a position", |fed| fed.say(without_position(change(6, [("n", 6, "int", "66")])))),
    ("a heartbeat inside a delivery", |fed| {
        fed.say(part(change(6, [("n", 6, "int", "66")])));
        fed.say(heartbeat(6));
    }),
    ("a heartbeat that lowers the revision", |fed| fed.say(heartbeat(4))),
    ("a heartbeat of another history", |fed| fed.say(elsewhere(heartbeat(5)))),
    ("a heartbeat without a position", |fed| fed.say(without_position(heartbeat(6)))),
    ("a phase of the future", |fed| {
        fed.say(DataResponse { phase: 77, ..change(6, [("n", 6, "int", "66")]) });
    }),
    ("bytes that are no message", |fed| fed.bytes(vec![0xff; 100])),
    ("a message of 9 MiB", |fed| {
        let value = "6".repeat(9 << 20);
        fed.say(change(6, [("n", 6, "int", &value)]));
    }),
];

#[tokio::test]
async fn a_broken_stream_is_dropped_and_what_it_said_is_not_shown() {
    join_all(BREAKING.map(|(what, break_it)| async move {
        let mut server = Hostile::start().await;
        let client = server.client();
        let n = client.watch::<i64>("n");
        let fed = server.serve(state(5, [TEN])).await;
        within(what, n.ready()).await.expect(what);
        break_it(&fed);
        fed.dropped().await;
        let asked = server.asked().await;
        assert_eq!(asked.request.resume.as_ref().map(|resume| resume.revision), Some(5), "{what}");
        assert_eq!((n.get(), n.status().state), (Some(10), State::Stale), "{what}");
        let why = client.status().last_error.expect(what).to_string();
        assert!(why.len() < 300 && !why.contains("66"), "{what}: {why}");
        // And a good server heals it.
        let fed = asked.accept("100");
        fed.say(resume(7, [("n", 7, "int", "11")]));
        eventually(what, || n.get() == Some(11) && n.status().state == State::Ready).await;
    }))
    .await;
}

#[tokio::test]
async fn a_first_delivery_that_does_not_fit_is_no_state() {
    let table: [(&str, DataResponse); 4] = [
        ("a change before a state", change(6, [TEN])),
        ("a resume of nothing", resume(6, [TEN])),
        ("a heartbeat before a state", heartbeat(6)),
        ("a server without the additions", without_position(message(Phase::Unspecified, 6, [TEN]))),
    ];
    join_all(table.map(|(what, first)| async move {
        let mut server = Hostile::start().await;
        let client = server.client();
        let n = client.watch::<i64>("n");
        server.serve(first).await.dropped().await;
        let asked = server.asked().await;
        assert_eq!(n.get(), None, "{what}");
        assert!(matches!(client.status().last_error.as_deref(), Some(Disconnect::Violation(_))), "{what}");
        asked.accept("100").say(state(7, [("n", 7, "int", "11")]));
        eventually(what, || n.get() == Some(11)).await;
    }))
    .await;
}

#[tokio::test]
async fn what_is_merely_odd_does_no_harm() {
    let mut server = Hostile::start().await;
    let client = server.client();
    let mut n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("the first value", n.changed()).await;
    // A key that nobody asked for, and an unknown tombstone.
    fed.say(change(6, [("other", 6, "int", "1")]));
    fed.say(deletion(7, "never/there"));
    // A time at the end of all time, and a key that says otherwise in its value.
    let mut odd = change(8, [("n", 8, "int", "11")]);
    odd.data.values_mut().for_each(|data| {
        data.key = "somebody/else".to_owned();
        data.updated_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 });
    });
    odd.source_age = Some(prost_types::Duration { seconds: i64::MIN, nanos: i32::MAX });
    fed.say(odd);
    within("the key of the map counts", n.changed()).await;
    assert_eq!(n.get(), Some(11));
    // The same a thousand times over, and an older one.
    (0..1_000).for_each(|_| fed.say(change(8, [("n", 8, "int", "11")])));
    fed.say(change(9, [("n", 4, "int", "10")]));
    fed.say(change(10, [("n", 10, "int", "12")]));
    within("the next", n.changed()).await;
    assert_eq!(n.get(), Some(12), "there was no other change between");
    let snapshot = client.snapshot();
    assert_eq!(snapshot.keys().collect::<Vec<_>>(), ["n"], "what is not watched is not kept");
}

#[tokio::test]
async fn a_history_that_flips_with_every_message_is_followed_without_new_requests() {
    let mut server = Hostile::start().await;
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    for round in 1..500_u64 {
        let message = reset(round % 7 + 1, [("n", round % 7 + 1, "int", &round.to_string())]);
        fed.say(if round % 2 == 0 { message } else { elsewhere(message) });
    }
    eventually("the last of them", || n.get() == Some(499)).await;
    assert_eq!(client.status().position.map(|position| position.revision), Some(499 % 7 + 1));
    // A late key does not become a storm of requests either.
    let _late = client.watch::<i64>("late");
    let mut requests = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(500) {
        fed.say(reset(3, [("n", 3, "int", "3")]));
        requests += usize::from(tokio::time::timeout(Duration::from_millis(1), server.asked()).await.is_ok());
    }
    assert!(requests <= 50, "{requests} requests in half a second");
}

#[tokio::test]
async fn heartbeats_alone_after_a_write_of_our_own_are_doubted() {
    let mut server = Hostile::start().await;
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    let beating = async {
        loop {
            fed.say(heartbeat(5));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let asked = tokio::select! {
        () = beating => unreachable!("it beats for ever"),
        (written, asked) = async {
            let written = within("the write", client.set("n", 2_i64)).await.expect("it is durable");
            (written, server.asked().await)
        } => {
            assert_eq!(written.seen, Seen::NotYet);
            asked
        }
    };
    assert_eq!(
        asked.request.resume.as_ref().map(|resume| resume.revision),
        Some(0),
        "it asks for everything"
    );
    asked.accept("100").say(state(6, [("n", 6, "int", "2")]));
    eventually("its own write", || n.get() == Some(2)).await;
}

#[tokio::test]
async fn a_stream_that_always_ends_at_once_is_no_hot_loop() {
    let endings = [Status::ok(""), Status::unimplemented("nothing here"), Status::internal("broken")];
    join_all(endings.map(|status| async move {
        let what = match status.code() {
            Code::Ok => "OK",
            Code::Unimplemented => "UNIMPLEMENTED",
            _ => "INTERNAL",
        };
        let mut server = Hostile::start().await;
        let client = server.client();
        let n = client.watch::<i64>("n");
        let started = Instant::now();
        // Waits of at least 250 and 500 ms stand between three attempts.
        for _ in 0..3 {
            server.asked().await.refuse(status.clone());
        }
        assert!(started.elapsed() >= Duration::from_millis(750), "{what}: {:?}", started.elapsed());
        eventually(what, || client.status().last_error.is_some()).await;
        let why = client.status().last_error.expect(what);
        match &*why {
            Disconnect::Ended => assert_eq!(what, "OK"),
            Disconnect::Refused { code, .. } => assert_eq!(*code, what),
            _ => panic!("{what}: {why}"),
        }
        let _fed = server.serve(state(5, [TEN])).await;
        eventually(what, || n.get() == Some(10)).await;
    }))
    .await;
}

#[tokio::test]
async fn headers_and_then_silence_is_given_up() {
    let mut server = Hostile::start().await;
    let client = server.client();
    let n = client.watch::<i64>("n");
    let silent = server.accept().await;
    silent.dropped().await;
    eventually("a reason", || client.status().last_error.as_deref() == Some(&Disconnect::Silent)).await;
    let live = server.serve(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    live.dropped().await; // It named heartbeats, and none came.
    eventually("silent again", || n.status().state == State::Stale).await;
    assert_eq!(n.get(), Some(10));
}

#[tokio::test]
async fn a_listener_that_accepts_and_is_silent_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let short = Duration::from_millis(100);
    let limits = datastream_client::Limits::default().sync(short).first_message(short);
    let address = listener.local_addr().expect("it is bound").to_string();
    let client = Client::builder(address).limits(limits).connect();
    let n = client.watch::<i64>("n");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for connection in listener.incoming() {
            kept.push(connection);
            counter.store(kept.len(), Ordering::Relaxed);
        }
    });
    eventually("a reason", || client.status().last_error.as_deref() == Some(&Disconnect::Silent)).await;
    eventually("it goes on trying, on new connections", || accepted.load(Ordering::Relaxed) >= 3).await;
    assert!(n.try_get().expect_err("nothing came").to_string().contains("silent"));
    let written = within("a write", client.set("n", 1_i64)).await;
    assert!(written.is_err(), "{written:?}");
}

#[tokio::test]
async fn headers_that_make_no_sense_are_ignored() {
    join_all(["0", "-1", "soon", "99999999999999999999999", "18446744073709551615"].map(
        |interval| async move {
            let mut server = Hostile::start().await;
            let client = server.client();
            let n = client.watch::<i64>("n");
            let fed = server.asked().await.accept(interval);
            fed.say(state(5, [TEN]));
            within(interval, n.ready()).await.expect(interval);
            fed.say(change(6, [("n", 6, "int", "11")]));
            eventually(interval, || n.get() == Some(11) && n.status().state == State::Ready).await;
        },
    ))
    .await;
}

#[tokio::test]
async fn an_error_text_of_any_size_is_cut_and_escaped() {
    let nasty = "\u{1b}[2J\r\n\0\u{202e}";
    for size in [100, 5_000, 1 << 20] {
        let mut server = Hostile::start().await;
        let client = server.client();
        let n = client.watch::<i64>("n");
        let fed = server.asked().await.accept("60000");
        fed.say(state(5, [TEN]));
        within("ready", n.ready()).await.expect("it is there");
        fed.end(Status::unknown(nasty.repeat(size / nasty.len())));
        eventually("lost", || n.status().state == State::Stale).await;
        let why = client.status().last_error.expect("a reason").to_string();
        assert!(why.len() < 300, "{size}: {} bytes", why.len());
        assert!(!why.chars().any(|character| character.is_control() || character == '\u{202e}'), "{why:?}");
        assert_eq!(n.get(), Some(10));
        let _fed = server.serve(resume(6, [("n", 6, "int", "11")])).await;
        eventually("well again", || n.get() == Some(11)).await;
    }
}

#[tokio::test]
async fn another_store_is_accepted_only_with_a_reset() {
    let mut server = Hostile::start().await;
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    fed.say(elsewhere(change(5, [("n", 5, "int", "66")])));
    fed.dropped().await;
    assert_eq!(n.get(), Some(10));
    let fed = server.accept().await;
    fed.say(elsewhere(reset(2, [("n", 2, "int", "20")])));
    eventually("the other store", || n.get() == Some(20)).await;
    assert_eq!(client.status().position.map(|position| position.revision), Some(2));
}

#[tokio::test]
async fn a_server_that_denies_everything_twice_over_blinds_no_handle() {
    let mut server = Hostile::start().await;
    let client = server.client();
    let (n, m) = (client.watch::<i64>("n"), client.watch::<i64>("m"));
    let denied: Vec<String> = (0..10_000).map(|round| format!("never/asked/{round}")).collect();
    let denied = [denied, vec!["m".to_owned(), "m".to_owned(), "//".to_owned(), String::new()]].concat();
    let fed = server.serve(DataResponse { denied, ..state(5, [TEN]) }).await;
    within("ready", n.ready()).await.expect("it is there");
    assert!(within("denied", m.ready()).await.is_err());
    fed.say(DataResponse { data: HashMap::new(), ..change(6, []) });
    fed.say(change(7, [("m", 7, "int", "1")]));
    eventually("granted after all", || m.get() == Some(1)).await;
}
