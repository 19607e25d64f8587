//! Read, decide, write.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use datastream::position::Position;
use datastream::proto::operation::Action;
use datastream::proto::{CommitRequest, DataResponse};
use datastream_client::{CallError, Client, Disconnect, Written};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pass;
use crate::scripted::{Call, Script, client, state};
use crate::wire::within;

type Updated = Result<Option<Written>, CallError>;

/// Adds one, from a task of its own; what it was given is noted.
fn increment(client: &Client, given: &Arc<Mutex<Vec<Option<i64>>>>) -> JoinHandle<Updated> {
    let (client, given) = (client.clone(), given.clone());
    tokio::spawn(async move {
        let add = |now: Option<i64>| {
            given.lock().expect("no holder panics").push(now);
            Some(now.unwrap_or(0) + 1)
        };
        client.update("n", add).await
    })
}

async fn updated(update: JoinHandle<Updated>) -> Updated {
    within("the update", update).await.expect("no panic")
}

/// Answers what the client reads.
async fn hold(script: &mut Script, what: DataResponse) {
    let (request, reply) = script.read().await;
    assert_eq!(request.keys, ["n"]);
    reply.send(Ok(what)).expect("the client waits");
}

fn conflict(revision: u64) -> CallError {
    CallError::Conflict { key: "n".to_owned(), revision }
}

fn made(revision: u64) -> Result<Option<Position>, CallError> {
    Ok(Some(Position { revision, token: Bytes::from_static(b"here") }))
}

/// What a commit of one operation expects, and writes.
fn shape(request: &CommitRequest) -> (Option<u64>, Option<Bytes>) {
    let [operation] = &*request.operations else { panic!("one operation") };
    let text = match operation.action.as_ref().expect("there is one") {
        Action::Put(data) => Some(data.value.clone()),
        Action::Delete(_) => None,
    };
    (operation.expected_revision, text)
}

#[tokio::test(start_paused = true)]
async fn an_update_writes_only_what_it_read() {
    for (held, expected, text) in [
        (state(5, [("n", 3, "int", "7")]), Some(3), "8"),
        // A key that does not exist must still not exist.
        (state(5, []), Some(0), "1"),
    ] {
        let (client, mut script) = client();
        let update = increment(&client, &Arc::default());
        hold(&mut script, held).await;
        let (request, reply) = script.commit().await;
        assert_eq!(shape(&request), (expected, Some(Bytes::from(text))));
        reply.send(made(6)).expect("the client waits");
        assert!(updated(update).await.expect("updated").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn d05_an_update_that_lost_a_race_reads_and_decides_again() {
    let (client, mut script) = client();
    let given = Arc::default();
    let update = increment(&client, &given);
    let lost = [
        (state(5, [("n", 3, "int", "7")]), conflict(6)),
        (state(6, [("n", 6, "int", "10")]), conflict(0)),
        (state(7, []), CallError::Exists { key: "n".to_owned(), revision: 8 }),
    ];
    let mut ids = Vec::new();
    for (held, error) in lost {
        hold(&mut script, held).await;
        let (request, reply) = script.commit().await;
        ids.push(request.request_id);
        reply.send(Err(error)).expect("the client waits");
    }
    hold(&mut script, state(8, [("n", 8, "int", "20")])).await;
    let (request, reply) = script.commit().await;
    assert_eq!(shape(&request), (Some(8), Some(Bytes::from_static(b"21"))));
    assert!(!ids.contains(&request.request_id), "it is another commit");
    reply.send(made(9)).expect("the client waits");
    updated(update).await.expect("updated");
    assert_eq!(*given.lock().expect("no holder panics"), [Some(7), Some(10), None, Some(20)]);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_always_loses_gives_up_in_time() {
    let (client, mut script) = client();
    let given: Arc<Mutex<Vec<_>>> = Arc::default();
    let started = Instant::now();
    let update = increment(&client, &given);
    while !update.is_finished() {
        let call = tokio::select! {
            call = script.next() => call,
            () = pass(Duration::from_secs(2)) => continue,
        };
        match call {
            Some(Call::Read(_, reply)) => drop(reply.send(Ok(state(5, [("n", 3, "int", "7")])))),
            Some(Call::Commit(_, reply)) => drop(reply.send(Err(conflict(4)))),
            _ => panic!("it reads and commits"),
        }
    }
    let error = updated(update).await.expect_err("others were quicker");
    assert!(matches!(error, CallError::Conflict { revision: 4, .. }), "{error:?}");
    let took = started.elapsed();
    assert!(Duration::from_secs(10) < took && took < Duration::from_secs(18), "{took:?}");
    let attempts = given.lock().expect("no holder panics").len();
    assert!((15..40).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_answer_was_lost_is_made_once() {
    let (client, mut script) = client();
    let given = Arc::default();
    let update = increment(&client, &given);
    hold(&mut script, state(5, [("n", 3, "int", "7")])).await;
    let (first, reply) = script.commit().await;
    reply.send(Err(CallError::TimedOut)).expect("the client waits");
    let (again, reply) = script.commit().await;
    assert_eq!(again, first, "it does not read: the first may have been made");
    reply.send(made(6)).expect("the client waits");
    assert_eq!(
        updated(update).await.expect("updated").and_then(|written| written.position),
        made(6).unwrap()
    );
    assert_eq!(given.lock().expect("no holder panics").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_reads_again_while_the_server_is_away() {
    let (client, mut script) = client();
    let update = increment(&client, &Arc::default());
    for _ in 0..3 {
        let gone = Disconnect::Unreachable("nobody there".to_owned());
        script.read().await.1.send(Err(gone.into())).expect("the client waits");
    }
    hold(&mut script, state(5, [])).await;
    script.commit().await.1.send(made(6)).expect("the client waits");
    updated(update).await.expect("updated");
}

#[tokio::test(start_paused = true)]
async fn no_value_deletes_and_the_same_value_is_no_write() {
    let held = || state(5, [("n", 3, "int", "7")]);
    for (held, new, commit) in
        [(held(), Some(7), None), (held(), None, Some((Some(3), None))), (state(5, []), None, None)]
    {
        let (client, mut script) = client();
        let update = tokio::spawn(async move { client.update("n", |_: Option<i64>| new).await });
        hold(&mut script, held).await;
        match commit {
            Some(expected) => {
                let (request, reply) = script.commit().await;
                assert_eq!(shape(&request), expected);
                reply.send(made(6)).expect("the client waits");
                assert!(updated(update).await.expect("deleted").is_some());
            }
            None => {
                assert_eq!(updated(update).await.expect("nothing to do"), None);
                assert!(script.is_idle());
            }
        }
    }
}

/// There are several texts for many a value, and several types that `T` reads.
#[tokio::test(start_paused = true)]
async fn a_value_that_is_given_back_is_no_write_however_it_was_written() {
    let (client, mut script) = client();
    let update = tokio::spawn({
        let client = client.clone();
        async move { client.update("n", |now: Option<Duration>| now).await }
    });
    hold(&mut script, state(5, [("n", 3, "duration", "90s")])).await;
    assert_eq!(updated(update).await.expect("nothing to do"), None);
    let update = tokio::spawn(async move { client.update("n", |now: Option<f64>| now).await });
    hold(&mut script, state(5, [("n", 3, "int", "5")])).await;
    assert_eq!(updated(update).await.expect("nothing to do"), None);
    assert!(script.is_idle());
}

/// As one that is too large to be served.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_there_and_is_not_shown_is_told_soon() {
    let (client, mut script) = client();
    let update = increment(&client, &Arc::default());
    for _ in 0..5 {
        hold(&mut script, state(5, [])).await;
        let exists = CallError::Exists { key: "n".to_owned(), revision: 3 };
        script.commit().await.1.send(Err(exists)).expect("the client waits");
    }
    assert!(matches!(updated(update).await, Err(CallError::Exists { revision: 3, .. })));
    assert!(script.is_idle());
}

#[tokio::test(start_paused = true)]
async fn an_update_writes_nothing_where_it_cannot_read() {
    let denied = DataResponse { denied: vec!["n".to_owned()], ..state(5, []) };
    for (held, is_it) in [(state(5, [("n", 3, "string", "many")]), "Unreadable"), (denied, "Denied")] {
        let (client, mut script) = client();
        let given: Arc<Mutex<Vec<_>>> = Arc::default();
        let update = increment(&client, &given);
        hold(&mut script, held).await;
        let error = updated(update).await.expect_err("it cannot be read");
        assert!(format!("{error:?}").starts_with(is_it), "{error:?}");
        assert!(script.is_idle() && given.lock().expect("no holder panics").is_empty());
    }
    let (client, mut script) = client();
    assert!(matches!(client.update("a//b", |n: Option<i64>| n).await, Err(CallError::NotAKey { .. })));
    assert!(script.is_idle());
}
