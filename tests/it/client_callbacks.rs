//! Functions of the application that are told of changes, on threads of their own: in real time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use datastream_client::Client;
use datastream_server::testing::TestServer;

use crate::wire::{DEADLINE, within};

fn told<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(DEADLINE).expect("it is told of a change")
}

/// A function that sends on what it is told.
fn sends<T: Send + 'static>() -> (impl FnMut(T) + Send + 'static, Receiver<T>) {
    let (sender, received): (Sender<T>, _) = channel();
    let send = move |value| {
        // A test that no longer listens is no failure.
        let _ = sender.send(value);
    };
    (send, received)
}

#[test]
fn a_callback_is_told_of_the_present_value_of_changes_and_of_deletion() {
    let server = TestServer::start().with("n", 1_i64);
    let n = Client::connect(server.url()).watch::<i64>("n");
    n.ready_blocking().expect("it is there");
    let (mut send, received) = sends();
    let _callback = n.on_change(move |value| send(value.as_deref().copied()));
    assert_eq!(told(&received), Some(1));
    server.set("n", 2_i64);
    assert_eq!(told(&received), Some(2));
    server.delete("n");
    assert_eq!(told(&received), None);
}

#[test]
fn a_callback_with_a_default_is_told_the_default_when_the_value_is_gone() {
    let server = TestServer::start().with("n", 1_i64);
    let n = Client::connect(server.url()).watch::<i64>("n").or(7);
    let (mut send, received) = sends();
    let _callback = n.on_change(move |value| send(*value));
    assert_eq!(told(&received), 1);
    server.delete("n");
    assert_eq!(told(&received), 7);
}

#[test]
fn a_callback_that_panics_is_told_of_the_next_change() {
    let server = TestServer::start().with("n", 1_i64);
    let n = Client::connect(server.url()).watch::<i64>("n");
    let (mut send, received) = sends();
    let _callback = n.on_change(move |value| {
        send(value.as_deref().copied());
        assert_ne!(value.as_deref(), Some(&1), "on purpose");
    });
    assert_eq!(told(&received), Some(1));
    server.set("n", 2_i64);
    assert_eq!(told(&received), Some(2));
}

#[tokio::test]
async fn a_callback_that_blocks_for_ever_holds_up_neither_the_handle_nor_other_callbacks() {
    let server = TestServer::start().with("n", 1_i64);
    // On the one thread of this test, which a callback that ran on it would stop.
    let mut n = Client::connect(server.url()).watch::<i64>("n");
    let (entered, has_entered) = channel();
    let (_never, waits) = channel::<()>();
    let stuck = n.on_change(move |_| {
        let _ = entered.send(());
        let _ = waits.recv();
    });
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let _other = n.on_change(move |value| {
        let _ = sender.send(value.as_deref().copied());
    });
    within("the first value", n.changed()).await;
    assert_eq!(within("the other one", received.recv()).await, Some(Some(1)));
    assert!(has_entered.recv_timeout(DEADLINE).is_ok(), "it blocks by now");
    server.set("n", 2_i64);
    within("a change", n.changed()).await;
    assert_eq!(within("the other one", received.recv()).await, Some(Some(2)));
    drop(stuck);
}

#[test]
fn a_slow_callback_hears_of_the_latest_value_and_not_of_each() {
    let server = TestServer::start().with("n", 0_i64);
    let n = Client::connect(server.url()).watch::<i64>("n");
    let (mut send, received) = sends();
    let (go_on, waits) = channel::<()>();
    let _callback = n.on_change(move |value| {
        send(value.as_deref().copied());
        let _ = waits.recv();
    });
    assert_eq!(told(&received), Some(0));
    (1..=50).for_each(|value| server.set("n", value));
    let began = std::time::Instant::now();
    while n.get() != Some(50) {
        assert!(began.elapsed() < DEADLINE, "the handle is not held up");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    go_on.send(()).expect("it waits");
    assert_eq!(told(&received), Some(50));
}

#[test]
fn a_callback_whose_guard_is_dropped_hears_nothing_more_and_keeps_no_client() {
    let server = TestServer::start().with("n", 1_i64);
    let client = Client::connect(server.url());
    let n = client.watch::<i64>("n");
    let (mut send, received) = sends();
    let callback = n.on_change(move |value| send(value.as_deref().copied()));
    assert_eq!(told(&received), Some(1));
    drop(callback);
    // The function is dropped together with what it sends to.
    assert!(received.recv_timeout(DEADLINE).is_err_and(|error| error == disconnected()));
    server.set("n", 2_i64);
    assert!(received.try_recv().is_err());
}

fn disconnected() -> std::sync::mpsc::RecvTimeoutError {
    std::sync::mpsc::RecvTimeoutError::Disconnected
}
