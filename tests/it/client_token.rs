//! Who a client says that it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datastream_client::{CallError, Client, Limits, State};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::{Request, Status};

use crate::captured_log;
use crate::wire::{eventually, within};

/// What each call said of its caller.
type Heard = Arc<Mutex<Vec<Option<String>>>>;

/// A server that lets nobody in, and what it heard.
async fn closed_server() -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let heard = Heard::default();
    let hear = {
        let heard = heard.clone();
        move |request: Request<()>| -> Result<Request<()>, Status> {
            let said = request.metadata().get("authorization").and_then(|said| said.to_str().ok());
            heard.lock().expect("no holder panics").push(said.map(str::to_owned));
            Err(Status::unauthenticated("nobody is let in"))
        }
    };
    let server = Server::builder()
        .layer(InterceptorLayer::new(hear))
        .add_routes(Routes::default())
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async { server.await.expect("the server runs") });
    (url, heard)
}

#[tokio::test]
async fn a_token_goes_with_every_call() {
    let (url, heard) = closed_server().await;
    let client = Client::builder(url).token("s3cret").connect();
    let _handle = client.watch::<i64>("a");
    eventually("the first contact", || heard.lock().expect("no holder panics").len() >= 2).await;
    let calls = heard.lock().expect("no holder panics").len();
    client.set("a", 1_i64).await.expect_err("it is not let in");
    client.capabilities().await.expect_err("it is not let in");
    client.commit().put("a", 1_i64).send().await.expect_err("it is not let in");
    client.server_status().await.expect_err("it is not let in");
    let heard = heard.lock().expect("no holder panics");
    assert!(heard.len() >= calls + 4);
    assert!(heard.iter().all(|said| said.as_deref() == Some("Bearer s3cret")), "{heard:?}");
}

#[tokio::test]
async fn a_client_without_a_token_says_none() {
    let (url, heard) = closed_server().await;
    Client::connect(url).server_status().await.expect_err("it is not let in");
    assert!(heard.lock().expect("no holder panics").iter().all(Option::is_none));
}

#[tokio::test]
async fn a_token_that_is_none_is_shown_and_is_in_no_text() {
    for token in ["", "two words", "nöne", "line\nbreak"] {
        let builder = Client::builder("http://127.0.0.1:1").token(token);
        let shown = format!("{builder:?}");
        let client = builder.connect();
        let error = client.server_status().await.expect_err("it is no token");
        let why = std::error::Error::source(&error).expect("it says why");
        let text = format!("{error}: {why}");
        assert!(text.contains("is empty, longer than 8 KiB, or not of visible ASCII characters"), "{text}");
        assert!(token.is_empty() || !(text + &shown).contains(token));
        let _handle = client.watch::<i64>("a");
        eventually("it is shown", || client.status().state == State::Fatal).await;
    }
}

fn said(heard: &Heard, token: &str) -> bool {
    let token = format!("Bearer {token}");
    heard.lock().expect("no holder panics").iter().flatten().any(|said| *said == token)
}

#[tokio::test]
async fn a_token_that_rotates_is_read_anew_for_each_call() {
    let (url, heard) = closed_server().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let client = Client::builder(&url).token_file(&file).connect();
    let _handle = client.watch::<i64>("a");
    eventually("it is told", || client.status().last_error.is_some()).await;
    let text = client.status().last_error.expect("it has failed").to_string();
    assert!(text.starts_with("the credentials cannot be used: no token: ") && text.contains("No such file"));
    assert!(matches!(client.server_status().await, Err(CallError::Unreachable(_))), "nothing was sent");
    assert!(heard.lock().expect("no holder panics").is_empty(), "nothing is said without a token");
    for token in ["one", "two"] {
        std::fs::write(&file, format!("{token}\n")).expect("the folder can be written");
        client.server_status().await.expect_err("it is not let in");
        assert!(said(&heard, token));
    }
    eventually("and for each attempt to follow", || said(&heard, "two")).await;
}

#[tokio::test]
async fn an_application_is_asked_for_a_token_where_it_may_block_and_fail() {
    let (url, heard) = closed_server().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = {
        let asked = asked.clone();
        move || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the vault is closed"),
            1 => panic!("on purpose"),
            n => Ok(format!("token-{n}")),
        }
    };
    let client = Client::builder(&url).token_from(ask).connect();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let error = client.server_status().await.expect_err("there is no token");
        texts.push(std::error::Error::source(&error).expect("it says why").to_string());
    }
    assert!(texts[0].ends_with("no token: the vault is closed"), "{texts:?}");
    assert!(texts[1].ends_with("no token: the function of the application panicked"), "{texts:?}");
    client.server_status().await.expect_err("it is not let in");
    assert!(said(&heard, "token-2"));
}

#[tokio::test]
async fn a_token_that_never_comes_costs_one_thread_and_the_call_a_moment() {
    let (url, heard) = closed_server().await;
    let (asked, (release, held)) = (Arc::new(AtomicUsize::new(0)), std::sync::mpsc::channel::<()>());
    let (count, held) = (asked.clone(), Mutex::new(held));
    let ask = move || -> Result<String, &str> {
        count.fetch_add(1, Ordering::Relaxed);
        held.lock().expect("no holder panics").recv().map_err(|_| "it is over")?;
        Ok("late".to_owned())
    };
    let limits = Limits::default().connect(Duration::from_millis(200));
    let client = Client::builder(&url).limits(limits).token_from(ask).connect();
    let failed = futures_util::future::join_all((0..50).map(|_| client.server_status())).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    for error in failed.into_iter().map(|answer| answer.expect_err("there is no token")) {
        let why = std::error::Error::source(&error).expect("it says why").to_string();
        assert!(why.ends_with("no token: there was no answer within 200ms"), "{why}");
    }
    // What comes late is for the next, or for one after it.
    release.send(()).expect("it waits");
    let is_said = async {
        while !said(&heard, "late") {
            client.server_status().await.expect_err("it is not let in");
        }
    };
    within("it is said", is_said).await;
}

#[tokio::test]
async fn a_token_that_anybody_on_the_way_can_read_is_warned_of() {
    captured_log::capture();
    let warned = |host: &str| {
        let name = format!("{host}:7");
        drop(Client::builder(format!("http://{name}")).token("s3cret").connect());
        captured_log::lines_with("without TLS").iter().any(|line| line.contains(&name))
    };
    assert_eq!([warned("far.invalid"), warned("127.0.0.1")], [true, false]);
}
