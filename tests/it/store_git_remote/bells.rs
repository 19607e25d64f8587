//! Who asks a server to look, well before the clock does.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use datastream_client::Client;
use tokio::task::spawn_blocking;

use crate::process::{Server, command};
use crate::wire::eventually;

use super::Hosted;

/// A POST with anything in it.
fn post(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let body = "{\"ref\": \"refs/heads/main\"}";
    write!(stream, "POST /hook HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("it reads");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_and_a_webhook_bring_a_change_before_the_clock_does() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let store = hosted.store("mirror", "poll=1h");
    let server = Server::start(&["--listen", "127.0.0.1:0", "--webhook", "127.0.0.1:0", "--store", &store]);
    let client = Client::connect(server.url());
    let a = client.watch::<String>("a");
    eventually("it is there", || a.get().as_deref() == Some("1")).await;
    let requests = hosted.host.requests();
    hosted.repository.person().commit(&[("a", "2")]);
    assert_eq!((a.get().as_deref(), hosted.host.requests()), (Some("1"), requests), "nobody looked");
    let url = server.url();
    let refresh = spawn_blocking(move || command(&["refresh", "--server", &url]).output());
    let refreshed = refresh.await.expect("it does not panic").expect("the program can be run");
    assert!(refreshed.status.success(), "{refreshed:?}");
    assert_eq!(String::from_utf8_lossy(&refreshed.stdout), "at revision 3\n");
    eventually("the operator had it look", || a.get().as_deref() == Some("2")).await;

    hosted.repository.person().commit(&[("a", "3")]);
    let address = server.said().iter().find_map(|line| {
        Some(line.split_once("a webhook address=")?.1.split_whitespace().next()?.to_owned())
    });
    let address = address.expect("it says where");
    let said = spawn_blocking(move || post(&address)).await.expect("it answers");
    assert!(said.starts_with("HTTP/1.1 202"), "{said}");
    eventually("the webhook had it look", || a.get().as_deref() == Some("3")).await;
}
