//! Values that are too old for those who read them, refusals that stand, and servers that refuse.

use std::time::Duration;

use datastream::proto::DataResponse;
use datastream_client::{Disconnect, Origin, Peer, State, Unavailable, Watch, combine};

use super::{pass, settle};
use crate::captured_log;
use crate::scripted::{Entry, change, client, heartbeat, message, resume, state, stranger};
use crate::wire::within;

const TEN: Entry<'_> = ("n", 3, "int", "10");
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_handle_has_no_value_while_it_is_older_than_it_allows() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let (young, or) = (n.clone().max_age(LIMIT), client.watch::<i64>("n").or(7).max_age(LIMIT));
    let mapped = young.map(|n| n + 1);
    let stream = script.accept(state(5, [TEN])).await;
    stream.open(Some(Duration::from_secs(60)));
    settle().await;
    let confirmed = tokio::time::Instant::now();
    pass(LIMIT - Duration::from_millis(10)).await;
    assert_eq!((young.get(), or.get(), mapped.get()), (Some(10), 10, Some(11)));
    pass(Duration::from_millis(20)).await;
    assert_eq!((young.get(), or.get(), mapped.get(), n.get()), (None, 7, None, Some(10)));
    assert_eq!(young.load().as_ref(), None);
    assert_eq!(young.try_get(), Err(Unavailable::Stale { key: "n".to_owned(), max_age: LIMIT }));
    assert_eq!(young.ready().await, young.try_get().map(drop));
    let status = young.status();
    assert_eq!((status.state, status.origin, status.revision), (State::Stale, Origin::None, None));
    assert!(status.since >= (confirmed + LIMIT - Duration::from_millis(2)).into_std());
    assert_eq!((or.status().origin, n.status().state), (Origin::Default, State::Ready));
    stream.say(heartbeat(5));
    settle().await;
    assert_eq!((young.get(), or.get(), mapped.get()), (Some(10), 10, Some(11)), "it is confirmed again");
    assert_eq!((young.status().state, young.status().unavailable), (State::Ready, None));
}

#[tokio::test(start_paused = true)]
async fn a_combination_has_no_value_while_a_part_is_older_than_it_allows() {
    let (client, mut script) = client();
    let (a, b) = (client.watch::<i64>("a").max_age(LIMIT), client.watch::<i64>("b"));
    let both = combine((&a, &b));
    // A longer limit of the whole leaves those of its parts.
    let (nested, longer) = (combine((&both, &b)), both.clone().max_age(6 * LIMIT));
    let (sum, mut cached) = (both.map(|(a, b)| a + b), both.cached());
    let stream = script.accept(state(5, [("a", 3, "int", "1"), ("b", 4, "int", "2")])).await;
    stream.open(Some(6 * LIMIT));
    pass(LIMIT - Duration::from_millis(10)).await;
    let mut read = || ([&both, &longer].map(Watch::get), nested.get(), sum.get(), *cached.get());
    let known = ([Some((1, 2)); 2], Some(((1, 2), 2)), Some(3), Some((1, 2)));
    assert_eq!(read(), known);
    pass(Duration::from_millis(20)).await;
    assert_eq!((a.get(), b.get(), read()), (None, Some(2), ([None; 2], None, None, None)));
    let late = combine((&a, &b));
    settle().await;
    assert_eq!(late.get(), None);
    let why = Err(Unavailable::Stale { key: "a".to_owned(), max_age: LIMIT });
    assert_eq!((both.try_get(), longer.try_get(), both.status().state), (why.clone(), why, State::Stale));
    stream.say(heartbeat(5));
    settle().await;
    assert_eq!((read(), late.get()), (known, Some((1, 2))), "it is confirmed again");
}

/// A server that had lost its store for an hour told a client that had just begun, which took that for no older than itself.
#[tokio::test(start_paused = true)]
async fn a_value_may_be_older_than_the_client_that_reads_it() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let young = n.clone().max_age(LIMIT);
    let hour = Duration::from_secs(3600);
    let source_age = Some(hour.try_into().expect("it is short enough"));
    let (_, reply) = script.sync().await;
    assert!(reply.send(Ok(DataResponse { source_age, ..state(5, [TEN]) })).is_ok(), "the client waits");
    let stream = script.subscribe().await;
    stream.open(Some(Duration::from_secs(60)));
    settle().await;
    let age = client.status().age.expect("it was confirmed");
    assert!(age >= hour && n.status().age >= Some(hour), "{age:?}");
    assert_eq!((n.get(), young.get()), (Some(10), None));
    stream.say(resume(5, []));
    settle().await;
    assert_eq!(young.get(), Some(10), "it is confirmed");
    assert!(client.status().age < Some(LIMIT));
}

#[tokio::test(start_paused = true)]
async fn an_outage_expires_a_handle_and_its_end_heals_it() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n").max_age(LIMIT);
    script.accept(state(5, [TEN])).await.end(Disconnect::Ended);
    let stream = script.subscribe().await;
    assert_eq!((n.get(), n.status().state), (Some(10), State::Stale));
    pass(LIMIT).await;
    assert_eq!((n.get(), client.snapshot().get::<i64>("n")), (None, Ok(Some(10))));
    let stream = if script.is_idle() { stream } else { panic!("the stream has 10 s for its first message") };
    stream.end(Disconnect::Ended);
    let stream = script.subscribe().await;
    assert_eq!(n.get(), None);
    stream.say(resume(5, []));
    settle().await;
    assert_eq!((n.get(), n.status().state), (Some(10), State::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_old_expires_a_handle_at_once() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n").max_age(LIMIT);
    let stream = script.accept(state(5, [TEN])).await;
    pass(LIMIT / 2).await;
    assert_eq!(n.get(), Some(10));
    let source_age = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    stream.say(DataResponse { source_age, ..heartbeat(5) });
    settle().await;
    assert_eq!(n.get(), None, "it is older than the client, and than its limit");
    pass(LIMIT / 4).await;
    stream.say(heartbeat(5));
    pass(LIMIT / 2).await;
    assert_eq!(n.get(), Some(10), "its source has just said so");
    stream.say(DataResponse { source_age, ..heartbeat(5) });
    settle().await;
    assert_eq!(n.get(), None, "the server cannot reach its store");
    stream.say(heartbeat(5));
    settle().await;
    assert_eq!(n.get(), Some(10));
}

#[tokio::test(start_paused = true)]
async fn with_a_server_of_the_original_the_age_counts_from_the_loss() {
    let (client, mut script) = stranger();
    let n = client.watch::<i64>("n").max_age(LIMIT);
    let (_, sync) = script.sync().await;
    let refused = Disconnect::Refused { code: "UNKNOWN", text: String::new(), retry_after: None };
    assert!(sync.send(Err(refused)).is_ok(), "the client waits");
    script.probed(Ok(Peer::Original)).await;
    let stream = script.subscribe().await;
    stream.say(DataResponse {
        position: None,
        ..message(datastream::proto::Phase::Unspecified, 0, [("n", 0, "int", "10")])
    });
    pass(3 * LIMIT).await;
    assert_eq!((n.get(), n.status().age), (Some(10), None), "it is followed, and confirms nothing");
    stream.end(Disconnect::Ended);
    pass(LIMIT / 2).await;
    assert_eq!(n.get(), Some(10));
    pass(LIMIT).await;
    assert_eq!((n.get(), n.status().state), (None, State::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_combination_is_as_old_as_the_key_that_was_confirmed_first() {
    let (client, mut script) = stranger();
    let (a, b) = (client.watch::<i64>("a"), client.watch::<i64>("b"));
    let young = combine((&a, &b)).max_age(LIMIT);
    let (_, sync) = script.sync().await;
    let refused = Disconnect::Refused { code: "UNKNOWN", text: String::new(), retry_after: None };
    assert!(sync.send(Err(refused)).is_ok(), "the client waits");
    script.probed(Ok(Peer::Original)).await;
    let streams = [script.subscribe().await, script.subscribe().await];
    for stream in &streams {
        let key = stream.request.keys[0].clone();
        stream.say(DataResponse {
            position: None,
            ..message(datastream::proto::Phase::Unspecified, 0, [(&*key, 0, "int", "10")])
        });
    }
    pass(2 * LIMIT).await;
    assert_eq!(young.get(), Some((10, 10)), "both are followed");
    let [one, _other] = streams;
    one.end(Disconnect::Ended);
    pass(LIMIT / 2).await;
    assert_eq!(young.get(), Some((10, 10)));
    pass(LIMIT).await;
    assert_eq!(
        (young.get(), young.status().state, client.status().state),
        (None, State::Stale, State::Ready)
    );
    let why = Unavailable::Stale { key: "a + b".to_owned(), max_age: LIMIT };
    assert_eq!(young.try_get(), Err(why));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_of_its_handle_for_as_long_as_it_stands() {
    let (client, mut script) = client();
    let (wide, narrow) = (client.watch::<i64>("n"), client.watch::<u16>("n"));
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    pass(Duration::from_secs(1)).await;
    let before = tokio::time::Instant::now().into_std();
    stream.say(change(6, [("n", 6, "int", "70000")]));
    settle().await;
    let status = narrow.status();
    assert_eq!((narrow.get(), status.state, wide.status().state), (Some(10), State::Error, State::Ready));
    assert_eq!(client.status().state, State::Ready, "it is the affair of the one handle");
    assert!(status.since >= before && status.refusal.is_some());
    stream.say(change(7, [("n", 7, "int", "11")]));
    settle().await;
    assert_eq!((narrow.get(), narrow.status().state), (Some(11), State::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_fatal_is_tried_again_and_heals() {
    for code in ["UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"] {
        let refused = || Disconnect::Refused { code, text: "no".to_owned(), retry_after: None };
        assert!(refused().is_fatal());
        let (client, mut script) = client();
        let n = client.watch::<i64>("n");
        let (_, sync) = script.sync().await;
        assert!(sync.send(Err(refused())).is_ok(), "the client waits");
        script.subscribe().await.end(refused());
        settle().await;
        assert_eq!((client.status().state, n.status().state), (State::Fatal, State::Fatal), "{code}");
        assert!(n.try_get().is_err_and(|why| why.to_string().contains(code)));
        let since = client.status().since;
        script.subscribe().await.end(refused());
        settle().await;
        assert_eq!((client.status().state, client.status().since), (State::Fatal, since), "it goes on");
        let stream = script.subscribe().await;
        stream.say(state(5, [TEN]));
        settle().await;
        assert_eq!((n.get(), n.status().state), (Some(10), State::Ready));
        stream.end(refused());
        settle().await;
        assert_eq!((n.get(), n.status().state), (Some(10), State::Fatal), "the last value stays");
    }
}

#[tokio::test(start_paused = true)]
async fn each_transition_is_logged_once() {
    captured_log::capture();
    let why = |text: &str| Disconnect::Unreachable(format!("logged-once {text}"));
    let (client, mut script) = client();
    let n = client.watch::<i64>("n").max_age(LIMIT);
    script.accept(state(5, [TEN])).await.end(why("first"));
    for _ in 0..5 {
        script.subscribe().await.end(why("first"));
    }
    script.subscribe().await.end(why("second"));
    settle().await;
    assert_eq!((n.get(), captured_log::lines_with("logged-once first").len()), (None, 1));
    assert_eq!(captured_log::lines_with("logged-once second").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn handles_that_become_too_old_are_a_line_of_the_log_and_so_is_its_end() {
    captured_log::capture();
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let limited: Vec<_> = (0..1_234).map(|_| n.clone().max_age(LIMIT)).collect();
    let stream = script.accept(state(5, [TEN])).await;
    stream.open(Some(Duration::from_secs(60)));
    pass(2 * LIMIT).await;
    assert_eq!(captured_log::lines_with("older than they allow handles=1234").len(), 1);
    stream.say(heartbeat(5));
    settle().await;
    assert!(limited.iter().all(|n| n.get().is_some()));
    assert!(!captured_log::lines_with("what all handles read is as young as they ask for").is_empty());
}

#[tokio::test(start_paused = true)]
async fn limits_that_nobody_holds_cost_nothing() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let _stream = script.accept(state(5, [TEN])).await;
    for _ in 0..1000 {
        drop(n.clone().max_age(LIMIT));
    }
    within("ready", n.ready()).await.expect("it is there");
    pass(3 * LIMIT).await;
    assert_eq!(n.get(), Some(10), "the limit was that of another handle");
}
