//! Commits: what is sent, sent again and refused, and when it is seen.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream::limit;
use datastream::position::Position;
use datastream::proto::operation::Action;
use datastream_client::{CallError, Client, Commit, Disconnect, Seen, Written};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{pass, settle};
use crate::scripted::{Script, change, client, deletion, heartbeat, state};
use crate::wire::within;

fn position(revision: u64) -> Option<Position> {
    Some(Position { revision, token: Bytes::from_static(b"here") })
}

fn lost() -> CallError {
    Disconnect::Broken("cut".to_owned()).into()
}

fn nobody_there() -> CallError {
    Disconnect::Unreachable("nobody there".to_owned()).into()
}

/// Sends a commit from a task of its own.
fn send(commit: Commit) -> JoinHandle<Result<Written, CallError>> {
    tokio::spawn(commit.send())
}

async fn sent(commit: JoinHandle<Result<Written, CallError>>) -> Result<Written, CallError> {
    within("the commit", commit).await.expect("no panic")
}

/// Lets no attempt reach a server, until the commit is given up.
async fn in_vain(commit: JoinHandle<Result<Written, CallError>>, script: &mut Script) -> CallError {
    let nobody = async {
        loop {
            script.commit().await.1.send(Err(nobody_there())).expect("the client waits");
        }
    };
    tokio::select! {
        result = sent(commit) => result.expect_err("there was no answer"),
        () = nobody => unreachable!("it goes on for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_says_all_that_was_asked_of_it() {
    let (client, mut script) = client();
    let commit = client.commit().expect_revision("a", 3).put("a", 2_i64).put_text("b", "", "on").delete("c");
    let commit = commit.retype("b").must_not_exist("b").author("ann").message("because");
    let commit = send(commit);
    let (request, reply) = script.commit().await;
    let operations: Vec<_> = request
        .operations
        .iter()
        .map(|operation| {
            let action = match operation.action.as_ref().expect("there is one") {
                Action::Put(data) => format!(
                    "{}: {:?} {:?}",
                    data.key,
                    data.value_type,
                    str::from_utf8(&data.value).expect("text")
                ),
                Action::Delete(key) => format!("no {key}"),
            };
            (action, operation.expected_revision, operation.retype)
        })
        .collect();
    let expected = [
        (r#"a: "int" "2""#.to_owned(), Some(3), false),
        (r#"b: "" "on""#.to_owned(), Some(0), true),
        ("no c".to_owned(), None, false),
    ];
    assert_eq!(operations, expected);
    assert_eq!((&*request.author, &*request.message), ("ann", "because"));
    assert_eq!(request.request_id.len(), 32, "128 bits");
    reply.send(Ok(position(6))).expect("the client waits");
    let written = sent(commit).await.expect("made");
    assert_eq!((written.position, written.seen), (position(6), Seen::NotWatched));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_with_the_same_id_and_body() {
    let (client, mut script) = client();
    let commit = send(client.commit().put("a", 2_i64).delete("b").message("once"));
    let (first, reply) = script.commit().await;
    reply.send(Err(lost())).expect("the client waits");
    let failures = [
        CallError::TimedOut,
        nobody_there(),
        Disconnect::Refused { code: "UNAVAILABLE", text: "later".to_owned(), retry_after: None }.into(),
    ];
    for failure in failures {
        let (again, reply) = script.commit().await;
        assert_eq!(again, first);
        reply.send(Err(failure)).expect("the client waits");
    }
    let (again, reply) = script.commit().await;
    assert_eq!(again, first);
    reply.send(Ok(position(6))).expect("the client waits");
    assert_eq!(sent(commit).await.expect("made").position, position(6));
}

#[tokio::test(start_paused = true)]
async fn each_commit_has_an_id_of_its_own() {
    let (client, mut script) = client();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..100 {
        let commit = send(client.commit().put("a", 2_i64));
        let (request, reply) = script.commit().await;
        assert!(ids.insert(request.request_id));
        reply.send(Ok(position(6))).expect("the client waits");
        sent(commit).await.expect("made");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_an_answer_ends_in_time_and_says_that_it_may_have_been_made() {
    let (client, mut script) = client();
    let started = Instant::now();
    let commit = send(client.commit().put("a", 2_i64));
    script.commit().await.1.send(Err(lost())).expect("the client waits");
    // Nobody is there any more, which says nothing of the first attempt.
    let error = in_vain(commit, &mut script).await;
    assert!(matches!(error, CallError::Failed(_)), "{error:?}");
    assert!(started.elapsed() <= Duration::from_secs(16), "{:?}", started.elapsed());
}

/// The first server made the commit and its answer was lost; the next one cannot write, or does not let this client in.
/// What that one says was taken for what became of the commit.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_did_not_look_says_nothing_of_an_earlier_attempt() {
    let text = || "no".to_owned();
    let refusals =
        [CallError::Precondition(text()), CallError::Denied(text()), CallError::Unsupported(text())];
    for refusal in refusals {
        let (client, mut script) = client();
        let commit = send(client.commit().put("a", 2_i64));
        script.commit().await.1.send(Err(lost())).expect("the client waits");
        script.commit().await.1.send(Err(refusal.clone())).expect("the client waits");
        let error = sent(commit).await.expect_err("there was no answer");
        assert!(matches!(error, CallError::Failed(_)), "{error:?}");

        let commit = send(client.commit().put("a", 2_i64));
        script.commit().await.1.send(Err(nobody_there())).expect("the client waits");
        script.commit().await.1.send(Err(refusal.clone())).expect("the client waits");
        let error = sent(commit).await.expect_err("it was refused");
        assert_eq!(format!("{error:?}"), format!("{refusal:?}"), "the first attempt never left");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_looked_says_that_no_attempt_was_made() {
    let (client, mut script) = client();
    let commit = send(client.commit().put("a", 2_i64).expect_revision("a", 3));
    script.commit().await.1.send(Err(lost())).expect("the client waits");
    let conflict = CallError::Conflict { key: "a".to_owned(), revision: 7 };
    script.commit().await.1.send(Err(conflict)).expect("the client waits");
    let error = sent(commit).await.expect_err("it was refused");
    assert!(matches!(error, CallError::Conflict { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_never_left_says_that_nothing_was_sent() {
    let (client, mut script) = client();
    let commit = send(client.commit().put("a", 2_i64));
    let error = in_vain(commit, &mut script).await;
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_not_sent_again() {
    let text = || "no".to_owned();
    let failed =
        |code| CallError::Failed(Arc::new(Disconnect::Refused { code, text: text(), retry_after: None }));
    let address = CallError::Unreachable(Arc::new(Disconnect::BadAddress(text())));
    for refusal in [
        CallError::Conflict { key: "a".to_owned(), revision: 7 },
        CallError::Exists { key: "a".to_owned(), revision: 7 },
        CallError::NotFound { key: "a".to_owned() },
        CallError::Invalid(text()),
        CallError::Unsupported(text()),
        CallError::Denied(text()),
        failed("RESOURCE_EXHAUSTED"),
        failed("INTERNAL"),
        address,
    ] {
        let (client, mut script) = client();
        let commit = send(client.commit().put("a", 2_i64).expect_revision("a", 3));
        script.commit().await.1.send(Err(refusal.clone())).expect("the client waits");
        let error = sent(commit).await.expect_err("it was refused");
        assert_eq!(format!("{error:?}"), format!("{refusal:?}"));
        pass(Duration::from_secs(60)).await;
        assert!(script.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_returns_when_the_handles_show_all_of_it() {
    let (client, mut script) = client();
    let (a, b) = (client.watch::<i64>("a"), client.watch::<i64>("b"));
    let stream = script.accept(state(5, [("a", 3, "int", "1"), ("b", 4, "int", "1")])).await;
    settle().await;
    let commit = send(client.commit().put("a", 2_i64).delete("b").put("unwatched", 1_i64));
    script.commit().await.1.send(Ok(position(8))).expect("the client waits");
    stream.say(heartbeat(5));
    pass(Duration::from_secs(1)).await;
    assert!(!commit.is_finished(), "it is not shown yet");
    let mut both = change(8, [("a", 6, "int", "2")]);
    both.data.extend(deletion(7, "b").data);
    stream.say(both);
    assert_eq!(sent(commit).await.expect("made").seen, Seen::Applied);
    assert_eq!((a.get(), b.get()), (Some(2), None));
}

#[tokio::test(start_paused = true)]
async fn d03_a_deletion_of_this_client_is_seen_by_its_handles() {
    let (client, mut script) = client();
    let a = client.watch::<i64>("a").or(100);
    let stream = script.accept(state(5, [("a", 3, "int", "1")])).await;
    settle().await;
    assert_eq!(a.get(), 1);
    let deleting = tokio::spawn({
        let client = client.clone();
        async move { client.delete("a").await }
    });
    let (request, reply) = script.commit().await;
    assert!(matches!(&request.operations[0].action, Some(Action::Delete(key)) if key == "a"));
    reply.send(Ok(position(6))).expect("the client waits");
    stream.say(deletion(6, "a"));
    assert_eq!(sent(deleting).await.expect("deleted").seen, Seen::Applied);
    assert_eq!(a.get(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_not_seen_says_so_after_five_seconds() {
    let (client, mut script) = client();
    let _a = client.watch::<i64>("a");
    let _stream = script.accept(state(5, [])).await;
    settle().await;
    let commit = send(client.commit().put("a", 2_i64));
    script.commit().await.1.send(Ok(position(6))).expect("the client waits");
    let started = Instant::now();
    assert_eq!(sent(commit).await.expect("it is durable").seen, Seen::NotYet);
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_commit_does_not_wait_for_a_handle_that_leaves() {
    let (client, mut script) = client();
    let (a, _b) = (client.watch::<i64>("a"), client.watch::<i64>("b"));
    let _stream = script.accept(state(5, [])).await;
    settle().await;
    let commit = send(client.commit().put("a", 2_i64));
    script.commit().await.1.send(Ok(position(6))).expect("the client waits");
    drop(a);
    assert_eq!(sent(commit).await.expect("made").seen, Seen::NotWatched);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_closed_during_a_commit_says_that_it_may_have_been_made() {
    for is_waiting in [false, true] {
        let (client, mut script) = client();
        let commit = send(client.commit().put("a", 2_i64));
        let (_, reply) = script.commit().await;
        if is_waiting {
            reply.send(Err(lost())).expect("the client waits");
            settle().await; // It waits to try again.
        }
        client.close().await;
        let error = sent(commit).await.expect_err("there was no answer");
        let is_doubtful = matches!(error, CallError::Interrupted | CallError::Failed(_));
        assert!(is_doubtful, "{error:?}");
    }
    let (client, _script) = client();
    client.close().await;
    let error = client.commit().put("a", 2_i64).send().await.expect_err("it is closed");
    assert!(matches!(error, CallError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_none_is_never_sent() {
    let (client, mut script) = client();
    let commit = || client.commit();
    let many = (0..=limit::OPERATIONS).fold(commit(), |commit, i| commit.put(format!("k/{i}"), 1_i64));
    let large = (0..5).fold(commit(), |commit, i| commit.put(format!("k/{i}"), "x".repeat(1 << 20)));
    let cases = [
        ("TooMany { count: 10001 }", many),
        ("TooLarge { length: ", large),
        (r#"Twice { key: "a" }"#, commit().put("a", 1_i64).delete("a")),
        (r#"Unchanged { key: "b" }"#, commit().put("a", 1_i64).expect_revision("b", 1)),
        (r#"Unchanged { key: "b" }"#, commit().must_not_exist("b")),
        (r#"Unchanged { key: "b" }"#, commit().put("a", 1_i64).retype("b")),
        (r#"TooLong { field: "author", "#, commit().put("a", 1_i64).author("x".repeat(257))),
        (r#"TooLong { field: "message", "#, commit().put("a", 1_i64).message("x".repeat(4097))),
    ];
    for (expected, commit) in cases {
        match commit.send().await {
            Err(CallError::BadCommit(error)) if format!("{error:?}").starts_with(expected) => {}
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(matches!(commit().put("a//b", 1_i64).send().await, Err(CallError::NotAKey { .. })));
    assert!(matches!(commit().delete("a/").send().await, Err(CallError::NotAKey { .. })));
    assert!(matches!(commit().put("a", f64::NAN).send().await, Err(CallError::Unwritable { .. })));
    let twenty = commit().put_text("a", "int", "twenty").put("b", 1_i64).send().await;
    assert!(matches!(twenty, Err(CallError::Unwritable { key, .. }) if key == "a"), "the first is told");
    assert!(matches!(client.delete("..").await, Err(CallError::NotAKey { .. })));
    settle().await;
    assert!(script.is_idle());
}

#[test]
fn what_is_shown_of_a_commit_has_no_values() {
    let client = Client::fixed([("a", 1_i64.into())]);
    let shown = format!("{:?}", client.commit().put("a", "secret".to_owned()));
    assert!(shown.contains("\"a\"") && !shown.contains("secret"), "{shown}");
}
