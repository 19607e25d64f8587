//! Writes, and the list of keys.

use std::time::Duration;

use bytes::Bytes;
use datastream::position::Position;
use datastream::proto::{self, Capability, ListCapabilitiesResponse, StatusResponse};
use datastream_client::{CallError, Disconnect, Seen};
use tokio::time::Instant;

use super::{pass, settle};
use crate::scripted::{Call, change, client, deletion, heartbeat, reset, resume, state};
use crate::wire::within;

fn position(revision: u64) -> Option<Position> {
    Some(Position { revision, token: Bytes::from_static(b"here") })
}

#[tokio::test(start_paused = true)]
async fn a_write_returns_when_the_handles_show_it() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "1")])).await;
    settle().await;
    let writing = tokio::spawn({
        let client = client.clone();
        async move { client.set("n", 2_i64).await }
    });
    let (data, reply) = script.push().await;
    assert_eq!((&*data.key, &*data.value, &*data.value_type), ("n", &b"2"[..], "int"));
    reply.send(Ok(position(6))).expect("the client waits");
    pass(Duration::from_secs(1)).await;
    assert!(!writing.is_finished(), "it is not shown yet");
    stream.say(change(6, [("n", 6, "int", "2")]));
    let written = within("the write", writing).await.expect("no panic").expect("written");
    assert_eq!((written.seen, written.position, n.get()), (Seen::Applied, position(6), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_a_key_without_handles_does_not_wait() {
    let (client, mut script) = client();
    let (written, ()) = tokio::join!(client.set("n", 2_i64), async {
        script.push().await.1.send(Ok(position(6))).expect("the client waits");
    });
    assert_eq!(written.expect("written").seen, Seen::NotWatched);
}

/// Symptom: after one server of several was restored from a copy, a write at it was said to be shown, and the handle had
/// the old value. Cause: only revisions were compared, those of two histories. Fix: the keys themselves are looked at.
#[tokio::test(start_paused = true)]
async fn a_write_in_a_history_of_lower_revisions_is_seen_when_that_one_is_shown() {
    let (client, mut script) = client();
    let (n, gone) = (client.watch::<i64>("n"), client.watch::<i64>("gone"));
    let stream = script.accept(state(50, [("n", 3, "int", "1"), ("gone", 2, "int", "1")])).await;
    settle().await;
    let [setting, deleting] = [client.commit().put("n", 2_i64), client.commit().delete("gone")];
    let writes = [setting, deleting].map(|commit| tokio::spawn(commit.send()));
    for _ in 0..2 {
        script.commit().await.1.send(Ok(position(6))).expect("the client waits");
    }
    pass(Duration::from_secs(1)).await;
    assert!(writes.iter().all(|write| !write.is_finished()), "it shows {:?} and {:?}", n.get(), gone.get());
    stream.say(reset(7, [("n", 6, "int", "2")]));
    for write in writes {
        let written = within("the write", write).await.expect("no panic").expect("written");
        assert_eq!((written.seen, n.get(), gone.get()), (Seen::Applied, Some(2), None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_in_another_history_that_does_not_come_is_not_seen() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(50, [("n", 20, "int", "1")])).await;
    settle().await;
    let (written, ()) = tokio::join!(client.set("n", 2_i64), async {
        script.push().await.1.send(Ok(position(6))).expect("the client waits");
        for _ in 0..5 {
            pass(Duration::from_secs(1)).await;
            stream.say(heartbeat(51));
        }
    });
    assert_eq!((written.expect("it is durable").seen, n.get()), (Seen::NotYet, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn what_stood_already_and_what_is_newer_is_seen_at_once() {
    let (client, mut script) = client();
    let watched = ["stood", "newer", "first", "last"].map(|key| client.watch::<i64>(key));
    let [stood, gone] = [("stood", 3, "int", "2"), ("first", 4, "int", "1")];
    let stream = script.accept(state(5, [stood, gone])).await;
    settle().await;
    let commit = client.commit().put_text("stood", "", "2");
    let (written, ()) = tokio::join!(commit.send(), async {
        script.commit().await.1.send(Ok(position(4))).expect("the client waits");
    });
    assert_eq!(written.expect("written").seen, Seen::Applied);

    // Somebody's trigger wrote other values than those that were asked for, and the first answer is lost.
    let both = client.commit().put("first", 2_i64).put("last", 2_i64);
    let cases = [
        (client.commit().put("newer", 2_i64), 6, change(7, [("newer", 7, "int", "9")])),
        (both, 9, change(9, [("first", 8, "int", "9"), ("last", 9, "int", "9")])),
        (client.commit().delete("last"), 10, change(11, [("last", 11, "int", "9")])),
    ];
    for (commit, at, comes) in cases {
        let (written, ()) = tokio::join!(commit.send(), async {
            script.commit().await.1.send(Err(CallError::TimedOut)).expect("the client waits");
            stream.say(comes);
            script.commit().await.1.send(Ok(position(at))).expect("the client waits");
        });
        assert_eq!(written.expect("written").seen, Seen::Applied);
    }
    assert_eq!(watched.map(|handle| handle.get()), [Some(2), Some(9), Some(9), Some(9)]);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_somebody_deletes_before_it_is_shown_is_seen() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "1")])).await;
    settle().await;
    let started = Instant::now();
    for (at, deleted_first) in [(6, false), (8, true)] {
        let (written, ()) = tokio::join!(client.set("n", 2_i64), async {
            let reply = script.push().await.1;
            if deleted_first {
                stream.say(deletion(at + 1, "n"));
                settle().await;
            }
            reply.send(Ok(position(at))).expect("the client waits");
            if !deleted_first {
                settle().await;
                stream.say(deletion(at + 1, "n"));
            }
        });
        assert_eq!((written.expect("written").seen, n.get()), (Seen::Applied, None));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    pass(Duration::from_secs(6)).await;
    assert!(script.is_idle(), "nothing is doubted");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_before_a_put_or_in_another_history_does_not_show_it() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "1")])).await;
    settle().await;
    let write = |value: i64| {
        let client = client.clone();
        tokio::spawn(async move { client.set("n", value).await })
    };
    let writing = write(2);
    let reply = script.push().await.1;
    stream.say(deletion(6, "n"));
    settle().await;
    reply.send(Ok(position(7))).expect("the client waits");
    settle().await;
    assert!(!writing.is_finished(), "what was deleted is older");
    stream.say(change(7, [("n", 7, "int", "2")]));
    let written = within("the write", writing).await.expect("no panic").expect("written");
    assert_eq!((written.seen, n.get()), (Seen::Applied, Some(2)));

    let writing = write(3);
    let reply = script.push().await.1;
    stream.say(deletion(9, "n"));
    settle().await;
    stream.say(reset(20, []));
    settle().await;
    reply.send(Ok(position(8))).expect("the client waits");
    settle().await;
    assert!(!writing.is_finished(), "whose deletion that was is not known");
    stream.say(change(21, [("n", 21, "int", "3")]));
    let written = within("the write", writing).await.expect("no panic").expect("written");
    assert_eq!((written.seen, n.get()), (Seen::Applied, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_seen_says_so_after_five_seconds() {
    let (client, mut script) = client();
    let _n = client.watch::<i64>("n");
    script.accept(state(5, [])).await.end(Disconnect::Ended);
    settle().await;
    let started = Instant::now();
    let writing = tokio::spawn({
        let client = client.clone();
        async move { client.set("n", 2_i64).await }
    });
    let push = loop {
        match script.next().await {
            Some(Call::Push(_, reply)) => break reply,
            Some(_) => {} // A reconnect, which fails.
            None => panic!("the client has ended"),
        }
    };
    push.send(Ok(position(6))).expect("the client waits");
    let written = within("the write", writing).await.expect("no panic").expect("it is durable");
    assert_eq!(written.seen, Seen::NotYet);
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_live_stream_does_not_bring_is_asked_for_once() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "1")])).await;
    settle().await;
    let writing = tokio::spawn({
        let client = client.clone();
        async move { client.set("n", 2_i64).await }
    });
    script.push().await.1.send(Ok(position(6))).expect("the client waits");
    for _ in 0..5 {
        pass(Duration::from_secs(1)).await;
        stream.say(heartbeat(5));
    }
    let written = within("the write", writing).await.expect("no panic").expect("it is durable");
    assert_eq!((written.seen, n.get()), (Seen::NotYet, Some(1)));
    let again = script.subscribe().await;
    assert_eq!(
        again.request.resume.as_ref().map(|resume| resume.revision),
        Some(0),
        "it asks for everything"
    );
    again.say(state(6, [("n", 6, "int", "2")]));
    stream.dropped().await;
    settle().await;
    assert_eq!(n.get(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_a_key_that_is_not_joined_yet_is_not_seen_yet() {
    let (client, mut script) = client();
    let _n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [])).await;
    settle().await;
    let late = client.watch::<i64>("late");
    let joining = script.subscribe().await;
    let writing = tokio::spawn({
        let client = client.clone();
        async move { client.set("late", 2_i64).await }
    });
    script.push().await.1.send(Ok(position(6))).expect("the client waits");
    stream.say(heartbeat(6)); // The position of the others is there; the late key is not.
    settle().await;
    assert!(!writing.is_finished());
    joining.say(resume(6, [("late", 6, "int", "2")]));
    let written = within("the write", writing).await.expect("no panic").expect("written");
    assert_eq!((written.seen, late.get()), (Seen::Applied, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_never_sent() {
    let (client, mut script) = client();
    assert!(matches!(client.set("a//b", 1_i64).await, Err(CallError::NotAKey { .. })));
    assert!(matches!(client.set("f", f64::NAN).await, Err(CallError::Unwritable { .. })));
    settle().await;
    assert!(script.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_list_is_put_together_from_its_pages() {
    let (client, mut script) = client();
    let listing = tokio::spawn({
        let client = client.clone();
        async move { client.capabilities().await }
    });
    for (token, keys, next) in [("", ["a", "b"], "b"), ("b", ["c", "d"], "")] {
        let (request, reply) = script.list().await;
        assert_eq!((request.page_size, &*request.page_token), (1000, token));
        reply.send(Ok(page(keys, next))).expect("the client waits");
    }
    let all = within("the list", listing).await.expect("no panic").expect("listed");
    assert_eq!(all.iter().map(|capability| &*capability.key).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert!(all.iter().all(|capability| capability.value_type == "int"));
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_pages_lead_nowhere_ends() {
    for page in [page(["a", "b"], "again"), page([], "again")] {
        let (client, mut script) = client();
        let listing = tokio::spawn({
            let client = client.clone();
            async move { client.capabilities().await }
        });
        let answers = async {
            for _ in 0..10 {
                let _ = script.list().await.1.send(Ok(page.clone()));
            }
        };
        tokio::select! {
            listed = listing => assert!(matches!(listed.expect("no panic"), Err(CallError::Failed(_)))),
            () = answers => panic!("it asks on and on"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_says_how_it_is() {
    let (client, mut script) = client();
    let said = StatusResponse {
        store: "memory".to_owned(),
        position: Some(proto::Position { revision: 6, token: Bytes::from_static(b"here") }),
        source_age: Some(Duration::from_secs(3).try_into().expect("three seconds can be said")),
        history_bytes: Some(0),
        ..StatusResponse::default()
    };
    let (status, ()) = tokio::join!(client.server_status(), async {
        let Some(Call::Status(reply)) = script.next().await else { panic!("Status was to be called") };
        reply.send(Ok(said)).expect("the client waits");
    });
    let status = status.expect("it answered");
    assert_eq!((&*status.store, status.position), ("memory", position(6)));
    assert_eq!(status.source_age, Some(Duration::from_secs(3)));
    assert_eq!((status.history_bytes, status.history_changes), (Some(0), None));
}

fn page<const N: usize>(keys: [&str; N], next: &str) -> ListCapabilitiesResponse {
    let capability = |key: &str| Capability { key: key.to_owned(), value_type: "int".to_owned() };
    let capabilities = keys.into_iter().map(capability).collect();
    ListCapabilitiesResponse { capabilities, next_page_token: next.to_owned() }
}
