//! Handles of what is computed from settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datastream_client::{Disconnect, Origin, State, Unavailable, Watch};
use futures_util::FutureExt as _;

use super::settle;
use crate::scripted::{Entry, change, client, deletion, heartbeat, state};
use crate::wire::within;

const TEN: Entry<'_> = ("n", 3, "int", "10");

#[tokio::test(start_paused = true)]
async fn a_mapped_handle_is_computed_once_for_each_change_and_not_at_reads() {
    let (client, mut script) = client();
    let calls = Arc::new(AtomicUsize::new(0));
    let n = client.watch::<i64>("n");
    let counted = calls.clone();
    let mut double = n.map(move |n| {
        counted.fetch_add(1, Ordering::Relaxed);
        n * 2
    });
    assert_eq!(double.get(), None);
    let stream = script.accept(state(5, [TEN])).await;
    within("ready", double.ready()).await.expect("it is there");
    within("the first value", double.changed()).await;
    (0..100).for_each(|_| assert_eq!(double.get(), Some(20)));
    stream.say(change(6, [("other", 6, "int", "1")]));
    stream.say(heartbeat(6));
    settle().await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    stream.say(change(7, [("n", 7, "int", "11")]));
    within("a change", double.changed()).await;
    assert_eq!((double.get(), double.clone().get(), calls.load(Ordering::Relaxed)), (Some(22), Some(22), 2));
    let status = double.status();
    assert_eq!((status.state, status.origin, status.revision), (State::Ready, Origin::Live, Some(7)));
    stream.say(change(8, [("n", 8, "int", "11")]));
    settle().await;
    assert_eq!(
        (double.status().revision, calls.load(Ordering::Relaxed)),
        (Some(8), 2),
        "the same, put again"
    );
    assert!(double.changed().now_or_never().is_none(), "which is no change");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_refuses_its_value_and_the_last_good_one_stays() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let odd = n.map(|n| if n % 2 == 1 { *n } else { panic!("on purpose") });
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    assert!(matches!(odd.try_get(), Err(Unavailable::Unusable { .. })), "{:?}", odd.try_get());
    assert_eq!(n.get(), Some(10), "its source is not concerned");
    stream.say(change(6, [("n", 6, "int", "11")]));
    settle().await;
    assert_eq!((odd.get(), odd.status().refusal), (Some(11), None));
    stream.say(change(7, [("n", 7, "int", "12")]));
    settle().await;
    let status = odd.status();
    assert_eq!((odd.get(), status.revision, status.unavailable), (Some(11), Some(6), None));
    let refusal = status.refusal.expect("12 was refused");
    assert_eq!(refusal.revision, 7);
    assert!(refusal.error.to_string().contains("panicked"), "{}", refusal.error);
    assert_eq!((n.get(), n.status().refusal), (Some(12), None));
}

#[tokio::test(start_paused = true)]
async fn a_mapped_handle_follows_refusals_and_deletions_of_its_source() {
    let (client, mut script) = client();
    let n = client.watch::<u16>("n");
    let text = n.map(u16::to_string).map(String::len);
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    assert_eq!(text.get(), Some(2));
    stream.say(change(6, [("n", 6, "int", "70000")]));
    settle().await;
    assert_eq!((text.get(), text.status().refusal.map(|refusal| refusal.revision)), (Some(2), Some(6)));
    stream.say(deletion(7, "n"));
    settle().await;
    assert!(matches!(text.try_get(), Err(Unavailable::Missing { .. })));
    stream.say(change(8, [("n", 8, "int", "100")]));
    settle().await;
    assert_eq!((text.get(), text.status().refusal), (Some(3), None));
}

#[tokio::test(start_paused = true)]
async fn a_mapped_handle_reads_at_once_and_keeps_its_key_watched() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    let late = n.map(|n| n + 1);
    assert_eq!(late.get(), Some(11), "what is known needs no waiting");
    drop(n);
    settle().await;
    stream.say(change(6, [("n", 6, "int", "20")]));
    settle().await;
    assert_eq!(late.get(), Some(21));
    drop(late);
    stream.dropped().await;
    assert_eq!(client.snapshot().keys().count(), 0, "nobody is left who watches it");
}

#[tokio::test(start_paused = true)]
async fn a_default_is_mapped_too() {
    let (client, mut script) = client();
    let text = client.watch::<i64>("n").or(7).map(|n| format!("<{n}>"));
    assert_eq!((text.get().as_str(), text.status().origin), ("<7>", Origin::Default));
    script.accept(state(5, [TEN])).await.end(Disconnect::Ended);
    settle().await;
    assert_eq!((text.get().as_str(), text.status().state), ("<10>", State::Stale));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_is_no_key_for_a_mapped_handle_and_is_never_sent() {
    let (client, mut script) = client();
    let bad = client.watch::<i64>("a//b").map(|n| n + 1);
    let _n = client.watch::<i64>("n");
    assert!(matches!(within("ready", bad.ready()).await, Err(Unavailable::NotAKey { .. })));
    assert_eq!(script.sync().await.0.keys, ["n"]);
}

#[test]
fn a_fixed_handle_can_be_mapped() {
    let doubled = Watch::fixed(2).map(|n| n * 2);
    assert_eq!((doubled.get(), doubled.status().origin), (Some(4), Origin::Fixed));
}
