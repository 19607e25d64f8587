//! What a bucket may do: be busy, be silent, answer in halves, lose its answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream_server::store::{Action, Commit, CommitError, Operation, RequestId, StoreError};

use super::{changes, commit, head, known, open, served, setting, state};
use crate::s3::{Asked, Fault, Server};

fn is_unavailable<T: std::fmt::Debug>(result: Result<T, CommitError>) -> bool {
    matches!(&result, Err(CommitError::Store(StoreError::Unavailable(_))))
}

/// A page that is missing would be a thousand deletions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_ends_half_way_shows_nothing_half() {
    let server = Server::start().await;
    for n in 0..1500 {
        server.bucket.plant(&format!("app/{n:04}"), "1");
    }
    let store = open(&server, "&poll=1h").await;
    let before = head(&store).await;
    server.bucket.plant("app/0000", "2");
    let faults = [(0, Fault::HalfPage), (1, Fault::HalfPage), (1, Fault::Error("AccessDenied"))];
    for (skip, fault) in faults {
        server.bucket.fail(Asked::List, skip, 1, fault);
        store.refresh().await.expect_err("a page is missing");
        server.bucket.heal();
        assert_eq!((known(&store).await.len(), head(&store).await), (1500, before.clone()));
    }
    assert_eq!(state(&store).await[0], setting("0000", "text/plain", "2"));
    assert_eq!(changes(&store, &before).await.changes.len(), 1);
}

/// Of a server that starts, clients would take what it cannot read for deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_read_an_object_is_none() {
    let server = Server::start().await;
    server.bucket.plant("app/a", "1");
    server.bucket.fail(Asked::Get, 0, 100, Fault::Error("AccessDenied"));
    let Err(error) = datastream_server::stores::s3::open(&server.store("&poll=1h")).await else {
        panic!("it serves a bucket that it cannot read")
    };
    assert!(error.to_string().contains("`a`"), "{error}");
    server.bucket.heal();
    assert_eq!(known(&open(&server, "&poll=1h").await).await, [setting("a", "text/plain", "1")]);
}

/// The conditions are tried at the start, in so many steps; one whose answer is lost says nothing of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_at_the_start_leaves_the_bucket_writable() {
    let steps =
        [0, 1, 2, 3].map(|put| (Asked::Put, put)).into_iter().chain([0, 1].map(|n| (Asked::Delete, n)));
    for (asked, step) in steps {
        for fault in [Fault::Lost, Fault::Error("InternalError"), Fault::Error("OperationAborted")] {
            let server = Server::start().await;
            server.bucket.fail(asked, step, 1, fault);
            let store = open(&server, "&poll=1h").await;
            assert_eq!((store.kind(), server.bucket.keys()), ("s3", vec![]), "{fault:?} of {asked:?} {step}");
            commit(&store, Operation::put("a", "int", "1")).await;
            commit(&store, Operation::delete("a")).await;
        }
    }
}

/// What was done is found out, and is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_found_out() {
    let (server, store) = served().await;
    let before = head(&store).await;
    server.bucket.fail(Asked::Put, 0, 1, Fault::Lost);
    let created = commit(&store, Operation::put("a", "int", "1").expecting(0)).await;
    server.bucket.fail(Asked::Put, 0, 1, Fault::Lost);
    let put = Operation::put("a", "int", "2").expecting(created.revision);
    let request = Some(RequestId { id: "one".into(), digest: 7 });
    let named = Commit { request, ..Commit::one(put) };
    let written = store.commit(named.clone()).await.expect("it was done");
    assert_eq!(store.commit(named).await.expect("the same answer"), written);
    server.bucket.fail(Asked::Delete, 0, 1, Fault::Lost);
    commit(&store, Operation::delete("a").expecting(written.revision)).await;
    assert_eq!(state(&store).await, []);
    assert_eq!(changes(&store, &before).await.changes.len(), 3);
}

/// Its author asks again, under the name that it has, and is told that it was done; it is not done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_done_after_it_was_given_up_is_done_once() {
    let (server, store) = served().await;
    let first = commit(&store, Operation::put("a", "int", "1")).await;
    let before = head(&store).await;
    server.bucket.fail(Asked::Put, 0, 1, Fault::Later(Duration::from_secs(2)));
    let request = Some(RequestId { id: "one".into(), digest: 7 });
    let named = Commit { request, ..Commit::one(Operation::put("a", "int", "2").expecting(first.revision)) };
    assert!(is_unavailable(store.commit(named.clone()).await));
    while server.tool().get("a").await.as_deref() != Some("2") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Somebody else goes on from there, whether or not this server looks meanwhile.
    store.refresh().await.expect("it can look");
    server.tool().put("a", Some("int"), "3").await;
    let made = store.commit(named.clone()).await.expect("it was done");
    assert_eq!(store.commit(named).await.expect("the same answer"), made);
    assert_eq!(state(&store).await, [setting("a", "int", "3")]);
    assert_eq!(changes(&store, &before).await.changes.len(), 2);
}

/// Nothing was done then, and the caller may try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_not_done_is_unavailable() {
    let (server, store) = served().await;
    let put = || Commit::one(Operation::put("a", "int", "1").expecting(0));
    server.bucket.fail(Asked::Put, 0, 1, Fault::Error("InternalError"));
    assert!(is_unavailable(store.commit(put()).await));
    assert_eq!(state(&store).await, []);
    server.bucket.fail(Asked::Put, 0, 1, Fault::Error("RequestTimeTooSkewed"));
    assert!(is_unavailable(store.commit(put()).await));
    server.bucket.fail(Asked::Put, 0, 1, Fault::Error("AccessDenied"));
    let denied = store.commit(put()).await;
    assert!(matches!(denied, Err(CommitError::Store(StoreError::ReadOnly(_)))), "{denied:?}");
    store.commit(put()).await.expect("it may be written again");
}

/// It is asked again, less and less often, and gives its answer in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_busy_is_waited_for() {
    let (server, store) = served().await;
    server.bucket.fail(Asked::Put, 0, 3, Fault::Error("SlowDown"));
    server.bucket.fail(Asked::List, 0, 3, Fault::Error("SlowDown"));
    commit(&store, Operation::put("a", "int", "1")).await;
    assert_eq!(state(&store).await, [setting("a", "int", "1")]);
    server.bucket.fail(Asked::Put, 0, usize::MAX, Fault::Error("SlowDown"));
    let puts = server.bucket.count(Asked::Put);
    assert!(is_unavailable(store.commit(Commit::one(Operation::put("a", "int", "2"))).await));
    assert!(server.bucket.count(Asked::Put) - puts <= 8);
    server.bucket.heal();
    commit(&store, Operation::put("a", "int", "2")).await;
}

/// Nothing waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_silent_is_given_up() {
    let (server, store) = served().await;
    commit(&store, Operation::put("a", "int", "1")).await;
    server.bucket.fail(Asked::List, 0, usize::MAX, Fault::Silence);
    server.bucket.fail(Asked::Put, 0, 1, Fault::Silence);
    let before = head(&store).await;
    let (looked, written) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(30), store.refresh()),
        tokio::time::timeout(
            Duration::from_secs(30),
            store.commit(Commit::one(Operation::put("a", "int", "2")))
        ),
    );
    looked.expect("a look is given up").expect_err("it is silent");
    assert!(is_unavailable(written.expect("a write is given up")));
    assert_eq!((head(&store).await, known(&store).await), (before, vec![setting("a", "int", "1")]));
    server.bucket.heal();
    commit(&store, Operation::put("a", "int", "2")).await;
}

/// Nobody waits for it, and what is written meanwhile is not set back by the list that was under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_list_sets_nothing_back() {
    let (server, store) = served().await;
    commit(&store, Operation::put("changed", "int", "1")).await;
    commit(&store, Operation::put("gone", "int", "1")).await;
    state(&store).await;
    server.bucket.plant("app/other", "1");
    // The list has been taken when the read is under way.
    server.bucket.fail(Asked::Get, 0, 1, Fault::Late(Duration::from_millis(500)));
    let gets = server.bucket.count(Asked::Get);
    let looking = tokio::spawn({
        let store = store.clone();
        async move { store.refresh().await }
    });
    while server.bucket.count(Asked::Get) == gets {
        tokio::task::yield_now().await;
    }
    let before = head(&store).await;
    commit(&store, Operation::put("changed", "int", "2")).await;
    commit(&store, Operation::delete("gone")).await;
    commit(&store, Operation::put("new", "int", "1")).await;
    looking.await.expect("it looks").expect("it can look");
    let expected =
        [setting("changed", "int", "2"), setting("new", "int", "1"), setting("other", "text/plain", "1")];
    assert_eq!(known(&store).await, expected);
    assert_eq!(state(&store).await, expected);
    assert_eq!(changes(&store, &before).await.changes.len(), 4, "and none comes twice");
}

/// A call that is dropped is whole or absent, and the log knows which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_leaves_nothing_half() {
    let (server, store) = served().await;
    for round in 0..20 {
        let put = Operation::put(&format!("{round}"), "int", "1");
        server.bucket.fail(Asked::Put, 0, 1, Fault::Late(Duration::from_millis(20)));
        let (store, commit) = (store.clone(), Commit::one(put));
        let writing = tokio::spawn(async move { store.commit(commit).await });
        tokio::time::sleep(Duration::from_millis(5)).await;
        writing.abort();
    }
    commit(&store, Operation::put("end", "int", "1")).await;
    let there: Vec<_> = server.bucket.keys();
    let told = known(&store).await;
    assert_eq!(told.len(), there.iter().filter(|key| !key.contains(".datastream/")).count());
    assert_eq!(state(&store).await, told);
}

/// An object of which only the metadata changed has the ETag of before, and in the same second its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_metadata_alone_is_seen() {
    let (server, store) = served().await;
    server.bucket.plant("app/a", "1");
    assert_eq!(state(&store).await, [setting("a", "text/plain", "1")]);
    server.bucket.retype("app/a", "int");
    assert_eq!(state(&store).await, [setting("a", "int", "1")]);
    let value = Bytes::from_static(b"2");
    let action = Action::Put { value, value_type: None, retype: false };
    commit(&store, Operation { key: Arc::from("a"), action, expected_revision: None }).await;
    assert_eq!(state(&store).await, [setting("a", "int", "2")]);
}
