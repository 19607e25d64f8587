//! What is merely odd: it is dropped, or read as what it can mean, and the stream goes on.

use std::collections::HashMap;

use datastream::proto::DataResponse;
use datastream_client::{Client, Watch};
use datastream_server::testing::ScriptedStream;

use super::TEN;
use crate::hostile::Hostile;
use crate::scripted::{change, deletion, state};
use crate::wire::{eventually, within};

/// A client that follows `n`, which is 10, and its stream.
async fn live() -> (Hostile, Client, Watch<i64>, ScriptedStream) {
    let mut server = Hostile::start();
    let client = server.client();
    let mut n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("the first value", n.changed()).await;
    (server, client, n, fed)
}

/// Whether a change of `n` to 12 is the next that is seen, on the same stream.
async fn goes_on(client: &Client, mut n: Watch<i64>, fed: &ScriptedStream) {
    fed.say(change(100, [("n", 100, "int", "12")]));
    within("the next", n.changed()).await;
    assert_eq!(n.get(), Some(12), "there was no other change between");
    assert_eq!(client.status().last_error, None);
}

#[tokio::test]
pub(super) async fn row_79_a_key_that_nobody_asked_for_is_dropped() {
    let (_server, client, n, fed) = live().await;
    fed.say(change(6, [("other", 6, "int", "1")]));
    goes_on(&client, n, &fed).await;
    assert_eq!(client.snapshot().keys().collect::<Vec<_>>(), ["n"], "what is not watched is not kept");
}

#[tokio::test]
pub(super) async fn row_80_the_same_change_a_thousand_times_is_one() {
    let (_server, client, mut n, fed) = live().await;
    (0..1_000).for_each(|_| fed.say(change(8, [("n", 8, "int", "11")])));
    within("the first of them", n.changed()).await;
    assert_eq!(n.get(), Some(11));
    // And one that is older than it.
    fed.say(change(9, [("n", 4, "int", "10")]));
    goes_on(&client, n, &fed).await;
}

#[tokio::test]
pub(super) async fn row_82_a_tombstone_of_an_unknown_key_is_dropped() {
    let (_server, client, n, fed) = live().await;
    fed.say(deletion(7, "never/there"));
    goes_on(&client, n, &fed).await;
}

#[tokio::test]
pub(super) async fn row_83_of_two_names_of_a_key_that_of_the_map_counts() {
    let (_server, client, mut n, fed) = live().await;
    let mut odd = change(8, [("n", 8, "int", "11")]);
    odd.data.values_mut().for_each(|data| data.key = "somebody/else".to_owned());
    fed.say(odd);
    within("the key of the map counts", n.changed()).await;
    assert_eq!(n.get(), Some(11));
    goes_on(&client, n, &fed).await;
}

#[tokio::test]
pub(super) async fn row_90_times_at_the_end_of_all_time_do_no_harm() {
    let (_server, client, n, fed) = live().await;
    let times = [(253_402_300_799, 999_999_999), (i64::MAX, -1), (i64::MIN, i32::MIN), (-1, i32::MAX)];
    for (revision, (seconds, nanos)) in (6..).zip(times) {
        let mut odd = change(revision, [("n", revision, "int", "11")]);
        odd.data
            .values_mut()
            .for_each(|data| data.updated_at = Some(prost_types::Timestamp { seconds, nanos }));
        odd.source_age = Some(prost_types::Duration { seconds, nanos });
        fed.say(odd);
    }
    eventually("all of them", || client.status().position.is_some_and(|at| at.revision == 9)).await;
    assert_eq!(n.get(), Some(11));
    let _shown = format!("{:?} {:?}", n.status(), client.status());
    fed.say(DataResponse { source_age: None, ..change(100, [("n", 100, "int", "12")]) });
    eventually("the next", || n.get() == Some(12)).await;
    assert_eq!(client.status().last_error, None);
}

#[tokio::test]
async fn a_server_that_denies_everything_twice_over_blinds_no_handle() {
    let mut server = Hostile::start();
    let client = server.client();
    let (n, m) = (client.watch::<i64>("n"), client.watch::<i64>("m"));
    let denied: Vec<String> = (0..10_000).map(|round| format!("never/asked/{round}")).collect();
    let denied = [denied, vec!["m".to_owned(), "m".to_owned(), "//".to_owned(), String::new()]].concat();
    let fed = server.serve(DataResponse { denied, ..state(5, [TEN]) }).await;
    within("ready", n.ready()).await.expect("it is there");
    assert!(within("denied", m.ready()).await.is_err());
    fed.say(DataResponse { data: HashMap::new(), ..change(6, []) });
    fed.say(change(7, [("m", 7, "int", "1")]));
    eventually("granted after all", || m.get() == Some(1)).await;
}
