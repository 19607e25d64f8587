//! Servers that refuse, again and again, or with many words.

use std::time::{Duration, Instant};

use datastream_client::{CallError, Client, Disconnect, State};
use futures_util::future::join_all;
use tonic::{Code, Status};

use super::TEN;
use crate::hostile::Hostile;
use crate::raw_server::{self, Said};
use crate::scripted::{resume, state};
use crate::wire::{eventually, within};

#[tokio::test]
pub(super) async fn rows_86_87_a_stream_that_always_ends_at_once_is_no_hot_loop() {
    let endings = [Status::ok(""), Status::unimplemented("nothing here"), Status::internal("broken")];
    join_all(endings.map(|status| async move {
        let what = match status.code() {
            Code::Ok => "OK",
            Code::Unimplemented => "UNIMPLEMENTED",
            _ => "INTERNAL",
        };
        let mut server = Hostile::start();
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
pub(super) async fn row_91_an_error_text_of_any_size_is_cut_and_escaped() {
    let nasty = "\u{1b}[2J\r\n\0\u{202e}";
    for size in [100, 5_000, 1 << 20] {
        let mut server = Hostile::start();
        let client = server.client();
        let n = client.watch::<i64>("n");
        let fed = server.asked().await.accept();
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
async fn row_91_details_that_are_no_base64_end_no_task() {
    // Tonic panics at them, whether a body comes before or not.
    for body in [&b""[..], b"\0\0\0\0\0"] {
        let said = Said { http: 200, body: body.into(), status: Some(14), details: Some("!") };
        let client = Client::connect(raw_server::start(said).await);
        let _n = client.watch::<i64>("n");
        let told = || client.status().last_error.map(|why| why.to_string()).unwrap_or_default();
        eventually("the status is told", || told().starts_with("the server refused: UNAVAILABLE")).await;
        let failed = client.set("n", 1_i64).await.expect_err("it is refused");
        assert!(matches!(failed, CallError::Failed(_)), "{failed:?}");
    }
}
