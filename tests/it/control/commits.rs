//! Commits: all or nothing, only where they are meant, and once.

use std::sync::Arc;
use std::time::Duration;

use datastream::proto::{CommitRequest, Operation};
use datastream_server::Config;
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::testing::TestServer;
use rusqlite::Connection;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Control, delete, expecting, put};
use crate::bad_input::{MARKER, assert_hides, assert_invalid, assert_not_logged};
use crate::captured_log;
use crate::faulty_store::{Fault, FaultyStore};
use crate::wire::{Wire, announced, data, eventually, unannounced};

async fn server() -> (TestServer, Wire, Control) {
    captured_log::capture();
    let server = TestServer::start();
    let wire = Wire::to(&server.url()).await;
    let control = Control::of(&wire);
    (server, wire, control)
}

/// Checks the code, and what ErrorInfo says: the reason, the key, the revision.
fn assert_info(status: &Status, code: Code, reason: &str, key: Option<&str>, revision: Option<u64>) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("it says why");
    assert_eq!(info.reason, reason);
    assert_eq!(info.metadata.get("key").map(String::as_str), key);
    assert_eq!(info.metadata.get("revision").cloned(), revision.map(|revision| revision.to_string()));
}

#[tokio::test]
async fn d14_a_commit_of_many_keys_is_one_delivery_at_one_position() {
    let (_server, wire, control) = server().await;
    control.commit([put("a", "int", "1"), put("old", "int", "1")]).await.expect("commit");
    let mut stream = wire.subscribe(announced([""; 0])).await;
    assert_eq!(stream.delivery().await.to_string(), "State a=1 old=1");
    let made =
        control.commit([put("a", "int", "2"), put("b", "int", "2"), delete("old")]).await.expect("commit");
    let delivery = stream.delivery().await;
    assert_eq!((delivery.to_string(), &delivery.position), ("Change a=2 b=2 old=gone".to_owned(), &made));
    let synced = wire.sync(announced([""; 0])).await;
    assert_eq!(synced.position, Some(made));
}

#[tokio::test]
async fn d03_a_deletion_reaches_those_who_understand_it_and_is_silence_for_the_others() {
    let (_server, wire, control) = server().await;
    control.commit([put("a", "int", "1"), put("b", "int", "1")]).await.expect("commit");
    let mut new = wire.subscribe(announced(["a"])).await;
    let mut old = wire.subscribe(unannounced(["a", "b"])).await;
    assert_eq!(new.delivery().await.to_string(), "State a=1");
    old.delivery().await;
    control.commit([delete("a")]).await.expect("commit");
    assert_eq!(new.delivery().await.to_string(), "Change a=gone");
    control.commit([put("b", "int", "2")]).await.expect("commit");
    assert_eq!(old.delivery().await.data.keys().collect::<Vec<_>>(), ["b"], "nothing came of the deletion");
    assert!(!wire.sync(announced(["a"])).await.data.contains_key("a"));
}

#[tokio::test]
async fn a_commit_that_is_refused_leaves_nothing_wherever_the_reason_stands() {
    let (_server, wire, control) = server().await;
    let before = control.commit([put("a", "int", "1")]).await.expect("commit");
    let good = put("b", "int", "1");
    for bad in [put("a", "int", "x"), put("a", "string", "x"), expecting(delete("c"), 7), put("c", "", "1")] {
        for operations in [[good.clone(), bad.clone()], [bad.clone(), good.clone()]] {
            control.commit(operations).await.expect_err("one of them is refused");
        }
    }
    let synced = wire.sync(announced([""; 0])).await;
    assert_eq!((synced.data.len(), synced.position), (1, Some(before)));
}

#[tokio::test]
async fn a_precondition_that_fails_says_where_the_key_is() {
    let (_server, _wire, control) = server().await;
    let first = control.commit([expecting(put("a/ü", "int", "1"), 0)]).await.expect("it is new").revision;
    let second =
        control.commit([expecting(put("a/ü", "int", "2"), first)]).await.expect("it is there").revision;
    let at = Some(second);
    for (operation, code, reason, revision) in [
        (expecting(put("a/ü", "int", "3"), first), Code::Aborted, "CONFLICT", at),
        (expecting(put("a/ü", "int", "3"), second + 1), Code::Aborted, "CONFLICT", at),
        (expecting(put("a/ü", "int", "3"), u64::MAX), Code::Aborted, "CONFLICT", at),
        (expecting(delete("a/ü"), first), Code::Aborted, "CONFLICT", at),
        (expecting(put("a/ü", "int", "3"), 0), Code::AlreadyExists, "EXISTS", at),
        (expecting(delete("a/ü"), 0), Code::AlreadyExists, "EXISTS", at),
    ] {
        let status =
            control.commit([put("other", "int", "1"), operation]).await.expect_err("it is elsewhere");
        assert_info(&status, code, reason, Some("a/ü"), revision);
    }
    let absent = control.commit([expecting(put("b", "int", "1"), second)]).await.expect_err("it is nowhere");
    assert_info(&absent, Code::Aborted, "CONFLICT", Some("b"), Some(0));
    let absent = control.commit([expecting(delete("b"), second)]).await.expect_err("it is nowhere");
    assert_info(&absent, Code::NotFound, "NOT_FOUND", Some("b"), None);
}

#[tokio::test]
async fn a_commit_that_changes_nothing_is_no_commit() {
    let (_server, _wire, control) = server().await;
    let made = control.commit([put("a", "int", "1"), put("b", "int", "1")]).await.expect("commit");
    let later = control.commit([put("c", "int", "1")]).await.expect("commit");
    assert_eq!(control.commit([put("a", "int", "1")]).await.expect("it stands"), made);
    assert_eq!(control.commit([delete("absent")]).await.expect("it is not there"), later);
    assert_eq!(control.commit([]).await.expect("nothing is asked for"), later);
}

#[tokio::test]
async fn d05_a_commit_that_comes_again_under_its_name_is_made_once() {
    let (_server, wire, control) = server().await;
    let request = |value: &str| CommitRequest {
        operations: vec![put("a", "int", value.to_owned()), delete("b")],
        request_id: "one".to_owned(),
        author: "ada".to_owned(),
        ..CommitRequest::default()
    };
    let made = control.make(request("1")).await.expect("commit");
    control.commit([put("a", "int", "2"), put("b", "int", "2")]).await.expect("commit");
    assert_eq!(control.make(request("1")).await.expect("the same answer"), made);
    assert_eq!(&wire.sync(announced(["a"])).await.data["a"].value[..], b"2", "it was not made again");
    let status = control.make(request("3")).await.expect_err("it is another");
    assert_info(&status, Code::InvalidArgument, "REQUEST_ID_REUSED", None, None);
    let other_author = CommitRequest { author: "eve".to_owned(), ..request("1") };
    assert_info(
        &control.make(other_author).await.expect_err("it is another"),
        Code::InvalidArgument,
        "REQUEST_ID_REUSED",
        None,
        None,
    );
}

/// What changed nothing at first would change something later.
#[tokio::test]
async fn a_named_commit_of_nothing_is_not_made_later() {
    let (_server, wire, control) = server().await;
    control.commit([put("a", "int", "1")]).await.expect("commit");
    let stands = CommitRequest {
        operations: vec![put("a", "int", "1")],
        request_id: "stands".to_owned(),
        ..CommitRequest::default()
    };
    control.make(stands.clone()).await.expect("it stands");
    control.commit([put("a", "int", "2")]).await.expect("commit");
    control.make(stands).await.expect("it was answered before");
    assert_eq!(&wire.sync(announced(["a"])).await.data["a"].value[..], b"2");
}

/// A refusal is no answer that binds: what was wrong may be right by now.
#[tokio::test]
async fn a_named_commit_that_was_refused_may_be_made_later() {
    let (_server, _wire, control) = server().await;
    let create = CommitRequest {
        operations: vec![expecting(put("a", "int", "1"), 0)],
        request_id: "create".to_owned(),
        ..CommitRequest::default()
    };
    control.commit([put("a", "int", "7")]).await.expect("commit");
    assert_eq!(control.make(create.clone()).await.expect_err("it is there").code(), Code::AlreadyExists);
    control.commit([delete("a")]).await.expect("commit");
    control.make(create).await.expect("it is not there now");
}

#[tokio::test]
async fn what_is_wrong_by_itself_is_named() {
    let (_server, wire, control) = server().await;
    let twice = control.commit([put("a", "int", "1"), delete("a")]).await.expect_err("a key twice");
    assert_invalid("twice", &twice, "operations[1]");
    assert!(twice.message().contains("once: a"), "{twice:?}");
    let none = control.commit([Operation::default()]).await.expect_err("no action");
    assert_invalid("no action", &none, "operations[0].action");
    let key = control.commit([put("a", "int", "1"), put("a//b", "int", "1")]).await.expect_err("no key");
    assert_invalid("no key", &key, "operations[1].put.key");
    let key = control.commit([delete("a/")]).await.expect_err("a prefix");
    assert_invalid("a prefix", &key, "operations[0].delete");
    let large = control.commit([put("a", "string", vec![b'x'; (1 << 20) + 1])]).await.expect_err("too large");
    assert_invalid("too large", &large, "operations[0].put.value");
    let long = |request| async { control.make(request).await.expect_err("too long") };
    let id = CommitRequest { request_id: "x".repeat(129), ..CommitRequest::default() };
    assert_invalid("request_id", &long(id).await, "request_id");
    let author = CommitRequest { author: "x".repeat(257), ..CommitRequest::default() };
    assert_invalid("author", &long(author).await, "author");
    let message = CommitRequest { message: "x".repeat(4097), ..CommitRequest::default() };
    assert_invalid("message", &long(message).await, "message");
    let value = control.commit([put("b", "int", MARKER)]).await.expect_err("no int");
    assert_invalid("no int", &value, "operations[0].put.value");
    assert!(value.message().contains("(key b)"), "{value:?}");
    assert_hides("no int", &value, MARKER.as_bytes());
    assert_not_logged(MARKER);
    assert!(wire.sync(announced([""; 0])).await.data.is_empty(), "nothing was applied");
}

/// Not every store can hold one, and who is told to try again would do so for nothing.
#[tokio::test]
async fn a_text_of_a_commit_that_holds_a_nul_is_named() {
    let (_server, wire, control) = server().await;
    let request = || CommitRequest { operations: vec![put("a", "int", "1")], ..CommitRequest::default() };
    let nul = || "a\0b".to_owned();
    for (field, request) in [
        ("request_id", CommitRequest { request_id: nul(), ..request() }),
        ("author", CommitRequest { author: nul(), ..request() }),
        ("message", CommitRequest { message: nul(), ..request() }),
    ] {
        let status = control.make(request).await.expect_err("it holds a NUL");
        assert_invalid(field, &status, field);
        assert!(status.message().contains("holds no NUL"), "{status:?}");
    }
    assert!(wire.sync(announced([""; 0])).await.data.is_empty(), "nothing was applied");
}

#[tokio::test]
async fn a_commit_has_at_most_ten_thousand_operations() {
    let (_server, wire, control) = server().await;
    let mut operations: Vec<_> = (0..10_001).map(|n| put(&format!("k/{n}"), "int", "1")).collect();
    let status = control.commit(operations.clone()).await.expect_err("one too many");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("10,000"), "{status:?}");
    assert!(wire.sync(announced([""; 0])).await.data.is_empty());
    operations.pop();
    control.commit(operations).await.expect("as many as may be");
}

/// An empty operation is two bytes on the way, and far more where it is read.
#[tokio::test]
async fn two_million_empty_operations_are_refused_before_they_are_read() {
    let (_server, wire, control) = server().await;
    let status = control.commit(vec![Operation::default(); 2_000_000]).await.expect_err("too many");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("10,000"), "{status:?}");
    wire.push_int("serves", 1).await;
}

/// Who is told of a revision, and reads then, reads it.
#[tokio::test]
async fn a_conflict_is_told_when_it_can_be_read() {
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default());
    let wire = Wire::to(&server.url()).await;
    let control = Control::of(&wire);
    control.commit([put("a", "int", "0")]).await.expect("commit");
    for n in 1..=50 {
        // Past the server, which does not know yet.
        let position = datastream_server::store::Store::commit(
            &*store,
            datastream_server::store::Commit::one(datastream_server::store::Operation::put(
                "a",
                "int",
                n.to_string(),
            )),
        );
        let revision = position.await.expect("commit").revision;
        let status = control.commit([expecting(put("a", "int", "x1"), 1)]).await;
        assert_invalid("no int", &status.expect_err("no int"), "operations[0].put.value");
        let status = control.commit([expecting(put("a", "int", "1"), 1)]).await.expect_err("it is elsewhere");
        assert_info(&status, Code::Aborted, "CONFLICT", Some("a"), Some(revision));
        assert_eq!(wire.sync(announced(["a"])).await.data["a"].revision, revision);
    }
}

#[tokio::test]
async fn a_retype_is_made_where_it_is_meant() {
    let (_server, wire, control) = server().await;
    control.commit([put("a", "int", "1")]).await.expect("commit");
    let retype = Operation { retype: true, ..put("a", "string", "one") };
    let status = control.commit([put("a", "string", "one")]).await.expect_err("it is an int");
    assert_info(&status, Code::FailedPrecondition, "TYPE_CHANGE", Some("a"), None);
    control.commit([retype]).await.expect("it is meant");
    assert_eq!(wire.sync(announced(["a"])).await.data["a"].value_type, "string");
}

/// The deadline passes, or the caller leaves, while the store is at it: the whole of it, or nothing, and its name tells
/// which.
#[tokio::test]
async fn a_call_that_is_given_up_in_the_midst_is_made_whole_or_not() {
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default());
    let wire = Wire::to(&server.url()).await;
    let control = Control::of(&wire);
    let request = CommitRequest {
        operations: vec![put("a", "int", "1"), put("b", "int", "1")],
        request_id: "given up".to_owned(),
        ..CommitRequest::default()
    };
    let slow = store.fail_commits(Fault::Slow);
    let mut late = tonic::Request::new(request.clone());
    late.set_timeout(Duration::from_millis(50));
    let status = control.0.clone().commit(late).await.expect_err("the deadline passes");
    // Whichever side notices first.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    let (leaving, left) = (control.clone(), request.clone());
    let leaving = tokio::spawn(async move { leaving.make(left).await });
    eventually("the store is asked", || store.waiting() > 0).await;
    leaving.abort();
    drop(slow);
    let made = control.make(request.clone()).await.expect("commit");
    assert_eq!(control.make(request).await.expect("the same answer"), made);
    let synced = wire.sync(announced([""; 0])).await;
    assert_eq!((synced.data.len(), synced.position), (2, Some(made)));
}

/// A rule of the user's own table, which only one of the keys breaks.
#[tokio::test]
async fn a_rule_of_the_table_refuses_the_whole_commit_and_names_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("settings.db");
    Connection::open(&path)
        .expect("a file")
        .execute_batch(
            "CREATE TABLE data (key TEXT PRIMARY KEY CHECK (key NOT LIKE 'new%'), value BLOB, value_type TEXT,
               updated_at DATETIME);
             INSERT INTO data (key, value, value_type) VALUES ('a', '1', 'int')",
        )
        .expect("a table");
    let store = Arc::new(SqliteStore::open(&path).expect("it can be served"));
    let server = TestServer::start_with(store, Config::default());
    let wire = Wire::to(&server.url()).await;
    let control = Control::of(&wire);
    control.commit([put("a", "int", "2")]).await.expect("nothing speaks against it");
    let status = control.commit([put("a", "int", "3"), put("new", "int", "1")]).await.expect_err("the rule");
    assert_invalid("the rule", &status, "operations[1].put.value");
    assert!(status.message().contains("(key new)"), "{status:?}");
    assert_eq!(&wire.sync(announced(["a"])).await.data["a"].value[..], b"2");
    wire.push(data("a", "int", "4")).await.expect("it still serves");
}
