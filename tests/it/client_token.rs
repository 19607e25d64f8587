//! Who a client says that it is.

use std::sync::{Arc, Mutex};

use datastream_client::{Client, State};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::{Request, Status};

use crate::wire::eventually;

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
        assert!(text.contains("the token is empty, or not of visible ASCII characters"), "{text}");
        assert!(token.is_empty() || !(text + &shown).contains(token));
        let _handle = client.watch::<i64>("a");
        eventually("it is shown", || client.status().state == State::Fatal).await;
    }
}
