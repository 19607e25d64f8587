//! A server of the original at the other end, and one that becomes another.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use datastream::proto::{Data, DataRequest, DataResponse};
use datastream_client::{Disconnect, Origin, Peer, Seen, State, Unavailable, Watch, combine};
use tokio::time::Instant;

use super::{pass, settle};
use crate::scripted::{Script, Subscribed, change, resume, state, stranger};
use crate::wire::within;

fn refused() -> Disconnect {
    Disconnect::Refused { code: "INTERNAL", text: "no such conversion".to_owned(), retry_after: None }
}

/// What such a server says of a key.
fn said(key: &str, value_type: &str, text: &str) -> DataResponse {
    let (value, value_type) = (Bytes::copy_from_slice(text.as_bytes()), value_type.to_owned());
    let data = Data { key: key.to_owned(), value, value_type, ..Data::default() };
    DataResponse { data: [(key.to_owned(), data)].into(), ..DataResponse::default() }
}

/// Fails first contact as a server of the original does. Returns the streams, one for each of so many keys.
async fn recognise(script: &mut Script, keys: usize) -> Vec<Subscribed> {
    script.sync().await.1.send(Err(refused())).expect("the client waits for Sync");
    script.probed(Ok(Peer::Original)).await;
    streams(script, keys).await
}

async fn streams(script: &mut Script, keys: usize) -> Vec<Subscribed> {
    let mut streams = Vec::new();
    for _ in 0..keys {
        streams.push(script.subscribe().await);
    }
    assert!(script.is_idle(), "one for each key, and nothing else");
    streams
}

#[tokio::test(start_paused = true)]
async fn a_server_of_the_original_is_followed_and_the_status_says_what_it_lacks() {
    let (client, mut script) = stranger();
    let (n, flag) = (client.watch::<i64>("n"), client.watch::<bool>("flag"));
    assert_eq!((client.status().peer, n.status().peer), (None, None));
    let streams = recognise(&mut script, 2).await;
    assert_eq!(streams[0].request, DataRequest { keys: vec!["flag".to_owned()], ..DataRequest::default() });
    streams[1].say(said("n", "int", "10"));
    streams[0].say(said("flag", "bool", "false"));
    within("ready", n.ready()).await.expect("it is there");
    within("ready", flag.ready()).await.expect("it is there");
    assert_eq!((n.get(), flag.get()), (Some(10), Some(false)));
    pass(Duration::from_secs(3600)).await;
    let status = client.status();
    assert_eq!(
        (status.state, status.peer),
        (State::Ready, Some(Peer::Original)),
        "an hour of silence is health"
    );
    assert_eq!((status.age, status.position, status.last_error), (None, None, None));
    let status = n.status();
    assert_eq!(
        (status.state, status.origin, status.peer),
        (State::Ready, Origin::Live, Some(Peer::Original))
    );
    assert_eq!((status.age, status.revision), (None, None));
    streams[1].say(said("n", "int", "11"));
    settle().await;
    assert_eq!((n.get(), client.snapshot().get::<i64>("n")), (Some(11), Ok(Some(11))));
    assert!(script.is_idle(), "it is asked for once");
}

#[tokio::test(start_paused = true)]
async fn ready_of_a_key_that_it_never_answers_ends_by_its_time() {
    let (client, mut script) = stranger();
    let nowhere = client.watch::<i64>("nowhere");
    let _streams = recognise(&mut script, 1).await;
    let started = Instant::now();
    let error = within("ready", nowhere.ready()).await.expect_err("nothing came");
    assert!(matches!(error, Unavailable::NotReady { .. }), "it is not known to be missing: {error}");
    assert!(error.to_string().contains("never says that it lacks"), "{error}");
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
    assert_eq!((nowhere.status().state, client.status().state), (State::NotReady, State::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_it_repeats_is_no_change() {
    let (client, mut script) = stranger();
    let mut n = client.watch::<i64>("n");
    let streams = recognise(&mut script, 1).await;
    streams[0].say(said("n", "int", "10"));
    within("the first value", n.changed()).await;
    (0..100).for_each(|_| streams[0].say(said("n", "int", "10")));
    settle().await;
    assert!(tokio::time::timeout(Duration::from_secs(1), n.changed()).await.is_err());
    streams[0].say(said("n", "int", "ten"));
    settle().await;
    assert_eq!(n.get(), Some(10), "the last good one stays");
    assert!(n.status().refusal.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_comes_back_shows_the_last_value_without_a_new_stream() {
    let (client, mut script) = stranger();
    let n = client.watch::<i64>("n");
    let streams = recognise(&mut script, 1).await;
    streams[0].say(said("n", "int", "10"));
    within("ready", n.ready()).await.expect("it is there");
    drop(n);
    settle().await;
    assert_eq!((client.status().state, client.snapshot().keys().count()), (State::NotReady, 0));
    streams[0].say(said("n", "int", "11"));
    settle().await;
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it was kept");
    assert_eq!((n.get(), n.status().state), (Some(11), State::Ready));
    assert!(script.is_idle(), "it is not asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_write_does_not_wait_for_what_cannot_be_recognised() {
    let (client, mut script) = stranger();
    let n = client.watch::<i64>("n");
    let streams = recognise(&mut script, 1).await;
    streams[0].say(said("n", "int", "10"));
    within("ready", n.ready()).await.expect("it is there");
    let started = Instant::now();
    let (written, ()) = tokio::join!(client.set("n", 2_i64), async {
        let (data, reply) = script.push().await;
        assert!(data.updated_at.is_some(), "without a time it would send it to nobody");
        reply.send(Ok(None)).expect("the client waits");
    });
    let written = written.expect("written");
    assert_eq!((written.seen, written.position), (Seen::NotYet, None));
    assert!(started.elapsed() < Duration::from_millis(10));
    pass(Duration::from_secs(60)).await;
    assert!(script.is_idle(), "nothing is doubted");
    streams[0].say(said("n", "int", "2"));
    settle().await;
    assert_eq!(n.get(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn one_lost_stream_makes_one_key_stale() {
    let (client, mut script) = stranger();
    let (a, b) = (client.watch::<i64>("a"), client.watch::<i64>("b"));
    let mut streams = recognise(&mut script, 2).await;
    streams[0].say(said("a", "int", "1"));
    streams[1].say(said("b", "int", "1"));
    within("ready", b.ready()).await.expect("it is there");
    let before = a.status().since;
    pass(Duration::from_secs(60)).await;
    streams.remove(0).end(Disconnect::Ended);
    settle().await;
    assert_eq!(b.status().since, before);
    assert!(a.status().since >= before + Duration::from_secs(60), "the other one is not concerned");
    assert_eq!((a.status().state, b.status().state, a.get()), (State::Stale, State::Ready, Some(1)));
    assert_eq!(client.status().last_error.as_deref(), Some(&Disconnect::Ended));
    let again = script.subscribe().await;
    assert_eq!(again.request.keys, ["a"]);
    again.say(said("a", "int", "2"));
    settle().await;
    assert_eq!((a.status().state, a.get(), client.status().last_error), (State::Ready, Some(2), None));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_rolled_back_and_upgraded_is_followed_both_ways() {
    let (client, mut script) = stranger();
    let (a, b) = (client.watch::<i64>("a"), client.watch::<i64>("b"));
    script.sync().await.1.send(Err(refused())).expect("the client waits for Sync");
    script.probed(Ok(Peer::Current)).await;
    let ours = script.subscribe().await;
    ours.say(state(5, [("a", 3, "int", "1"), ("b", 4, "int", "1")]));
    settle().await;
    assert_eq!((a.get(), a.status().revision, client.status().peer), (Some(1), Some(3), Some(Peer::Current)));

    ours.end(Disconnect::Ended);
    script.probed(Ok(Peer::Original)).await;
    let originals = streams(&mut script, 2).await;
    originals[0].say(said("a", "int", "2"));
    settle().await;
    assert_eq!((a.get(), b.get()), (Some(2), Some(1)), "the other keeps its last value");
    assert_eq!((a.status().state, b.status().state), (State::Ready, State::Stale));
    assert_eq!((a.status().revision, client.status().position), (None, None));
    assert_eq!(client.status().peer, Some(Peer::Original));

    originals.into_iter().for_each(|stream| stream.end(Disconnect::Ended));
    settle().await;
    assert_eq!((a.status().state, client.status().state), (State::Stale, State::Stale));
    assert_eq!(client.status().peer, None, "it may be another");
    script.probed(Ok(Peer::Current)).await;
    let ours = script.subscribe().await;
    assert_eq!(ours.request.resume.as_ref().map(|resume| resume.revision), Some(0), "it asks for everything");
    ours.say(state(6, [("a", 6, "int", "3")]));
    settle().await;
    assert_eq!((a.get(), a.status().revision, b.get()), (Some(3), Some(6), None));
    assert!(matches!(b.try_get(), Err(Unavailable::Missing { .. })));
    assert_eq!(client.status().peer, Some(Peer::Current));
    ours.say(change(7, [("b", 7, "int", "7")]));
    settle().await;
    assert_eq!(b.get(), Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_struct_and_a_map_stay_what_they_were_while_nobody_can_say_that_a_prefix_is_whole() {
    let (client, mut script) = stranger();
    let (bound, map) = (client.bind::<BTreeMap<String, i64>>("p/"), client.watch_prefix::<i64>("p/"));
    let both = combine((&bound, &Watch::fixed(0_i64)));
    script.sync().await.1.send(Err(refused())).expect("the client waits for Sync");
    script.probed(Ok(Peer::Current)).await;
    let ours = script.subscribe().await;
    ours.say(state(5, [("p/a", 3, "int", "1"), ("p/b", 4, "int", "1")]));
    settle().await;
    let read = || {
        let entries = map.get().expect("a map");
        assert_eq!(bound.get().expect("a struct").get("a"), entries.get("p/a"));
        (entries.get("p/a").copied(), entries.get("p/b").copied(), both.status().state, map.status().state)
    };
    assert_eq!(read(), (Some(1), Some(1), State::Ready, State::Ready));

    ours.end(Disconnect::Ended);
    script.probed(Ok(Peer::Original)).await;
    let originals = streams(&mut script, 1).await;
    originals[0].say(said("p/a", "int", "2"));
    settle().await;
    assert_eq!(read(), (Some(1), Some(1), State::Stale, State::Stale));

    originals.into_iter().for_each(|stream| stream.end(Disconnect::Ended));
    script.probed(Ok(Peer::Current)).await;
    let ours = script.subscribe().await;
    ours.say(state(6, [("p/a", 6, "int", "3")]));
    settle().await;
    assert_eq!(read(), (Some(3), None, State::Ready, State::Ready));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_server_is_asked_who_it_is_until_it_says_so() {
    let (client, mut script) = stranger();
    let n = client.watch::<i64>("n");
    script.sync().await.1.send(Err(refused())).expect("the client waits for Sync");
    let proxy = Disconnect::Refused { code: "UNAVAILABLE", text: "502".to_owned(), retry_after: None };
    for _ in 0..3 {
        script.probed(Err(proxy.clone())).await;
        settle().await;
        assert_eq!(client.status().last_error.as_deref(), Some(&proxy));
        assert_eq!(client.status().state, State::NotReady);
    }
    script.probed(Ok(Peer::Current)).await;
    let stream = script.subscribe().await;
    stream.say(resume(5, []));
    stream.dropped().await;
    script.probed(Ok(Peer::Current)).await;
    script.subscribe().await.say(state(5, [("n", 3, "int", "1")]));
    within("ready", n.ready()).await.expect("it is there");
}
