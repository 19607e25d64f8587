//! Rows 7 and 69 to 72: what is wrong below the contract. Most of it is answered by the transport: these tests
//! hold that nothing crashes, nothing is echoed, and the server still serves.

use datastream::Encoded;
use datastream::proto::{Data, DataRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use super::raw::{self, frame, framed};
use super::{MARKER, assert_not_logged, assert_serves, server};
use crate::wire::{data, within};

const PUSH: &str = "/datastream.DataService/PushUpdate";
const SYNC: &str = "/datastream.DataService/Sync";

/// Field 1 of `DataRequest` and of `Data`, and field 2 of `Data`, by their tags.
const FIELD_1: u8 = 1 << 3 | 2;
const FIELD_2: u8 = 2 << 3 | 2;

/// Bodies, and the codes that they get.
fn broken_bodies() -> Vec<(&'static str, Vec<u8>, Code)> {
    let good = framed(&data("a", "string", MARKER));
    let deep_group = [0x0b_u8].repeat(1000);
    let field = |tag: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("it is short");
        [&[tag, length], bytes].concat()
    };
    vec![
        ("7: a key that is not UTF-8", frame(0, &field(FIELD_1, b"\xff\xfe")), Code::Internal),
        ("70: no message", Vec::new(), Code::Internal),
        ("70: half a prefix", good[..3].to_vec(), Code::Internal),
        ("70: a frame cut short", good[..good.len() - 2].to_vec(), Code::Internal),
        ("70: a length beyond the limit", vec![0, 0xff, 0xff, 0xff, 0xff, 1], Code::OutOfRange),
        ("70: an unknown flag", frame(7, MARKER.as_bytes()), Code::Internal),
        ("70, 71: compressed without saying how", frame(1, MARKER.as_bytes()), Code::Internal),
        ("72: a wrong wire type", frame(0, &[1 << 3, 5]), Code::Internal),
        ("72: a field cut short", frame(0, &[FIELD_2, 100, b'x']), Code::Internal),
        ("72: groups, a thousand deep", frame(0, &deep_group), Code::Internal),
        ("72: a varint without an end", frame(0, &[0xff; 20]), Code::Internal),
        ("72: random bytes", frame(0, MARKER.as_bytes()), Code::Internal),
    ]
}

#[tokio::test]
async fn rows_7_70_72_a_broken_body_ends_its_call_and_nothing_else() {
    let (server, _, wire) = server().await;
    for (case, body, code) in broken_bodies() {
        let answer = raw::call(&server.url(), PUSH, &[], &body).await;
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(answer.code(), Some(code), "{case}: {answer:?}");
        assert!(!answer.message().contains(MARKER), "{case}: {answer:?}");
        assert_serves(&wire).await;
    }
    assert_not_logged(MARKER);
}

/// The documents of gRPC say UNIMPLEMENTED for the second message; the transport reads the first and no more.
#[tokio::test]
async fn row_70_a_second_message_in_a_call_of_one_is_not_read() {
    let (server, _, wire) = server().await;
    let two = [framed(&data("first", "int", "1")), framed(&data("second", "int", "2"))].concat();
    raw::call(&server.url(), PUSH, &[], &two).await.expect("it is answered");
    let held = wire.sync(crate::wire::unannounced(["first", "second"])).await;
    assert!(!held.data.contains_key("second"));
    assert_serves(&wire).await;
}

/// Compression is not offered, so there is no bomb to unpack: flat memory, whatever was packed.
#[tokio::test]
async fn row_71_a_compressed_message_is_not_unpacked() {
    let (server, _, wire) = server().await;
    for encoding in ["gzip", "deflate", "zstd", MARKER] {
        let body = frame(1, &[0x1f; 1000]);
        let answer = raw::call(&server.url(), PUSH, &[("grpc-encoding", encoding)], &body).await;
        assert_eq!(answer.expect("it is answered").code(), Some(Code::Unimplemented), "{encoding}");
    }
    assert_serves(&wire).await;
}

#[tokio::test]
async fn row_72_unknown_fields_are_ignored_and_many_empty_ones_are_bounded() {
    let (server, _, wire) = server().await;
    let known = prost::Message::encode_to_vec(&data("a", "int", "1"));
    let unknown = [&known[..], &[0xfa, 0x3f, 3], b"new"].concat();
    let answer = raw::call(&server.url(), PUSH, &[], &frame(0, &unknown)).await;
    assert_eq!(answer.expect("it is answered").code(), Some(Code::Ok));
    let twice =
        [known, prost::Message::encode_to_vec(&Data { value: "2".into(), ..Data::default() })].concat();
    let answer = raw::call(&server.url(), PUSH, &[], &framed(&Encoded(twice.into()))).await;
    assert_eq!(answer.expect("it is answered").code(), Some(Code::Ok));
    assert_eq!(wire.sync(DataRequest::default()).await.data["a"].value, "2", "the last of a field wins");
    for (tag, code) in [([FIELD_1, 0], Code::ResourceExhausted), ([0x7a, 0], Code::Ok)] {
        let many = frame(0, &tag.repeat(1_000_000));
        let answer = raw::call(&server.url(), SYNC, &[], &many).await;
        assert_eq!(answer.expect("it is answered").code(), Some(code), "{tag:?}");
    }
    assert_serves(&wire).await;
}

/// The contract's own paths are among the laws of calls. What HTTP says of a content type that is no gRPC is
/// the transport's: tonic looks at the path alone.
#[tokio::test]
async fn row_69_what_is_no_grpc_is_answered_and_harms_nothing() {
    let (server, _, wire) = server().await;
    let body = framed(&DataRequest::default());
    for path in [
        "/",
        "/datastream.DataService",
        "/datastream.DataService/",
        "/grpc.health.v1.Health/Check",
        "/x/../y",
    ] {
        let answer = raw::call(&server.url(), path, &[], &body).await.expect("it is answered");
        assert_eq!(answer.code(), Some(Code::Unimplemented), "{path}");
    }
    for content_type in ["application/json", "application/grpc-web", "text/plain"] {
        let answer = raw::call(&server.url(), SYNC, &[("content-type", content_type)], &body).await;
        let answer = answer.expect("it is answered");
        assert!(answer.http.is_success() || answer.http.is_client_error(), "{content_type}: {answer:?}");
    }
    assert_serves(&wire).await;
}

#[tokio::test]
async fn row_69_another_protocol_is_closed_and_harms_nothing() {
    let (server, _, wire) = server().await;
    let address = server.url().replace("http://", "");
    let tls = [&[0x16, 3, 1, 2, 0, 1][..], &[0; 600]].concat();
    for said in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), tls, MARKER.repeat(100).into_bytes()] {
        let mut connection = tokio::net::TcpStream::connect(&address).await.expect("the server accepts");
        connection.write_all(&said).await.expect("it can be said");
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = within("the end of the connection", connection.read_to_end(&mut answer)).await;
        assert!(!String::from_utf8_lossy(&answer).contains(MARKER));
    }
    assert_serves(&wire).await;
    assert_not_logged(MARKER);
}
