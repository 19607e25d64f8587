//! Servers that say nothing, or only that they are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datastream_client::{Client, Disconnect, Limits, Seen, State};
use futures_util::future::join_all;

use super::TEN;
use crate::hostile::{Hostile, left};
use crate::scripted::{change, heartbeat, state};
use crate::wire::{eventually, within};

#[tokio::test]
pub(super) async fn row_85_heartbeats_alone_after_a_write_of_our_own_are_doubted() {
    let mut server = Hostile::start(); // On its own store, at revision 1: the write is revision 2.
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.serve(state(1, [("n", 1, "int", "10")])).await;
    within("ready", n.ready()).await.expect("it is there");
    let beating = async {
        loop {
            fed.say(heartbeat(1));
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
        asked.request().resume.as_ref().map(|resume| resume.revision),
        Some(0),
        "it asks for everything"
    );
    asked.accept().say(state(2, [("n", 2, "int", "2")]));
    eventually("its own write", || n.get() == Some(2)).await;
}

#[tokio::test]
pub(super) async fn row_88_headers_and_then_silence_is_given_up() {
    let mut server = Hostile::start();
    let client = server.impatient_client();
    let n = client.watch::<i64>("n");
    let silent = server.accept_to_be_missed().await;
    left(&silent).await;
    eventually("a reason", || client.status().last_error.as_deref() == Some(&Disconnect::Silent)).await;
    let live = server.accept_to_be_missed().await;
    live.say(state(5, [TEN]));
    within("ready", n.ready()).await.expect("it is there");
    left(&live).await; // It named heartbeats, and none came.
    eventually("silent again", || n.status().state == State::Stale).await;
    assert_eq!(n.get(), Some(10));
}

#[tokio::test]
pub(super) async fn row_88_a_listener_that_accepts_and_is_silent_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let short = Duration::from_millis(100);
    let limits = Limits::default().sync(short).first_message(short);
    let address = listener.local_addr().expect("it is bound").to_string();
    let client = Client::builder(address).limits(limits).connect();
    let n = client.watch::<i64>("n");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await);
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
            let mut server = Hostile::start();
            let client = server.client();
            let n = client.watch::<i64>("n");
            let fed = server.asked().await.accept_with_heartbeat(interval);
            fed.say(state(5, [TEN]));
            within(interval, n.ready()).await.expect(interval);
            fed.say(change(6, [("n", 6, "int", "11")]));
            eventually(interval, || n.get() == Some(11) && n.status().state == State::Ready).await;
        },
    ))
    .await;
}
