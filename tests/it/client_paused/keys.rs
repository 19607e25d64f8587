//! Which keys a client asks for, and when it has nothing left to do.

use std::time::Duration;

use datastream::limit;
use datastream_client::{State, Unavailable};

use super::{pass, settle};
use crate::scripted::{client, resume, state};
use crate::wire::within;

#[tokio::test(start_paused = true)]
async fn a_string_that_is_no_key_fails_its_own_handle_and_is_never_sent() {
    let (client, mut script) = client();
    let good = client.watch::<i64>("n");
    for bad in ["", "/", "a/", "/a", "a//b", "../etc/passwd", "a\\b", "a\nb", "a\u{202e}b", ".git/config"] {
        let handle = client.watch::<i64>(bad);
        let error = within("ready", handle.ready()).await.expect_err("it is no key");
        assert!(matches!(error, Unavailable::NotAKey { .. }), "{bad:?}");
        assert!(
            !error.to_string().chars().any(|character| character.is_control() || character == '\u{202e}')
        );
        assert_eq!((handle.get(), handle.clone().or(7).get()), (None, 7));
    }
    let (request, reply) = script.sync().await;
    assert_eq!(request.keys, ["n"]);
    reply.send(Ok(state(5, [("n", 3, "int", "10")]))).expect("the client waits");
    within("ready", good.ready()).await.expect("it is there");
    let status = client.watch::<i64>("no//key").status();
    assert_eq!((status.state, status.age), (State::NotReady, None), "it is not followed");
}

#[tokio::test(start_paused = true)]
async fn one_key_too_many_fails_its_own_handle() {
    let (client, mut script) = client();
    let kept: Vec<_> = (0..limit::KEYS).map(|n| client.watch::<i64>(format!("k{n}"))).collect();
    let excess = client.watch::<i64>("one/more");
    assert!(matches!(within("ready", excess.ready()).await, Err(Unavailable::TooMany { .. })));
    let second_type = client.watch::<String>("k0");
    let (request, reply) = script.sync().await;
    assert_eq!(request.keys.len(), limit::KEYS);
    reply.send(Ok(state(5, [("k0", 3, "int", "10")]))).expect("the client waits");
    within("ready", kept[0].ready()).await.expect("the others are not concerned");
    assert_eq!(kept[0].status().state, State::Ready);
    assert_eq!((excess.status().state, excess.status().age), (State::NotReady, None), "it is not followed");
    assert!(matches!(within("ready", second_type.ready()).await, Err(Unavailable::Unusable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_takes_its_key_out_of_the_next_request() {
    let (client, mut script) = client();
    let a = client.watch::<i64>("a");
    let (b, b_too) = (client.watch::<i64>("b"), client.watch::<i64>("b"));
    let stream = script.accept(state(5, [("a", 3, "int", "1"), ("b", 3, "int", "2")])).await;
    settle().await;
    drop(b);
    settle().await;
    assert_eq!(client.snapshot().get::<i64>("b"), Ok(Some(2)), "another handle holds it");
    drop(b_too);
    settle().await;
    assert_eq!(client.snapshot().keys().collect::<Vec<_>>(), ["a"], "it leaves at once");
    assert!(script.is_idle(), "and costs no request");
    let c = client.watch::<i64>("c");
    let joining = script.subscribe().await;
    assert_eq!(joining.request.keys, ["a", "c"]);
    joining.say(resume(5, []));
    stream.dropped().await;
    assert!(matches!(within("ready", c.ready()).await, Err(Unavailable::Missing { .. })));
    assert_eq!(a.get(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn without_handles_there_is_no_stream_and_a_new_handle_begins_anew() {
    let (client, mut script) = client();
    let a = client.watch::<i64>("a");
    let stream = script.accept(state(5, [("a", 3, "int", "1")])).await;
    settle().await;
    drop(a);
    stream.dropped().await;
    settle().await;
    assert_eq!((client.status().state, client.status().age), (State::NotReady, None));
    pass(Duration::from_secs(3600)).await;
    assert!(script.is_idle());
    let a = client.watch::<i64>("a");
    assert_eq!(a.get(), None, "what is not watched is not known");
    let _stream = script.accept(state(6, [("a", 6, "int", "2")])).await;
    within("ready", a.ready()).await.expect("it is there");
    assert_eq!(a.get(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_ends_with_its_last_handle() {
    let (client, mut script) = client();
    let a = client.watch::<i64>("a");
    let stream = script.accept(state(5, [("a", 3, "int", "1")])).await;
    drop(client);
    pass(Duration::from_secs(1)).await;
    assert_eq!(a.get(), Some(1), "a handle keeps its client");
    let copy = a.clone().or(0);
    drop(a);
    pass(Duration::from_secs(1)).await;
    assert_eq!(copy.get(), 1);
    drop(copy);
    stream.dropped().await;
    assert!(script.next().await.is_none(), "its transport is gone");
}
