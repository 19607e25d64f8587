//! Where a client runs: on the runtime of the caller, without one, on its own thread, and after a runtime died.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use datastream_client::{CallError, Client, Disconnect, Limits, Seen, State, Unavailable, Watch};
use datastream_server::testing::TestServer;
use tokio::runtime::{Builder, Runtime};

use crate::scripted::{self, Call, change, resume, state};
use crate::wire::{DEADLINE, eventually, within};

/// Waits on this thread until `holds`, without a runtime.
fn blocking_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "took too long: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Runs a future without tokio, as an executor of another kind does.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let started = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(started.elapsed() < DEADLINE, "the future took too long");
        thread::park_timeout(DEADLINE);
    }
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

#[tokio::test]
async fn the_line_of_the_mission_compiles_for_every_kind_of_text() {
    let server = TestServer::start().with("max_connections", 10_i64);
    let owned = server.url();
    {
        let url = owned.as_str();
        let cfg = Client::connect(url).watch::<i64>("max_connections");
        cfg.ready().await.expect("it is there");
    }
    {
        let url = &owned;
        let cfg = Client::connect(url).watch::<i64>("max_connections");
        cfg.ready().await.expect("it is there");
    }
    {
        let url = owned;
        let cfg = Client::connect(url).watch::<i64>("max_connections");
        cfg.ready().await.expect("it is there");
        assert_eq!(cfg.get(), Some(10));
    }
}

#[test]
fn the_line_of_the_mission_works_without_tokio() {
    let server = TestServer::start().with("max_connections", 10_i64);
    let url = server.url();
    let cfg = Client::connect(url).watch::<i64>("max_connections");
    cfg.ready_blocking().expect("it is there");
    assert_eq!(cfg.get(), Some(10));
    server.set("max_connections", 20_i64);
    blocking_until("the new value", || cfg.get() == Some(20));
}

#[test]
fn every_wait_works_in_an_executor_of_another_kind() {
    let server = TestServer::start().with("n", 1_i64);
    let client = Client::connect(server.url());
    let mut n = client.watch::<i64>("n");
    block_on(n.ready()).expect("it is there");
    block_on(n.changed());
    assert!(matches!(block_on(client.watch::<i64>("missing").ready()), Err(Unavailable::Missing { .. })));
    let written = block_on(client.set("n", 2_i64)).expect("written");
    assert_eq!((written.seen, n.get()), (Seen::Applied, Some(2)));
    block_on(n.changed());
    assert_eq!(block_on(client.capabilities()).expect("listed").len(), 1);
}

#[test]
fn a_wait_without_tokio_ends_in_its_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = listener.local_addr().expect("it is bound").to_string();
    let limits = Limits::default().ready(Duration::from_millis(100));
    let client = Client::builder(silent).limits(limits).connect();
    let unready = client.watch::<i64>("n").ready_blocking();
    assert!(matches!(unready, Err(Unavailable::NotReady { .. })));
}

#[test]
fn handles_go_wherever_the_application_does() {
    fn goes_anywhere<T: Send + Sync + Clone + 'static>(_: &T) {}
    let client = Client::connect("http://127.0.0.1:1");
    goes_anywhere(&client);
    goes_anywhere(&client.watch::<i64>("n"));
    goes_anywhere(&client.watch::<String>("n").or(String::new()));
    goes_anywhere(&Watch::fixed(vec![1_u8]));
    goes_anywhere(&client.snapshot());
}

#[test]
fn a_client_on_its_own_thread_goes_on_while_the_application_blocks_its_runtime() {
    let server = TestServer::start().with("n", 1_i64);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let n = Client::builder(server.url()).own_thread().connect().watch::<i64>("n");
        // The only thread of this runtime does nothing else meanwhile.
        blocking_until("the value", || n.get() == Some(1));
        server.set("n", 2_i64);
        blocking_until("the new value", || n.get() == Some(2));
    });
}

#[test]
fn a_client_whose_runtime_stands_still_says_that_it_is_stale() {
    let server = TestServer::start().with("n", 1_i64);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let short = Duration::from_millis(500);
    let limits = Limits::default().idle(short).first_message(short);
    let (client, n) = runtime.block_on(async {
        let client = Client::builder(server.url()).limits(limits).connect();
        let n = client.watch::<i64>("n");
        n.ready().await.expect("it is there");
        (client, n)
    });
    // Nobody runs the runtime any more, and nothing else can tell.
    blocking_until("stale", || n.status().state == State::Stale);
    assert_eq!((n.get(), client.status().state), (Some(1), State::Stale));
    assert_eq!(client.status().last_error.as_deref(), Some(&Disconnect::Silent));
    runtime.block_on(eventually("live again", || n.status().state == State::Ready));
}

#[test]
fn a_runtime_without_timers_does_not_stop_the_client() {
    let server = TestServer::start().with("n", 1_i64);
    let bare = Builder::new_current_thread().build().expect("a runtime");
    let n = bare.block_on(async {
        let n = Client::connect(server.url()).watch::<i64>("n");
        n.ready().await.expect("it is there");
        n
    });
    assert_eq!(n.get(), Some(1));
}

#[test]
fn a_runtime_that_dies_while_sync_is_under_way_does_not_silence_the_client() {
    let (handed, mut script) = scripted::transport();
    let dying = runtime();
    let n = dying.block_on(async { Client::with_transport(handed, Limits::default()).watch::<i64>("n") });
    let elsewhere = runtime();
    let (_, sync) = elsewhere.block_on(script.sync());
    dying.shutdown_background();
    let stream = elsewhere.block_on(script.subscribe());
    assert!(sync.is_closed(), "the call went with its runtime");
    stream.say(state(5, [("n", 3, "int", "1")]));
    elsewhere.block_on(within("ready", n.ready())).expect("it goes on elsewhere");
    assert_eq!(n.get(), Some(1));
}

#[test]
fn a_runtime_that_dies_during_a_write_ends_the_write_and_says_what_is_not_known() {
    let (handed, mut script) = scripted::transport();
    let dying = runtime();
    let client = dying.block_on(async { Client::with_transport(handed, Limits::default()) });
    let elsewhere = runtime();
    let writing = elsewhere.spawn({
        let client = client.clone();
        async move { client.set("n", 1_i64).await }
    });
    let (_, reply) = elsewhere.block_on(script.push());
    dying.shutdown_background();
    let written = elsewhere.block_on(within("the write", writing)).expect("no panic");
    assert!(matches!(written, Err(CallError::Interrupted)), "{written:?}");
    assert!(reply.is_closed());
    let again = elsewhere.spawn(async move { client.set("n", 1_i64).await });
    elsewhere.block_on(script.push()).1.send(Ok(None)).expect("the client waits");
    elsewhere.block_on(within("the write", again)).expect("no panic").expect("the next one is made");
}

#[test]
fn a_write_that_waits_to_be_seen_outlives_its_runtime() {
    let (handed, mut script) = scripted::transport();
    let dying = runtime();
    let client = dying.block_on(async { Client::with_transport(handed, Limits::default()) });
    let n = client.watch::<i64>("n");
    let elsewhere = runtime();
    let _stream = elsewhere.block_on(script.accept(state(5, [("n", 3, "int", "1")])));
    elsewhere.block_on(within("ready", n.ready())).expect("it is there");
    let writing = elsewhere.spawn({
        let client = client.clone();
        async move { client.set("n", 2_i64).await }
    });
    let position = datastream_client::Position { revision: 6, token: "here".into() };
    elsewhere.block_on(script.push()).1.send(Ok(Some(position))).expect("the client waits");
    // A call after it, so that the write is acknowledged and not yet seen.
    let listing = elsewhere.spawn(async move { client.capabilities().await });
    elsewhere.block_on(script.list()).1.send(Ok(Default::default())).expect("the client waits");
    elsewhere.block_on(within("the list", listing)).expect("no panic").expect("listed");
    dying.shutdown_background();
    let again = elsewhere.block_on(script.subscribe());
    again.say(resume(6, [("n", 6, "int", "2")]));
    let written = elsewhere.block_on(within("the write", writing)).expect("no panic").expect("written");
    assert_eq!((written.seen, n.get()), (Seen::Applied, Some(2)));
}

#[test]
fn a_wait_for_ready_outlives_the_runtime_of_its_client() {
    let (handed, mut script) = scripted::transport();
    let dying = runtime();
    let n = dying.block_on(async { Client::with_transport(handed, Limits::default()).watch::<i64>("n") });
    let elsewhere = runtime();
    let waiting = elsewhere.spawn({
        let n = n.clone();
        async move { n.ready().await }
    });
    let _sync = elsewhere.block_on(script.sync());
    dying.shutdown_background();
    let stream = elsewhere.block_on(script.subscribe());
    assert!(!waiting.is_finished(), "it goes on waiting");
    stream.say(state(5, [("n", 3, "int", "1")]));
    elsewhere.block_on(within("ready", waiting)).expect("no panic").expect("it is there");
}

#[test]
fn a_client_whose_runtime_died_still_ends_with_its_last_handle() {
    let (handed, mut script) = scripted::transport();
    let dying = runtime();
    let n = dying.block_on(async { Client::with_transport(handed, Limits::default()).watch::<i64>("n") });
    let elsewhere = runtime();
    let stream = elsewhere.block_on(script.accept(state(5, [("n", 3, "int", "1")])));
    dying.shutdown_background();
    elsewhere.block_on(stream.dropped());
    let again = elsewhere.block_on(script.subscribe());
    again.say(change(6, [])); // It does not fit, and is no way to stop a client.
    drop(n);
    let ended = async { while let Some(Call::Sync(..) | Call::Subscribe(_)) = script.next().await {} };
    elsewhere.block_on(within("the end", ended));
}
