//! Which server a client follows, and how it gets there.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datastream_client::{CallError, Client, Limits, State};
use datastream_server::stores::memory::MemoryStore;
use datastream_server::testing::TestServer;
use datastream_server::testing::faulty::{Fault, FaultyStore};
use datastream_server::{Config, serve};
use futures_util::future::join_all;
use tokio::net::{TcpStream, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::hostile::Hostile;
use crate::scripted::{resume, state};
use crate::wire::{eventually, within};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

/// Two servers on one store.
fn two_servers() -> [TestServer; 2] {
    let store = Arc::new(MemoryStore::new());
    let config =
        || Config::default().heartbeat(Duration::from_secs(1)).drain_limit(Duration::from_millis(100));
    [(); 2].map(|()| TestServer::start_with(store.clone(), config()))
}

#[tokio::test]
async fn the_next_server_is_followed_when_one_is_lost_and_the_revision_never_goes_back() {
    let [mut a, mut b] = two_servers();
    a.set("n", 1_i64);
    let client = Client::connect(format!("{},{}", a.url(), b.url()));
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    eventually("the first is the first", || (a.subscribers(), b.subscribers()) == (1, 0)).await;
    for round in 2..6 {
        let (lost, next) = if round % 2 == 0 { (&mut a, &b) } else { (&mut b, &a) };
        let before = client.status().position.expect("it has one");
        lost.stop();
        next.set("n", round);
        eventually("the other server's value", || n.get() == Some(round)).await;
        let after = client.status().position.expect("it has one");
        assert!(after.revision > before.revision);
        eventually("it is ready", || client.status().state == State::Ready).await;
        assert_eq!(next.subscribers(), 1);
        lost.restart();
    }
}

#[tokio::test]
async fn the_next_server_is_asked_for_what_the_last_one_had_not_sent() {
    let (mut a, mut b) = (Hostile::start(), Hostile::start());
    let client = Client::connect(format!("{},{}", a.url(), b.url()));
    let n = client.watch::<i64>("n");
    let fed = a.serve(state(5, [("n", 3, "int", "10")])).await;
    within("ready", n.ready()).await.expect("it is there");
    fed.end(Status::unavailable("it goes"));
    let asked = b.asked().await;
    let resumed = asked.request().resume.clone().expect("it is announced");
    assert_eq!((resumed.revision, &resumed.token[..]), (5, &b"here"[..]));
    asked.accept().say(resume(6, [("n", 6, "int", "11")]));
    eventually("its value", || n.get() == Some(11)).await;
}

#[tokio::test]
async fn the_second_server_is_followed_when_the_first_is_away() {
    let server = TestServer::start().with("n", 10_i64);
    let client = Client::connect(format!("{NOBODY},{}", server.url()));
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    assert_eq!(n.get(), Some(10));
}

/// The clock stands still while anybody is busy, and nobody is there: what passes between two attempts is a wait.
#[tokio::test(start_paused = true)]
async fn a_first_server_that_is_away_costs_no_wait() {
    let (asked, began) = (Arc::new(Mutex::new(Vec::new())), tokio::time::Instant::now());
    let connect = {
        let asked = asked.clone();
        move |host: String| {
            asked.lock().expect("no holder panics").push((host, began.elapsed()));
            std::future::ready(Err::<TcpStream, _>(io::ErrorKind::ConnectionRefused.into()))
        }
    };
    let client = Client::builder("http://a:1,http://b:1").connector(connect).connect();
    let _n = client.watch::<i64>("n");
    eventually("a third attempt", || asked.lock().expect("no holder panics").len() >= 3).await;
    let asked = asked.lock().expect("no holder panics");
    let [(first, at_once), (second, right_after), (_, later), ..] = &asked[..] else { unreachable!() };
    assert_eq!((&**first, &**second), ("a:1", "b:1"));
    assert_eq!(right_after, at_once, "{asked:?}");
    assert!(*later >= *right_after + Duration::from_millis(250), "after all of them it waits: {asked:?}");
}

#[tokio::test]
async fn a_connector_that_panics_has_reached_no_server() {
    let early = |_: String| -> std::future::Ready<io::Result<TcpStream>> { panic!("on purpose") };
    let late = |_: String| async {
        if true { panic!("on purpose") } else { Err::<TcpStream, _>(io::ErrorKind::Other.into()) }
    };
    let builder = || Client::builder("http://settings.invalid");
    for client in [builder().connector(early).connect(), builder().connector(late).connect()] {
        let _n = client.watch::<i64>("n");
        eventually("it is told", || client.status().last_error.is_some()).await;
        let text = client.status().last_error.expect("it has failed").to_string();
        let said =
            "the server cannot be reached: settings.invalid: the connector of the application panicked";
        assert_eq!(text, said);
        assert!(matches!(client.set("n", 1_i64).await, Err(CallError::Unreachable(_))), "nothing was sent");
    }
}

#[tokio::test]
async fn a_commit_is_made_at_the_next_server() {
    let server = TestServer::start();
    let client = Client::connect(format!("{NOBODY},{}", server.url()));
    within("a commit", client.commit().put("n", 1_i64).send()).await.expect("the second takes it");
    within("a call", client.set("n", 2_i64)).await.expect("and is the one that is asked from then on");
}

#[tokio::test]
async fn a_bad_address_among_good_ones_is_named() {
    let client = Client::connect(format!("{NOBODY},ftp://h,{NOBODY}"));
    let _n = client.watch::<i64>("n");
    eventually("it is told", || client.status().state == State::Fatal).await;
    let text = client.status().last_error.expect("it has failed").to_string();
    assert!(text.contains("`ftp://h`: an address begins with http://"), "{text}");
}

#[tokio::test]
async fn a_socket_of_this_machine_is_an_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("settings.sock");
    for form in ["unix:", "unix://"] {
        let client = Client::connect(format!("{form}{}", path.display()));
        let n = client.watch::<i64>("n");
        eventually("it is told", || client.status().last_error.is_some()).await;
        let text = client.status().last_error.expect("it has failed").to_string();
        assert!(text.contains("settings.sock: No such file"), "{text}");
        // Then somebody listens.
        let listener = UnixListener::bind(&path).expect("it is free");
        let incoming = UnixListenerStream::new(listener);
        let store = Arc::new(MemoryStore::new());
        let serving = tokio::spawn(serve(incoming, store, Config::default(), std::future::pending()));
        within("a write", async { while client.set("n", 7_i64).await.is_err() {} }).await;
        eventually("its value", || n.get() == Some(7)).await;
        serving.abort();
        let _ = serving.await;
        std::fs::remove_file(&path).expect("it is there");
    }
}

#[tokio::test]
async fn an_application_makes_the_connections_and_is_asked_for_each_anew() {
    let mut server = TestServer::start().with("n", 10_i64);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let connect = {
        let (asked, address) = (asked.clone(), server.url().replace("http://", ""));
        move |host: String| {
            asked.lock().expect("no holder panics").push(host);
            TcpStream::connect(address.clone())
        }
    };
    // The name means nothing: it is not the system that is asked.
    let client = Client::builder("http://settings.invalid").connector(connect).connect();
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    let first = asked.lock().expect("no holder panics").len();
    server.stop();
    eventually("it is lost", || client.status().state == State::Stale).await;
    server.restart();
    eventually("it is back", || client.status().state == State::Ready).await;
    let asked = asked.lock().expect("no holder panics");
    assert!(asked.len() > first, "a name may have another address by now");
    assert!(asked.iter().all(|host| host == "settings.invalid:80"), "{asked:?}");
}

#[tokio::test]
async fn a_server_says_when_to_come_back() {
    let mut server = Hostile::start();
    let client = server.client();
    let _n = client.watch::<i64>("n");
    let hint = Duration::from_millis(1500);
    let later = ErrorDetails::with_retry_info(Some(hint));
    server.asked().await.refuse(Status::with_error_details(Code::Unavailable, "later", later));
    let refused = Instant::now();
    let _asked = server.asked().await;
    assert!(refused.elapsed() >= hint, "the first wait would be half a second at most");
}

#[tokio::test]
async fn who_is_not_let_in_asks_again_and_again_and_is_let_in_at_last() {
    let codes = [Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented];
    join_all(codes.map(|code| async move {
        let mut server = Hostile::start();
        let client = server.client();
        let n = client.watch::<i64>("n");
        let refusals = AtomicUsize::new(0);
        while refusals.fetch_add(1, Ordering::Relaxed) < 3 {
            server.asked().await.refuse(Status::new(code, "no"));
            eventually("it is told", || client.status().state == State::Fatal).await;
        }
        let fed = server.serve(state(5, [("n", 3, "int", "10")])).await;
        eventually("it is let in", || n.get() == Some(10) && client.status().state == State::Ready).await;
        drop(fed);
    }))
    .await;
}

/// A client whose connections to `away.invalid` are never made, and all others to this server; and how many were asked for.
fn beside_a_black_hole(server: &TestServer, limits: Limits) -> (Client, Arc<AtomicUsize>) {
    let (asked, address) = (Arc::new(AtomicUsize::new(0)), server.url().replace("http://", ""));
    let count = asked.clone();
    let connect = move |host: String| {
        count.fetch_add(1, Ordering::Relaxed);
        let address = address.clone();
        async move {
            match host.starts_with("away.") {
                true => std::future::pending().await,
                false => TcpStream::connect(address).await,
            }
        }
    };
    let client = Client::builder("http://away.invalid,http://here.invalid").limits(limits).connector(connect);
    (client.connect(), asked)
}

/// Soon over for a connection that is never made, and enough for one that is.
fn short() -> Limits {
    Limits::default().connect(Duration::from_secs(1)).sync(Duration::from_secs(2))
}

#[tokio::test]
async fn a_server_that_swallows_everything_is_left_by_the_calls_that_it_fails_and_by_no_others() {
    let server = TestServer::start();
    let (client, _) = beside_a_black_hole(&server, short());
    // These are all under way when the first of them fails.
    let lost = join_all((0..10).map(|n| client.set("n", n))).await;
    assert!(lost.iter().all(Result::is_err));
    // What they hear late does not take the calls away from the one that is there.
    for n in 0..20_i64 {
        client.set("n", n).await.expect("the other server takes it");
    }
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    assert_eq!(client.status().server.as_deref(), Some("here.invalid"));
}

#[tokio::test]
async fn calls_that_fail_do_not_keep_a_stream_from_the_next_server() {
    let store = FaultyStore::new();
    let mut lost = TestServer::start_with(store.clone(), Config::default());
    let next = TestServer::start_with(store.clone(), Config::default());
    lost.set("n", 1_i64);
    let client = Client::connect(format!("{},{}", lost.url(), next.url()));
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    let _refusing = store.fail_commits(Fault::Unavailable);
    lost.kill();
    let calling = async {
        loop {
            let _ = client.set("n", 2_i64).await;
            // The load of the test, and not a wait for anything.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = calling => unreachable!("it calls for ever"),
        () = eventually("it follows the next", || next.subscribers() == 1 && client.status().state == State::Ready) => {}
    }
}

#[tokio::test]
async fn a_call_that_is_refused_costs_no_connection() {
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default());
    let (asked, address) = (Arc::new(AtomicUsize::new(0)), server.url().replace("http://", ""));
    let count = asked.clone();
    let connect = move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        TcpStream::connect(address.clone())
    };
    let client = Client::builder("http://h").connector(connect).connect();
    let _refusing = store.fail_commits(Fault::Full);
    for _ in 0..10 {
        client.set("n", 1_i64).await.expect_err("there is no room");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_one_server_wants_does_not_keep_a_client_from_the_next() {
    let hint = ErrorDetails::with_retry_info(Some(Duration::from_secs(3600)));
    let later = Status::with_error_details(Code::Unavailable, "later", hint);
    for status in [later, Status::unauthenticated("no")] {
        let mut first = Hostile::start();
        let next = TestServer::start().with("n", 10_i64);
        let client = Client::connect(format!("{},{}", first.url(), next.url()));
        let n = client.watch::<i64>("n");
        first.asked().await.refuse(status);
        eventually("the other's value", || n.get() == Some(10) && client.status().state == State::Ready)
            .await;
        assert_eq!(client.status().server, next.url().strip_prefix("http://").map(str::to_owned));
    }
}
