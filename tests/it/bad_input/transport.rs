//! Rows 7 and 69 to 72: what is wrong below the contract. Most of it is answered by the transport: these tests
//! hold that nothing crashes, nothing is echoed, and the server still serves.

use std::io::Write as _;

use datastream::proto::{Data, DataRequest};
use datastream::{Encoded, header};
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use super::raw::{self, frame, framed, peak_mib};
use super::{MARKER, assert_not_logged, assert_serves, server};
use crate::captured_log;
use crate::wire::{data, eventually, within};

const PUSH: &str = "/datastream.DataService/PushUpdate";
const SYNC: &str = "/datastream.DataService/Sync";
const SUBSCRIBE: &str = "/datastream.DataService/Subscribe";

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

#[tokio::test]
async fn row_70_a_second_message_ends_a_call_of_one_before_it_is_applied() {
    let (server, _, wire) = server().await;
    let first = framed(&data("first", "int", "1"));
    for (case, second) in [
        ("a whole one", framed(&data("second", "int", "2"))),
        ("an empty one", frame(0, &[])),
        ("the same one", first.clone()),
    ] {
        let answer = raw::call(&server.url(), PUSH, &[], &[&first[..], &second].concat()).await;
        assert_eq!(answer.expect("it is answered").code(), Some(Code::Unimplemented), "{case}");
    }
    let answer = raw::call(&server.url(), PUSH, &[], &[&first[..], &[0, 0]].concat()).await;
    assert_eq!(answer.expect("it is answered").code(), Some(Code::Internal), "a part of one");
    let request = framed(&DataRequest::default());
    for path in [SYNC, SUBSCRIBE] {
        let answer = raw::call(&server.url(), path, &[], &request.repeat(2)).await;
        assert_eq!(answer.expect("it is answered").code(), Some(Code::Unimplemented), "{path}");
    }
    let held = wire.sync(DataRequest::default()).await;
    assert!(held.data.is_empty(), "nothing of such a call is applied");
    assert_eq!(server.subscribers(), 0);
    assert_serves(&wire).await;
}

/// About 1 MB that unpacks to 1 GiB of zeros; the limit is met long before the end that it lacks.
fn bomb() -> Vec<u8> {
    let mib = vec![0; 1 << 20];
    let mut packing = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut flushed_at = || {
        packing.write_all(&mib).and_then(|()| packing.flush()).expect("memory takes it");
        packing.get_ref().len()
    };
    // After the first flush each MiB of zeros packs to the same bytes.
    let second = flushed_at()..flushed_at();
    let packed = packing.get_ref();
    [&packed[..second.start], &packed[second].repeat(1023)].concat()
}

/// Other tests of this process run meanwhile, and take a few MiB each.
#[tokio::test]
async fn row_71_a_bomb_is_not_unpacked_beyond_the_size_of_a_message() {
    let (server, _, wire) = server().await;
    let body = frame(1, &bomb());
    assert!(body.len() < 2 << 20, "{}", body.len());
    let before = peak_mib();
    for path in [PUSH, SYNC, SUBSCRIBE] {
        let answer = raw::call(&server.url(), path, &[("grpc-encoding", "gzip")], &body).await;
        assert_eq!(answer.expect("it is answered").code(), Some(Code::ResourceExhausted), "{path}");
    }
    let grown = peak_mib() - before;
    assert!(grown < 256, "1 GiB that was packed took {grown} MiB");
    assert_serves(&wire).await;
}

#[tokio::test]
async fn row_71_a_message_may_be_packed_as_gzip_and_in_no_other_way() {
    let (server, _, wire) = server().await;
    let mut packing = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let message = prost::Message::encode_to_vec(&data("packed", "int", "1"));
    packing.write_all(&message).expect("memory takes it");
    let packed = frame(1, &packing.finish().expect("memory takes it"));
    let broken = frame(1, &[0x1f; 1000]);
    for (encoding, body, code) in [
        ("gzip", &packed, Code::Ok),
        ("gzip", &broken, Code::Internal),
        ("deflate", &packed, Code::Unimplemented),
        ("zstd", &packed, Code::Unimplemented),
        (MARKER, &packed, Code::Unimplemented),
    ] {
        let headers = [("grpc-encoding", encoding), ("grpc-accept-encoding", "gzip")];
        let answer = raw::call(&server.url(), PUSH, &headers, body).await.expect("it is answered");
        assert_eq!(answer.code(), Some(code), "{encoding}: {answer:?}");
        assert!(!answer.headers.contains_key("grpc-encoding"), "no answer is packed: {answer:?}");
    }
    assert_eq!(wire.sync(DataRequest::default()).await.data["packed"].value, "1");
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

/// The contract's own paths are among the laws of calls.
#[tokio::test]
async fn row_69_another_path_is_answered_and_harms_nothing() {
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
    assert_serves(&wire).await;
}

#[tokio::test]
async fn row_69_a_content_type_that_is_no_grpc_gets_415_in_the_words_of_http() {
    let (server, _, wire) = server().await;
    let body = framed(&data("a", "int", "1"));
    for content_type in [
        "application/json",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpcweb",
        "application/gr",
        "text/plain",
        "",
    ] {
        let answer = raw::call(&server.url(), PUSH, &[("content-type", content_type)], &body).await;
        let answer = answer.expect("it is answered");
        assert_eq!(answer.http, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}: {answer:?}");
        assert_eq!(answer.code(), None, "{content_type}: {answer:?}");
        assert_eq!(answer.headers[header::PROTOCOL], "1", "{content_type}");
    }
    let answer = raw::call(&server.url(), PUSH, &[("content-type", raw::LEFT_OUT)], &body).await;
    assert_eq!(answer.expect("it is answered").http, StatusCode::UNSUPPORTED_MEDIA_TYPE, "none at all");
    assert!(wire.sync(DataRequest::default()).await.data.is_empty(), "none of them is applied");
    let logged = || !captured_log::lines_with("status=\"415\"").is_empty();
    eventually("they are logged", logged).await;
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "application/grpc ; charset=utf-8",
        "Application/GRPC",
    ] {
        let answer = raw::call(&server.url(), PUSH, &[("content-type", content_type)], &body).await;
        assert_eq!(answer.expect("it is answered").code(), Some(Code::Ok), "{content_type}");
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
