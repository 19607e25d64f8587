//! A client as a whole: its states in order, when all of it is ready, and its end.

use std::time::Duration;

use datastream::limit;
use datastream_client::{CallError, Disconnect, State, Unavailable, combine};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::settle;
use crate::scripted::{Entry, client, resume, state};
use crate::wire::within;

const TEN: Entry<'_> = ("n", 3, "int", "10");

#[tokio::test(start_paused = true)]
async fn states_are_told_in_their_order_and_the_present_one_at_once() {
    let (client, mut script) = client();
    let mut statuses = client.status_stream();
    let mut next = async || within("a status", statuses.next()).await.expect("it goes on").state;
    assert_eq!(next().await, State::NotReady);
    let _n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [TEN])).await;
    assert_eq!(next().await, State::Ready);
    stream.end(Disconnect::Ended);
    assert_eq!(next().await, State::Stale);
    let refused = Disconnect::Refused { code: "PERMISSION_DENIED", text: String::new(), retry_after: None };
    script.subscribe().await.end(refused);
    assert_eq!(next().await, State::Fatal);
    let stream = script.subscribe().await;
    stream.say(resume(5, []));
    assert_eq!(next().await, State::Ready);
    let late = within("a status", client.status_stream().next()).await.map(|status| status.state);
    assert_eq!(late, Some(State::Ready), "who comes late hears at once");
    client.close().await;
    assert_eq!(next().await, State::Stale);
    assert!(within("the end", statuses.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn statuses_end_with_that_of_the_closed_client_whatever_its_state_was() {
    for state_before in [State::NotReady, State::Stale] {
        let (client, mut script) = client();
        let _n = client.watch::<i64>("n");
        if state_before == State::Stale {
            script.accept(state(5, [TEN])).await.end(Disconnect::Ended);
            settle().await;
        }
        let mut statuses = client.status_stream();
        let first = within("a status", statuses.next()).await.map(|status| status.state);
        assert_eq!(first, Some(state_before));
        let (last, ()) = tokio::join!(within("the last status", statuses.next()), client.close());
        let last = last.expect("it is told before the end");
        assert_eq!((last.state, last.last_error.as_deref()), (state_before, Some(&Disconnect::Closed)));
        assert!(within("the end", statuses.next()).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn handles_that_can_never_have_a_value_are_among_the_unready() {
    let ((client, _script), (other, _others)) = (client(), client());
    let handles =
        (client.bind::<()>("/struct"), client.bind_validated("/rules", |(): &()| Ok::<_, String>(())));
    let map = client.watch_prefix::<i64>("/map");
    let unready = client.ready_all(Duration::MAX).await.expect_err("none is a prefix").unready;
    let shown: Vec<_> = unready.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["`/map` is no key", "`/rules` is no key", "`/struct` is no key"]);
    drop((handles, map));

    let (a, b) = (client.watch::<i64>("a"), other.watch::<i64>("b"));
    let _torn = combine((&a, &b, &a));
    for client in [client, other] {
        let unready = client.ready_all(Duration::from_secs(1)).await.expect_err("nobody answers").unready;
        let torn = unready.iter().filter(|why| matches!(why, Unavailable::SeveralClients { .. }));
        assert_eq!((unready.len(), torn.count()), (2, 1), "{unready:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_handles_are_ready_or_each_that_is_not_says_why() {
    let (client, mut script) = client();
    client.ready_all(Duration::MAX).await.expect("there is none that could be unready");
    let (n, _text) = (client.watch::<i64>("n"), client.watch::<i64>("text"));
    let (_missing, _no_key) = (client.watch::<i64>("missing"), client.watch::<i64>("no//key"));
    let _derived = n.map(|n| n + 1);
    let (answered, _stream) = tokio::join!(
        client.ready_all(Duration::from_secs(60)),
        script.accept(state(5, [TEN, ("text", 4, "string", "x")])),
    );
    let unready = answered.expect_err("three are not").unready;
    let shown: Vec<_> = unready.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["`missing` does not exist", "`no//key` is no key", "`text` cannot be used"]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_all_ends_in_its_time_and_names_what_it_waits_for() {
    let (client, mut script) = client();
    let _n = client.watch::<i64>("n");
    let began = Instant::now();
    let (unready, _sync) = tokio::join!(client.ready_all(Duration::from_secs(3)), script.sync());
    let unready = unready.expect_err("nobody answered");
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(matches!(&unready.unready[..], [Unavailable::NotReady { key, .. }] if key == "n"), "{unready}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_ends_at_once_and_its_handles_keep_their_values_and_say_so() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let young = n.clone().max_age(Duration::from_secs(60));
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    let began = Instant::now();
    client.close().await;
    client.close().await;
    stream.dropped().await;
    assert!(script.next().await.is_none(), "its transport is gone");
    let status = n.status();
    assert_eq!((n.get(), status.state, client.status().state), (Some(10), State::Stale, State::Stale));
    assert_eq!(client.status().last_error.as_deref(), Some(&Disconnect::Closed));
    assert!(matches!(young.try_get(), Err(Unavailable::Stale { .. })), "nobody will confirm it");
    let late = n.clone().max_age(Duration::from_secs(60));
    assert!(matches!(late.try_get(), Err(Unavailable::Stale { .. })), "and nothing that is asked for now");
    assert!(matches!(client.set("n", 1_i64).await, Err(CallError::Closed)));
    let late = client.watch::<i64>("late");
    let error = late.ready().await.expect_err("there is nobody to ask");
    assert!(error.to_string().contains("closed"), "{error}");
    assert!(client.ready_all(Duration::MAX).await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_under_way_when_its_client_is_closed_is_interrupted() {
    let (client, mut script) = client();
    let (written, ()) = tokio::join!(client.set("n", 1_i64), async {
        let _unanswered = script.push().await;
        client.close().await;
    });
    assert!(matches!(written, Err(CallError::Interrupted)), "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_is_closed_while_it_connects() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let (_, sync) = script.sync().await;
    client.close().await;
    assert!(sync.is_closed(), "the call is over");
    assert_eq!((client.status().state, n.status().state), (State::NotReady, State::NotReady));
    assert!(matches!(n.ready().now_or_never(), Some(Err(Unavailable::NotReady { .. }))));
}

#[tokio::test(start_paused = true)]
async fn one_key_too_many_is_followed_as_soon_as_there_is_room() {
    let (client, mut script) = client();
    let mut kept: Vec<_> = (0..limit::KEYS).map(|n| client.watch::<i64>(format!("k{n}"))).collect();
    let excess = client.watch::<i64>("one/more");
    let still = client.watch::<i64>("two/more");
    let stream = script.accept(state(5, [])).await;
    settle().await;
    assert!(matches!(excess.try_get(), Err(Unavailable::TooMany { .. })));
    drop(kept.pop());
    settle().await;
    assert!(matches!(excess.try_get(), Err(Unavailable::NotReady { .. })));
    let joining = script.subscribe().await;
    assert_eq!(joining.request.fresh, ["one/more"]);
    joining.say(resume(5, [("one/more", 2, "int", "1")]));
    stream.dropped().await;
    within("ready", excess.ready()).await.expect("there is room");
    assert_eq!(excess.get(), Some(1));
    assert!(matches!(still.try_get(), Err(Unavailable::TooMany { .. })), "there was room for one");
}
