//! Servers that say more than a client can hold.

use std::error::Error as _;

use bytes::Bytes;
use datastream::proto::{Capability, DataResponse, ListCapabilitiesResponse};
use datastream_client::{CallError, Client, Disconnect, Limits};
use datastream_server::testing::ScriptedStream;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::TEN;
use crate::bad_input::raw::{frame, framed};
use crate::hostile::Hostile;
use crate::raw_server::{self, Said};
use crate::scripted::{reset, resume, state};
use crate::wire::{eventually, within};

const LIMIT: usize = 32 << 20;

/// A message that was not sent yet.
struct Waiting {
    message: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

/// Sends parts of a delivery until the client leaves, a few at a time so that none are piled up here. Returns how many.
async fn flood(fed: &ScriptedStream, parts: impl Iterator<Item = DataResponse>) -> usize {
    let room = std::sync::Arc::new(Semaphore::new(4));
    let mut sent = 0;
    for part in parts {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit.expect("it is never closed"),
            () = fed.dropped() => break,
        };
        let part = DataResponse { more: true, position: None, ..part };
        fed.say_bytes(Bytes::from_owner(Waiting { message: part.encode_to_vec(), _permit: permit }));
        sent += 1;
    }
    sent
}

/// A state in so many parts is left at the limit, at most `most` of them later; the old one stays, and a good server heals
/// it.
async fn is_left_at_the_limit(parts: impl Iterator<Item = DataResponse>, most: usize) {
    let mut server = Hostile::start();
    let client = server.client_with(Limits::default().state_bytes(LIMIT)).connect();
    let (n, many) = (client.watch::<i64>("n"), client.watch_prefix::<String>("many/"));
    let fed = server.asked().await.accept();
    fed.say(state(5, [TEN]));
    within("ready", n.ready()).await.expect("it is there");
    let sent = within("the flood ends", flood(&fed, parts)).await;
    assert!(sent <= most, "{sent} parts were taken");
    let too_large = Disconnect::TooLarge { limit: LIMIT };
    eventually("the reason", || client.status().last_error.as_deref() == Some(&too_large)).await;
    assert_eq!((n.get(), client.snapshot().keys().count()), (Some(10), 1), "the old one stays");
    let asked = server.asked().await;
    assert_eq!(asked.request().resume.as_ref().map(|resume| resume.revision), Some(5));
    asked.accept().say(resume(7, [("n", 7, "int", "11"), ("many/one", 7, "string", "x")]));
    eventually("well again", || n.get() == Some(11)).await;
    eventually("of the usual size", || many.load().as_ref().is_some_and(|many| many.iter().count() == 1))
        .await;
}

#[tokio::test]
pub(super) async fn row_76_a_state_of_five_gigabytes_is_left_at_the_limit() {
    let value = "x".repeat(1 << 20);
    let part = |n: u64| reset(6, [(&*format!("many/{n}"), 6, "string", &*value)]);
    is_left_at_the_limit((0..5 << 10).map(part), (LIMIT >> 20) + 16).await;
}

#[tokio::test]
pub(super) async fn row_76_a_state_of_ten_million_keys_is_left_at_the_limit() {
    let part = |n: u64| {
        let mut part = reset(6, [("many", 6, "string", "")]);
        let one = part.data.remove("many").expect("it was put there");
        part.data.extend((0..10_000).map(|i| (format!("many/{n}/{i}"), one.clone())));
        part
    };
    is_left_at_the_limit((0..1_000).map(part), LIMIT / 256 / 10_000 + 16).await;
}

/// Whether a client takes a message of this length.
async fn is_taken(length: usize) -> Result<(), String> {
    let message = |pad| {
        let capability = Capability { key: "n".to_owned(), value_type: "x".repeat(pad) };
        ListCapabilitiesResponse { capabilities: vec![capability], next_page_token: String::new() }
    };
    let message = message(length - (message(length).encoded_len() - length));
    assert_eq!(message.encoded_len(), length);
    let url =
        raw_server::start(Said { http: 200, body: framed(&message).into(), status: Some(0), details: None })
            .await;
    let listed = within("the list", Client::connect(url).capabilities()).await;
    let why = |error: &CallError| error.source().map(ToString::to_string).unwrap_or_default();
    listed.map(drop).map_err(|error| why(&error))
}

#[tokio::test]
async fn row_76_a_message_of_8_mib_is_taken_and_one_byte_more_breaks_the_contract() {
    assert_eq!(is_taken(8 << 20).await, Ok(()));
    let why = is_taken((8 << 20) + 1).await;
    assert_eq!(why, Err("the server broke the contract: a message is longer than 8 MiB".to_owned()));
}

#[tokio::test]
async fn row_81_what_is_no_message_breaks_the_contract_or_was_cut_off() {
    let no_message = "the server broke the contract: what it sent is no message of the contract";
    let cut = "the answer was cut off, perhaps by a proxy";
    let table: [(&str, Vec<u8>, Option<u16>, &str); 5] = [
        ("bytes that are no protobuf", frame(0, &[0xff; 100]), Some(0), no_message),
        ("a message that is said to be packed", frame(1, &[0; 9]), Some(0), no_message),
        ("no message", Vec::new(), Some(0), no_message),
        ("half a message", frame(0, &[0; 9])[..8].to_vec(), None, cut),
        ("no status", Vec::new(), None, cut),
    ];
    for (what, body, status, said) in table {
        let url = raw_server::start(Said { http: 200, body: body.into(), status, details: None }).await;
        let called = within(what, Client::connect(url).server_status()).await.expect_err(what);
        let why = called.source().expect(what).to_string();
        assert!(matches!(called, CallError::Failed(_)) && why.contains(said), "{what}: {why}");
    }
}

#[test]
fn row_76_unless_it_is_told_otherwise_a_client_holds_less_than_either() {
    let limit = Limits::default().state_bytes;
    // Which is less than five gigabytes.
    let ten_million_keys = 10_000_000 * 256;
    assert!(limit < ten_million_keys, "{limit} bytes");
}
