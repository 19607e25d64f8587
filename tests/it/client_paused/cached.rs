//! Readers that keep what they read.

use std::time::Duration;

use datastream_client::{Client, Disconnect};

use super::{pass, settle};
use crate::scripted::{Entry, change, client, deletion, heartbeat, state};

const TEN: Entry<'_> = ("n", 3, "int", "10");

#[tokio::test(start_paused = true)]
async fn a_cached_reader_sees_every_change_as_the_handle_does() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let (mut cached, mut or, mut mapped) = (n.cached(), n.clone().or(7).cached(), n.map(|n| n + 1).cached());
    assert_eq!((*cached.get(), *or.get(), *mapped.get()), (None, 7, None));
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    assert_eq!((*cached.get(), *or.get(), *mapped.get()), (Some(10), 10, Some(11)));
    stream.say(change(6, [("n", 6, "int", "20")]));
    settle().await;
    assert_eq!((*cached.get(), *or.get(), *mapped.get()), (Some(20), 20, Some(21)));
    stream.say(change(7, [("n", 7, "int", "no number")]));
    settle().await;
    assert_eq!(
        (*cached.get(), *or.get(), *mapped.get()),
        (Some(20), 20, Some(21)),
        "the last good one stays"
    );
    stream.say(deletion(8, "n"));
    settle().await;
    assert_eq!((*cached.get(), *or.get(), *mapped.get()), (None, 7, None));
}

#[tokio::test(start_paused = true)]
async fn a_cached_reader_sees_that_a_value_is_too_old_and_that_it_is_not() {
    let limit = Duration::from_secs(10);
    let (client, mut script) = client();
    let n = client.watch::<i64>("n").max_age(limit);
    let (mut cached, mut or, mut mapped) = (n.cached(), n.clone().or(7).cached(), n.map(|n| n + 1).cached());
    let stream = script.accept(state(5, [TEN])).await;
    stream.open(Some(Duration::from_secs(60)));
    settle().await;
    assert_eq!((*cached.get(), *or.get(), *mapped.get()), (Some(10), 10, Some(11)));
    pass(limit).await;
    assert_eq!((*cached.get(), *or.get(), *mapped.get()), (None, 7, None));
    stream.say(heartbeat(5));
    settle().await;
    assert_eq!((*cached.get(), *or.get(), *mapped.get()), (Some(10), 10, Some(11)));
}

#[tokio::test(start_paused = true)]
async fn a_cached_reader_made_of_an_expired_handle_is_expired() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n").max_age(Duration::from_secs(10));
    script.accept(state(5, [TEN])).await.end(Disconnect::Ended);
    pass(Duration::from_secs(11)).await;
    assert_eq!((n.get(), *n.cached().get()), (None, None));
}

#[test]
fn a_cached_reader_of_a_fixed_client_sees_its_changes() {
    let client = Client::fixed([("n", 1_i64.into())]);
    let mut cached = client.watch::<i64>("n").cached();
    client.set("n", 2_i64);
    assert_eq!(*cached.get(), Some(2));
    client.delete("n");
    assert_eq!(*cached.get(), None);
}

/// A value never reaches a log.
#[test]
fn a_cached_reader_shows_that_it_is_one_and_no_value() {
    let cached = Client::fixed([("n", 4711_i64.into())]).watch::<i64>("n").cached();
    assert_eq!(format!("{cached:?}"), "Cached { .. }");
}
