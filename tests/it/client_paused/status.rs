//! What the status of a handle and of a client says.

use std::time::Duration;

use datastream::proto::DataResponse;
use datastream_client::{Disconnect, Origin, State, Unavailable};

use super::{pass, settle};
use crate::scripted::{change, client, deletion, heartbeat, resume, state};
use crate::wire::within;

#[tokio::test(start_paused = true)]
async fn a_status_goes_from_not_ready_to_ready_to_stale_and_back() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let status = n.status();
    assert_eq!((status.state, status.origin, status.age), (State::NotReady, Origin::None, None));
    assert_eq!((client.status().state, client.status().last_error), (State::NotReady, None));

    let stream = script.accept(state(5, [("n", 3, "int", "10")])).await;
    within("ready", n.ready()).await.expect("it is there");
    let status = n.status();
    assert_eq!((status.state, status.origin, status.revision), (State::Ready, Origin::Live, Some(3)));
    assert_eq!(client.status().position.map(|position| position.revision), Some(5));

    let ready_since = n.status().since;
    stream.end(Disconnect::Silent);
    settle().await;
    let status = n.status();
    assert_eq!((status.state, status.origin, n.get()), (State::Stale, Origin::Live, Some(10)));
    assert!(status.since >= ready_since);
    assert_eq!(client.status().last_error.as_deref(), Some(&Disconnect::Silent));

    let stream = script.subscribe().await;
    stream.say(resume(5, []));
    settle().await;
    assert_eq!(n.status().state, State::Ready);
    assert_eq!(client.status().last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reached_its_server_is_not_ready_and_says_why() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let why = Disconnect::Unreachable("no route".to_owned());
    let (_, sync) = script.sync().await;
    sync.send(Err(why.clone())).expect("the client waits");
    script.subscribe().await.end(why.clone());
    settle().await;
    assert_eq!((n.status().state, client.status().state), (State::NotReady, State::NotReady));
    assert_eq!(client.status().last_error.as_deref(), Some(&why));
    let unavailable = n.status().unavailable.expect("there is no value");
    assert!(unavailable.to_string().contains("no route"), "{unavailable}");
}

#[tokio::test(start_paused = true)]
async fn the_age_grows_until_the_server_confirms_and_counts_the_age_of_the_source() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "10")])).await;
    settle().await;
    pass(Duration::from_secs(4)).await;
    let age = n.status().age.expect("it was confirmed");
    assert!((4_000..4_100).contains(&age.as_millis()), "{age:?}");
    stream.say(heartbeat(5));
    settle().await;
    assert!(n.status().age.expect("it was confirmed") < Duration::from_millis(10));
    let source_age = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    stream.say(DataResponse { source_age, ..heartbeat(5) });
    settle().await;
    // The client is younger than the source is old: as old as can be said.
    let age = client.status().age.expect("it was confirmed");
    assert!(age >= Duration::from_secs(4), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn a_state_keeps_its_beginning_while_it_goes_on() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "10")])).await;
    settle().await;
    let since = n.status().since;
    pass(Duration::from_secs(1)).await;
    stream.say(change(6, [("n", 6, "int", "11")]));
    let _late = client.watch::<i64>("late");
    let joined = script.subscribe().await;
    joined.say(resume(6, []));
    settle().await;
    assert_eq!((n.status().since, n.get()), (since, Some(11)), "it was ready all the time");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_key_has_no_value_no_revision_and_no_refusal() {
    let (client, mut script) = client();
    let n = client.watch::<u16>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "10")])).await;
    stream.say(change(6, [("n", 6, "int", "70000")]));
    settle().await;
    assert!(n.status().refusal.is_some());
    stream.say(deletion(7, "n"));
    settle().await;
    let status = n.status();
    assert_eq!((n.get(), status.revision, status.origin), (None, None, Origin::None));
    assert!(matches!(status.unavailable, Some(Unavailable::Missing { .. })));
    assert_eq!(status.refusal, None, "the newest value is none, and not the one that was refused");
}

#[tokio::test(start_paused = true)]
async fn a_late_key_that_cannot_join_says_why_while_the_others_are_ready() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let _stream = script.accept(state(5, [("n", 3, "int", "10")])).await;
    settle().await;
    let late = client.watch::<i64>("late");
    let why = Disconnect::Refused {
        code: "RESOURCE_EXHAUSTED",
        text: "too many streams".to_owned(),
        retry_after: None,
    };
    script.subscribe().await.end(why.clone());
    settle().await;
    assert_eq!(n.status().state, State::Ready);
    assert_eq!((late.status().state, client.status().state), (State::NotReady, State::Ready));
    assert_eq!(client.status().last_error.as_deref(), Some(&why));
    assert!(late.try_get().expect_err("not yet").to_string().contains("too many streams"));
    let joined = script.subscribe().await;
    joined.say(resume(5, [("late", 1, "int", "1")]));
    settle().await;
    assert_eq!((late.get(), client.status().last_error), (Some(1), None));
}
