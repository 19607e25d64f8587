//! Several handles read as one.

use datastream_client::{Origin, State, Unavailable, Watch, combine};
use futures_util::FutureExt as _;

use super::{pass, settle};
use crate::scripted::{Entry, change, client, deletion, reset, resume, state};
use crate::wire::within;
use std::time::Duration;

const A: Entry<'_> = ("a", 5, "int", "1");
const B: Entry<'_> = ("b", 5, "int", "2");

#[tokio::test(start_paused = true)]
async fn handles_that_are_combined_change_together() {
    let (client, mut script) = client();
    let (a, b) = (client.watch::<u16>("a"), client.watch::<i64>("b"));
    let mut both = combine((&a, &b));
    assert!(matches!(both.try_get(), Err(Unavailable::NotReady { .. })));
    let stream = script.accept(state(5, [A, B])).await;
    within("ready", both.ready()).await.expect("both are there");
    both.changed().now_or_never();
    assert_eq!(both.get(), Some((1, 2)));
    stream.say(change(6, [("b", 6, "int", "20"), ("a", 6, "int", "10")]));
    within("a change", both.changed()).await;
    assert_eq!(both.get(), Some((10, 20)));
    assert!(both.changed().now_or_never().is_none(), "one commit is one change");
    stream.say(change(7, [("b", 7, "int", "21")]));
    within("a change of one", both.changed()).await;
    assert_eq!((both.get(), both.status().revision), (Some((10, 21)), Some(7)));
    assert_eq!((both.status().state, both.status().origin), (State::Ready, Origin::Live));
}

#[tokio::test(start_paused = true)]
async fn a_function_of_a_combination_never_sees_half_a_commit() {
    let (client, mut script) = client();
    let (a, b) = (client.watch::<i64>("a"), client.watch::<i64>("b"));
    let (seen, all) = std::sync::mpsc::channel();
    let _computed = combine((&a, &b)).map(move |pair| _ = seen.send(*pair));
    let stream = script.accept(state(5, [A, B])).await;
    stream.say(change(6, [("b", 6, "int", "20"), ("a", 6, "int", "10")]));
    settle().await;
    assert_eq!(all.try_iter().collect::<Vec<_>>(), [(1, 2), (10, 20)]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_keeps_all_that_are_combined_as_they_were() {
    let (client, mut script) = client();
    let (a, b) = (client.watch::<u16>("a"), client.watch::<i64>("b"));
    let mut both = combine((&a, &b));
    let stream = script.accept(state(5, [A, B])).await;
    settle().await;
    both.changed().now_or_never();
    stream.say(change(6, [("a", 6, "int", "70000"), ("b", 6, "int", "20")]));
    settle().await;
    assert_eq!((b.get(), both.get()), (Some(20), Some((1, 2))), "a new b beside an old a would be torn");
    assert_eq!(both.status().refusal.map(|refusal| refusal.key).as_deref(), Some("a"));
    assert!(both.changed().now_or_never().is_none(), "a refusal is no change");
    stream.say(change(7, [("a", 7, "int", "7")]));
    within("it heals", both.changed()).await;
    assert_eq!((both.get(), both.status().refusal), (Some((7, 20)), None));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_key_takes_the_combination_away_and_brings_it_back() {
    let (client, mut script) = client();
    let (a, b) = (client.watch::<u16>("a"), client.watch::<i64>("b"));
    let both = combine((&a, &b));
    let stream = script.accept(state(5, [A, B])).await;
    stream.say(deletion(6, "b"));
    settle().await;
    assert!(matches!(both.try_get(), Err(Unavailable::Missing { key }) if key == "b"));
    assert_eq!(both.clone().or((0, 0)).get(), (0, 0));
    stream.say(reset(2, [("a", 1, "int", "1"), ("b", 1, "int", "2")]));
    settle().await;
    assert_eq!(both.get(), Some((1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_combination_of_known_handles_is_known_and_keeps_them_followed() {
    let (client, mut script) = client();
    let (a, b) = (client.watch::<u16>("a"), client.watch::<i64>("b"));
    let stream = script.accept(state(5, [A, B])).await;
    settle().await;
    let both = combine((&a, &b));
    let nested = combine((&both, &a, &Watch::fixed("fixed")));
    drop((a, b, both));
    settle().await;
    assert_eq!(nested.get(), Some(((1, 2), 1, "fixed")));
    stream.say(change(6, [("a", 6, "int", "10"), ("b", 6, "int", "20")]));
    settle().await;
    assert_eq!(nested.get(), Some(((10, 20), 10, "fixed")), "what it is made of is offered first");
    drop(nested);
    settle().await;
    assert!(!client.snapshot().covers("a"), "with the last handle the keys leave");
}

#[tokio::test(start_paused = true)]
async fn a_late_part_joins_and_structs_are_combined_with_keys() {
    let (client, mut script) = client();
    let a = client.watch::<u16>("a");
    let stream = script.accept(state(5, [A])).await;
    settle().await;
    let both = combine((&a, &client.bind::<std::collections::BTreeMap<String, i64>>("p/")));
    let joining = script.subscribe().await;
    stream.say(change(6, [("a", 6, "int", "6")]));
    pass(Duration::from_secs(1)).await;
    assert_eq!(both.get(), None);
    joining.say(resume(6, [("a", 6, "int", "6"), ("p/x", 1, "int", "1")]));
    within("ready", both.ready()).await.expect("it joined");
    joining.say(change(7, [("a", 7, "int", "7"), ("p/x", 7, "int", "7")]));
    settle().await;
    let (a, map) = both.get().expect("both are there");
    assert_eq!((a, map.get("x")), (7, Some(&7)));
}

#[tokio::test(start_paused = true)]
async fn handles_of_several_clients_are_not_combined() {
    let (one, mut script) = client();
    let (other, mut others) = client();
    let (a, b) = (one.watch::<i64>("a"), other.watch::<i64>("b"));
    let both = combine((&a, &b));
    script.accept(state(5, [A])).await;
    others.accept(state(5, [B])).await;
    settle().await;
    assert_eq!((a.get(), b.get()), (Some(1), Some(2)));
    assert!(matches!(both.ready().await, Err(Unavailable::SeveralClients { .. })));
    let no_key = combine((&a, &one.watch::<i64>("/")));
    settle().await;
    assert!(matches!(no_key.ready().await, Err(Unavailable::NotAKey { .. })), "{no_key:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_panics_refuses_the_combination_and_nothing_else() {
    #[derive(Debug)]
    struct Fragile(i64);

    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(self.0 != 13, "on purpose");
            Self(self.0)
        }
    }

    impl datastream_client::Value for Fragile {
        const READS: &'static [datastream_client::ValueType] = i64::READS;
        const WRITES: datastream_client::ValueType = i64::WRITES;

        fn from_text(
            value_type: datastream_client::ValueType,
            text: &bytes::Bytes,
        ) -> Result<Self, datastream_client::ValueError> {
            i64::from_text(value_type, text).map(Self)
        }

        fn to_text(&self) -> Result<bytes::Bytes, datastream_client::ValueError> {
            self.0.to_text()
        }
    }

    let (client, mut script) = client();
    let (a, b) = (client.watch::<Fragile>("a"), client.watch::<i64>("b"));
    let both = combine((&a, &b));
    let stream = script.accept(state(5, [("a", 5, "int", "13"), B])).await;
    settle().await;
    assert!(both.load().as_ref().is_none() && b.get() == Some(2));
    stream.say(change(6, [("a", 6, "int", "14")]));
    settle().await;
    assert_eq!(both.get().map(|(a, b)| (a.0, b)), Some((14, 2)));
}
