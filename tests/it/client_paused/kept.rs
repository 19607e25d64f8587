//! What is made of several keys, with files and overrides; and a client that is closed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use datastream_client::{Client, Origin, State, Unavailable, combine};
use futures_util::FutureExt as _;
use serde::Deserialize;

use super::{pass, settle};
use crate::captured_log;
use crate::scripted::{self, Script, change, resume, state};

#[derive(Clone, Deserialize)]
struct Pair {
    a: i64,
    b: i64,
}

fn keeping(cache: &Path, overrides: &Path) -> (Client, Script) {
    let (handed, script) = scripted::transport();
    let builder = Client::builder("http://here:1").cache_file(cache).override_file(overrides);
    (builder.connect_over(handed), script)
}

#[tokio::test(start_paused = true)]
async fn structs_maps_and_combinations_begin_with_the_file_of_a_closed_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, overrides) = (folder.path().join("cache"), folder.path().join("overrides"));
    let (client, mut script) = keeping(&cache, &overrides);
    let _handles = (client.bind::<Pair>("p/"), client.watch::<i64>("n"));
    let entries = [("p/a", 3, "int", "0"), ("p/b", 4, "int", "2"), ("n", 5, "int", "3")];
    let stream = script.accept(state(5, entries)).await;
    settle().await;
    assert!(cache.exists(), "the first state is written at once");
    stream.say(change(6, [("p/a", 6, "int", "1")]));
    settle().await;
    client.close().await; // What the next client begins with is written when this returns.

    let (client, mut script) = keeping(&cache, &overrides);
    let (pair, map) = (client.bind::<Pair>("p/"), client.watch_prefix::<i64>("p/"));
    let n = client.watch::<i64>("n");
    let (both, next) = (combine((&pair, &n)), n.map(|n| n + 1));
    let stream = script.subscribe().await;
    settle().await;
    let origins = || [pair.status(), map.status(), both.status(), next.status()].map(|status| status.origin);
    assert_eq!((pair.get().map(|pair| pair.a + pair.b), next.get()), (Some(3), Some(4)));
    assert_eq!((origins(), client.status().state), ([Origin::Cache; 4], State::Stale));

    fs::write(&overrides, r#"{"p/b": 7}"#).expect("the folder can be written");
    pass(Duration::from_millis(1_100)).await;
    assert_eq!(
        (pair.get().map(|pair| pair.b), map.get().and_then(|map| map.get("p/b").copied())),
        (Some(7), Some(7))
    );
    assert_eq!(origins(), [Origin::Override, Origin::Override, Origin::Override, Origin::Cache]);

    fs::remove_file(&overrides).expect("it is there");
    stream.say(resume(6, []));
    pass(Duration::from_millis(1_100)).await;
    assert_eq!((pair.get().map(|pair| pair.b), both.get().map(|(pair, n)| pair.a + n)), (Some(2), Some(4)));
    assert_eq!((origins(), both.status().state), ([Origin::Live; 4], State::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_combination_that_the_server_confirms_is_no_longer_that_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, overrides) = (folder.path().join("cache"), folder.path().join("overrides"));
    let (client, mut script) = keeping(&cache, &overrides);
    let _handles = (client.watch::<i64>("a"), client.watch::<i64>("b"));
    let _stream = script.accept(state(5, [("a", 4, "int", "1"), ("b", 5, "int", "2")])).await;
    settle().await;
    client.close().await;

    let (client, mut script) = keeping(&cache, &overrides);
    let mut both = combine((&client.watch::<i64>("a"), &client.watch::<i64>("b")));
    let stream = script.subscribe().await;
    settle().await;
    assert_eq!((both.get(), both.status().origin), (Some((1, 2)), Origin::Cache));
    both.changed().await;
    stream.say(resume(6, []));
    settle().await;
    let status = both.status();
    assert_eq!((status.origin, status.state, status.revision), (Origin::Live, State::Ready, Some(6)));
    assert_eq!((both.get(), both.changed().now_or_never()), (Some((1, 2)), None), "its values stayed");
}

#[tokio::test(start_paused = true)]
async fn a_mapped_value_that_stays_is_still_that_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, overrides) = (folder.path().join("cache"), folder.path().join("overrides"));
    let (client, mut script) = keeping(&cache, &overrides);
    let _n = client.watch::<i64>("n");
    let _stream = script.accept(state(5, [("n", 5, "int", "11")])).await;
    settle().await;
    client.close().await;

    let (client, mut script) = keeping(&cache, &overrides);
    let odd = client.watch::<i64>("n").map(|n| if n % 2 == 1 { *n } else { panic!("on purpose") });
    let stream = script.subscribe().await;
    stream.say(resume(6, [("n", 6, "int", "12")]));
    settle().await;
    let status = odd.status();
    assert_eq!((odd.get(), status.origin, status.revision), (Some(11), Origin::Cache, Some(5)));
    assert!(status.refusal.is_some_and(|refusal| refusal.revision == 6));
}

#[tokio::test(start_paused = true)]
async fn what_the_file_has_and_nobody_can_use_is_refused_once() {
    captured_log::capture();
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, overrides) = (folder.path().join("cache"), folder.path().join("overrides"));
    let (client, mut script) = keeping(&cache, &overrides);
    let _text = client.watch::<String>("refused/once");
    let _stream = script.accept(state(5, [("refused/once", 5, "string", "ten")])).await;
    settle().await;
    client.close().await;

    let (client, mut script) = keeping(&cache, &overrides);
    let number = client.watch::<i64>("refused/once");
    let stream = script.subscribe().await;
    settle().await;
    stream.say(resume(5, []));
    settle().await;
    assert_eq!(number.status().state, State::Error);
    let refusals = || captured_log::lines_with(r#"key="refused/once""#).len();
    assert_eq!(refusals(), 1);
    stream.say(change(6, [("refused/once", 6, "string", "ten")]));
    settle().await;
    assert_eq!(refusals(), 2, "it came again");
}

#[tokio::test(start_paused = true)]
async fn what_only_an_override_said_of_a_part_is_gone_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, overrides) = (folder.path().join("cache"), folder.path().join("overrides"));
    fs::write(&overrides, r#"{"a": 1, "b": 2}"#).expect("the folder can be written");
    let (client, _script) = keeping(&cache, &overrides);
    let both = combine((&client.watch::<i64>("a"), &client.watch::<i64>("b")));
    settle().await;
    assert_eq!((both.get(), client.status().state), (Some((1, 2)), State::Stale));
    fs::write(&overrides, r#"{"a": 1}"#).expect("the folder can be written");
    pass(Duration::from_millis(1_100)).await;
    assert!(matches!(both.try_get(), Err(Unavailable::NotReady { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_age_counts_from_what_the_file_was_confirmed_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, overrides) = (folder.path().join("cache"), folder.path().join("overrides"));
    let (client, mut script) = keeping(&cache, &overrides);
    let _n = client.watch::<i64>("n");
    let _stream = script.accept(state(5, [("n", 5, "int", "3")])).await;
    settle().await;
    client.close().await;

    let (client, _script) = keeping(&cache, &overrides);
    let n = client.watch::<i64>("n");
    let (old, young) = (n.clone().max_age(Duration::ZERO), n.clone().max_age(Duration::from_secs(3600)));
    settle().await;
    assert_eq!((n.get(), old.get(), young.get()), (Some(3), None, Some(3)));
}

#[tokio::test]
async fn a_fixed_client_has_nothing_to_write() {
    let client = Client::fixed([("n", 1_i64.into())]);
    assert!(client.write_bootstrap("nowhere").await.is_err());
}
