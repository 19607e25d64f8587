//! Rows 41 to 60: requests, state, and a store that fails.

use datastream::proto::{Data, DataRequest, ListCapabilitiesRequest, Phase, Position};
use prost_types::Timestamp;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::raw::{self, framed};
use super::{MARKER, assert_hides, assert_invalid, assert_serves, server};
use crate::captured_log;
use crate::faulty_store::Fault;
use crate::wire::{announced, data, eventually, resuming, unannounced};

const PUSH: &str = "/datastream.DataService/PushUpdate";

#[tokio::test]
async fn d06_row_41_the_time_of_a_push_is_ignored_even_when_it_is_none() {
    let (_server, _, wire) = server().await;
    let times = [
        (-62_135_596_800, 0),
        (253_402_300_799, 999_999_999),
        (0, 2_000_000_000),
        (0, -1),
        (i64::MAX, i32::MAX),
        (i64::MIN, i32::MIN),
    ];
    for (seconds, nanos) in times {
        let updated_at = Some(Timestamp { seconds, nanos });
        let value = fastrand::i64(..).to_string();
        wire.push(Data { updated_at, ..data("a", "int", value.clone()) }).await.expect("it is taken");
        let held = &wire.sync(unannounced(["a"])).await.data["a"];
        assert_eq!(held.value, value);
        assert_ne!(held.updated_at, updated_at);
    }
}

/// Row 45, and what of row 46 depends on the store, is among the laws of positions.
#[tokio::test]
async fn rows_46_47_a_position_is_whole_or_empty_and_a_foreign_one_gets_a_reset() {
    let (_server, _, wire) = server().await;
    let position = |revision, length| Position { revision, token: vec![7; length].into() };
    for (case, position) in [
        ("a revision without a token", position(5, 0)),
        ("a token without a revision", position(0, 16)),
        ("a token that is too long", position(5, 65)),
    ] {
        let status = wire.try_subscribe(resuming(["a"], &position)).await.expect_err(case);
        assert_invalid(case, &status, "resume");
    }
    for (position, phase) in [
        (position(0, 0), Phase::State),
        (position(1, 16), Phase::Reset),
        (position(1, 64), Phase::Reset),
        (position(u64::MAX, 1), Phase::Reset),
        (position(u64::MAX, 16), Phase::Reset),
    ] {
        let first = wire.subscribe(resuming(["a"], &position)).await.next().await;
        assert_eq!(first.phase, phase, "{position:?}");
    }
}

#[tokio::test]
async fn d16_the_other_fields_have_limits_too() {
    let (_server, _, wire) = server().await;
    let named = |length| DataRequest { client_name: "n".repeat(length), ..announced(["a"]) };
    wire.subscribe(named(256)).await;
    let status = wire.try_subscribe(named(257)).await.expect_err("it is too long");
    assert_invalid("client_name", &status, "client_name");
    let stray = DataRequest { fresh: vec!["b".into()], ..announced(["a"]) };
    assert_invalid("fresh", &wire.try_subscribe(stray).await.expect_err("not in keys"), "fresh");
    let list = ListCapabilitiesRequest { page_token: "t".repeat(513), page_size: 1 };
    let status = wire.service().list_capabilities(list).await.expect_err("it is too long");
    assert_invalid("page_token", &status, "page_token");
}

#[tokio::test]
async fn rows_51_52_60_a_failing_store_is_named_by_what_the_caller_can_do() {
    let (_server, store, wire) = server().await;
    for (fault, code) in [
        (Fault::Unavailable, Code::Unavailable),
        (Fault::Full, Code::ResourceExhausted),
        (Fault::ReadOnly, Code::FailedPrecondition),
        (Fault::Panic, Code::Internal),
    ] {
        let failing = store.fail_commits(fault);
        let status = wire.push(data("a", "string", MARKER)).await.expect_err("the store fails");
        assert_eq!(status.code(), code);
        assert_hides("a failing store", &status, MARKER.as_bytes());
        let details = status.get_error_details();
        assert_eq!(details.retry_info().is_some(), fault == Fault::Unavailable, "{status:?}");
        assert_eq!(details.quota_failure().is_some(), fault == Fault::Full, "{status:?}");
        let reason = details.error_info().map(|info| (&*info.reason, &*info.domain));
        let wanted = (fault == Fault::ReadOnly).then_some(("READ_ONLY", "datastream"));
        assert_eq!(reason, wanted, "{status:?}");
        wire.sync(unannounced(["a"])).await;
        drop(failing);
        assert_serves(&wire).await;
    }
    super::assert_not_logged(MARKER);
}

/// The client of tonic ends such a call by itself, so this one speaks HTTP/2.
#[tokio::test]
async fn row_56_a_deadline_is_kept_and_one_that_makes_no_sense_is_ignored() {
    let (server, store, _wire) = server().await;
    let body = framed(&data("a", "int", "1"));
    for (timeout, code) in [
        ("99999999H", Code::Ok),
        ("1", Code::Ok),
        ("soon", Code::Ok),
        ("-1S", Code::Ok),
        ("123456789S", Code::Ok),
        ("1S", Code::Ok),
    ] {
        let answer = raw::call(&server.url(), PUSH, &[("grpc-timeout", timeout)], &body).await;
        assert_eq!(answer.expect("it is answered").code(), Some(code), "{timeout}");
    }
    let slow = store.fail_commits(Fault::Slow);
    for timeout in ["0n", "1n", "0S", "20m"] {
        let answer = raw::call(&server.url(), PUSH, &[("grpc-timeout", timeout)], &body).await;
        assert_eq!(answer.expect("it is answered").code(), Some(Code::DeadlineExceeded), "{timeout}");
    }
    drop(slow);
}

#[tokio::test]
async fn row_57_a_push_that_its_caller_gave_up_is_there_whole_or_not_at_all() {
    let (_server, store, wire) = server().await;
    let slow = store.fail_commits(Fault::Slow);
    let given_up = tokio::spawn({
        let wire = wire.clone();
        async move { wire.push(data("given/up", "string", "whole")).await }
    });
    eventually("the store has the push", || store.waiting() == 1).await;
    given_up.abort();
    eventually("the call is gone", || store.waiting() == 0).await;
    drop(slow);
    assert_serves(&wire).await;
    let held = wire.sync(unannounced(["given/up"])).await.data;
    assert!(held.values().all(|data| data.value == "whole"));
    let gone = || {
        let lines = captured_log::lines_with("PushUpdate");
        lines.iter().any(|line| line.contains("status=\"gone\""))
    };
    eventually("the call is logged", gone).await;
}
