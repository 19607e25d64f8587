//! What the application itself does wrong, or at a bad moment: it harms nobody but who does it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use datastream_client::{Client, Limits, State, Watch};
use datastream_server::testing::TestServer;

use crate::wire::{DEADLINE, eventually, within};

/// How often the functions of the application panic in [`row_93`](row_93_a_function_that_panics_concerns_only_its_handle).
pub(super) const PANICS: usize = 3;

#[tokio::test]
pub(super) async fn row_93_a_function_that_panics_concerns_only_its_handle() {
    let server = TestServer::start().with("n", 1_i64);
    let client = Client::connect(server.url());
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    let of_map = n.map(|n| {
        assert_ne!(*n, 13, "on purpose");
        n * 10
    });
    let (told, heard) = channel();
    let _callback = n.on_change(move |n| {
        let n = n.as_deref().copied();
        let _ = told.send(n);
        assert_ne!(n, Some(13), "on purpose");
    });
    let of_status = client.on_status(|_| panic!("on purpose"));
    server.set("n", 13_i64);
    eventually("the value", || n.get() == Some(13)).await;
    eventually("a refusal", || of_map.status().refusal.is_some()).await;
    assert_eq!((of_map.get(), n.status().refusal.is_some()), (Some(10), false), "its last good value stays");
    while heard.recv_timeout(DEADLINE).expect("it is told") != Some(13) {}
    server.set("n", 2_i64);
    eventually("it heals", || of_map.get() == Some(20) && of_map.status().refusal.is_none()).await;
    while heard.recv_timeout(DEADLINE).expect("it is told of the next") != Some(2) {}
    assert_eq!(n.status().state, State::Ready);
    drop(of_status);
}

#[tokio::test]
pub(super) async fn row_94_callbacks_that_block_for_ever_stall_nothing() {
    let server = TestServer::start().with("n", 1_i64);
    // On the one thread of this test, which a callback that ran on it would stop.
    let client = Client::connect(server.url());
    let n = client.watch::<i64>("n");
    let (entered, has_entered) = channel();
    let stuck: Vec<_> = (0..8)
        .map(|_| {
            let (entered, (never, waits)) = (entered.clone(), channel::<()>());
            let callback = n.on_change(move |_| {
                let _ = entered.send(());
                let _ = waits.recv();
            });
            (callback, never)
        })
        .collect();
    let (on_status, (never, waits)) = (entered.clone(), channel::<()>());
    let status = client.on_status(move |_| {
        let _ = on_status.send(());
        let _ = waits.recv();
    });
    within("ready", n.ready()).await.expect("it is there");
    for _ in 0..=stuck.len() {
        has_entered.recv_timeout(DEADLINE).expect("it blocks by now");
    }
    for value in 2..100 {
        server.set("n", value);
        eventually("an update", || n.get() == Some(value)).await;
    }
    within("its end", client.close()).await;
    drop((stuck, status, never));
}

/// Reads in every way, as often as it can, until told to stop; counts the rounds.
fn read(handle: &Watch<i64>, client: &Client, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut cached = handle.cached();
    while !stop.load(Ordering::Relaxed) {
        assert_eq!((handle.get(), *cached.get()), (Some(10), Some(10)), "the last value stays");
        assert_eq!(handle.load().as_ref(), Some(&10));
        assert!(handle.try_get().is_ok());
        let _ = (handle.status(), client.status(), client.snapshot());
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends something of a client that other threads read all the time.
fn readers_survive(what: &str, end: impl FnOnce(TestServer, Client, tokio::runtime::Runtime)) {
    let server = TestServer::start().with("n", 10_i64);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let limits = Limits::default().connect(Duration::from_millis(200));
    let client = runtime.block_on(async { Client::builder(server.url()).limits(limits).connect() });
    let n = client.watch::<i64>("n");
    n.ready_blocking().expect("it is there");
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| read(&n, &client, &stop, &rounds))).collect();
        let wait = |more: u64| {
            let (from, began) = (rounds.load(Ordering::Relaxed), std::time::Instant::now());
            while rounds.load(Ordering::Relaxed) < from + more {
                assert!(
                    began.elapsed() < DEADLINE && !readers.iter().any(|reader| reader.is_finished()),
                    "{what}"
                );
                std::thread::yield_now();
            }
        };
        wait(100);
        end(server, client.clone(), runtime);
        wait(1_000);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
pub(super) fn row_95_handles_are_read_while_everything_ends() {
    readers_survive("the server is killed", |server, _, runtime| {
        drop(server);
        runtime.shutdown_background();
    });
    readers_survive("the client is closed", |_server, client, runtime| runtime.block_on(client.close()));
    readers_survive("the runtime is dropped", |_server, client, runtime| {
        drop(client);
        drop(runtime);
    });
    readers_survive("all at once", |server, client, runtime| {
        std::thread::scope(|scope| {
            scope.spawn(move || drop(server));
            scope.spawn(move || drop(runtime));
            scope.spawn(move || drop(client));
        });
    });
}
