//! Servers that change the history of their store.

use std::time::{Duration, Instant};

use super::{TEN, elsewhere};
use crate::hostile::{Hostile, left};
use crate::scripted::{change, reset, state};
use crate::wire::{eventually, within};

#[tokio::test]
pub(super) async fn row_78_a_history_that_flips_with_every_message_is_followed_without_new_requests() {
    let mut server = Hostile::start();
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    for round in 1..500_u64 {
        let message = reset(round % 7 + 1, [("n", round % 7 + 1, "int", &round.to_string())]);
        fed.say(if round % 2 == 0 { message } else { elsewhere(message) });
    }
    eventually("the last of them", || n.get() == Some(499)).await;
    assert_eq!(client.status().position.map(|position| position.revision), Some(499 % 7 + 1));
    // A late key does not become a storm of requests either.
    let _late = client.watch::<i64>("late");
    let mut requests = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(500) {
        fed.say(reset(3, [("n", 3, "int", "3")]));
        requests += usize::from(tokio::time::timeout(Duration::from_millis(1), server.asked()).await.is_ok());
    }
    assert!(requests <= 50, "{requests} requests in half a second");
}

#[tokio::test]
pub(super) async fn row_89_another_store_is_accepted_only_with_a_reset() {
    let mut server = Hostile::start();
    let client = server.client();
    let n = client.watch::<i64>("n");
    let fed = server.serve(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    fed.say(elsewhere(change(5, [("n", 5, "int", "66")])));
    left(&fed).await;
    assert_eq!(n.get(), Some(10));
    let fed = server.accept().await;
    fed.say(elsewhere(reset(2, [("n", 2, "int", "20")])));
    eventually("the other store", || n.get() == Some(20)).await;
    assert_eq!(client.status().position.map(|position| position.revision), Some(2));
}
