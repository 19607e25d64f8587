//! What a newcomer gets wrong first: the address. One line says what it is.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use datastream_client::{CallError, Client, Disconnect, Limits, State, Unavailable};

use crate::raw_server::{self, Said};
use crate::wire::{eventually, within};

/// Waits until the client says why it is not connected.
async fn trouble(client: &Client) -> Disconnect {
    let _keeps_it_busy = client.watch::<i64>("n");
    eventually("an error in the status", || client.status().last_error.is_some()).await;
    client.status().last_error.as_deref().cloned().expect("it was just there")
}

/// Accepts one connection after the other, and answers whatever comes with these bytes.
fn listener(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            // A client that has gone meanwhile is no matter.
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(answer);
        }
    });
    address.to_string()
}

#[tokio::test]
async fn a_bad_address_never_panics_and_names_its_rule() {
    let form = "an address is like http://host:8080";
    let scheme = "an address begins with http://, https:// or unix:";
    let socket = "the path of a socket begins with /";
    let port = "a port is a number from 1 to 65535";
    let long = "x".repeat(1 << 20);
    let table = [
        ("", form),
        (" ", form),
        ("http://", form),
        ("http:///", form),
        ("http://[::1", form),
        ("http://:8080", form),
        (":8080", form),
        ("not a url", form),
        ("http://exa mple", form),
        ("\0", form),
        ("http://\u{202e}", form),
        ("http://127.0.0.1:1\r\nx: y", form),
        (&*long, form),
        ("https://", form),
        ("https://127.0.0.1:1/settings", "an address ends after its port"),
        ("ftp://127.0.0.1:1", scheme),
        ("unix:", socket),
        ("unix:run/datastream", socket),
        ("grpc://127.0.0.1:1", scheme),
        ("http://127.0.0.1:1,", form),
        ("http://127.0.0.1:port", port),
        ("http://127.0.0.1:99999", port),
        ("http://127.0.0.1:0", port),
        ("http://user:hunter2@127.0.0.1:1", "an address has no user and no password"),
        ("https://user:hunter2@127.0.0.1:1", "an address has no user and no password"),
        ("http://user:hun,ter2@127.0.0.1:1", "an address has no user and no password"),
        ("http://127.0.0.1:1/settings", "an address ends after its port"),
        ("http://127.0.0.1:1#settings", "an address ends after its port"),
        ("http://127.0.0.1:1?token=hunter2", "an address ends after its port"),
    ];
    for (address, rule) in table {
        // It is not waited for: an address stays as bad as it is.
        let limits = Limits::default().ready(Duration::MAX);
        let client = Client::builder(address).limits(limits).connect();
        let handle = client.watch::<i64>("n");
        let why = trouble(&client).await;
        assert!(matches!(why, Disconnect::BadAddress(_)), "{address:.40?}: {why}");
        let text = why.to_string();
        assert!(text.ends_with(rule), "{address:.40?}: {text}");
        assert!(text.len() < 300 && !text.contains("hun") && !text.contains('\u{202e}'), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
        let unready = within("ready", handle.ready()).await.expect_err("there is no server");
        assert!(
            matches!(unready, Unavailable::NotReady { .. }) && unready.to_string().ends_with(rule),
            "{unready}"
        );
        let unwritten = within("set", client.set("n", 1_i64)).await;
        assert!(matches!(unwritten, Err(CallError::Unreachable(_))), "nothing was sent");
        assert_eq!((client.status().state, handle.status().state), (State::Fatal, State::Fatal));
    }
}

#[tokio::test]
async fn a_wrong_port_is_named() {
    // Kept bound, so that nobody else comes to listen there.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let unused = socket.local_addr().expect("it is bound");
    let client = Client::connect(unused.to_string());
    let why = trouble(&client).await;
    assert!(matches!(why, Disconnect::Unreachable(_)), "{why:?}");
    let text = why.to_string();
    assert!(text.starts_with(&format!("the server cannot be reached: {unused}: ")), "{text}");
    assert!(matches!(client.set("n", 1_i64).await, Err(CallError::Unreachable(_))), "nothing was sent");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    let why = trouble(&Client::connect("http://no-such-host.invalid:8080")).await;
    assert!(matches!(why, Disconnect::Unreachable(_)), "{why:?}");
    assert!(why.to_string().contains("no-such-host.invalid:8080: "), "{why}");
}

#[tokio::test]
async fn a_host_of_any_length_makes_a_short_text() {
    let text = trouble(&Client::connect("x".repeat(60_000))).await.to_string();
    assert!(text.len() < 400, "{} bytes", text.len());
}

#[tokio::test]
async fn an_answer_of_http_is_no_refusal_of_a_server_and_is_asked_about() {
    for http in [200, 401, 403, 404, 429, 502, 503] {
        for body in ["", "<html>a page</html>"] {
            if (http, body) == (200, "") {
                continue; // Which is a stream that ends.
            }
            let address =
                raw_server::start(Said { http, body: body.into(), status: None, details: None }).await;
            let client = Client::connect(&address);
            let why = trouble(&client).await;
            assert!(matches!(why, Disconnect::Broken(_)) && !why.is_fatal(), "{why:?}");
            let text = why.to_string();
            let said = format!(
                "{address}: it answers with HTTP {http}, and not with gRPC (is it a datastream server?"
            );
            assert!(text.contains(&said), "{text}");
            assert_eq!(client.status().state, State::NotReady);
            let called = client.server_status().await;
            assert!(matches!(called, Err(CallError::Failed(why)) if why.to_string() == text));
        }
    }
}

#[tokio::test]
async fn something_else_that_listens_there_is_asked_about() {
    let tls_alert = b"\x15\x03\x01\x00\x02\x02\x46";
    let bad_request = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for answer in [&b""[..], tls_alert, bad_request] {
        let address = listener(answer);
        let why = trouble(&Client::connect(&address)).await;
        assert!(matches!(why, Disconnect::Broken(_)), "{why:?}");
        let text = why.to_string();
        assert!(text.starts_with(&format!("the connection broke: {address}: ")), "{text}");
        let question = "(is it a datastream server? one with TLS has an address that begins with https://)";
        assert!(text.ends_with(question), "{text}");
    }
}
