//! Overrides: what the operator of one application puts in place of what the server says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use datastream_client::{Client, Origin, State, Unavailable};

use futures_util::FutureExt as _;

use super::{pass, settle};
use crate::captured_log;
use crate::scripted::{self, Script, change, deletion, state};

const LOOK: Duration = Duration::from_millis(1_100);

fn overridden(path: &Path) -> (Client, Script) {
    let (handed, script) = scripted::transport();
    (Client::builder("http://here:1").override_file(path).connect_over(handed), script)
}

#[tokio::test(start_paused = true)]
async fn an_override_stands_above_the_live_value_until_it_ends() {
    captured_log::capture();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    let (client, mut script) = overridden(&path);
    let (n, other) = (client.watch::<i64>("a/unique"), client.watch::<i64>("other"));
    let stream = script.accept(state(5, [("a/unique", 3, "int", "1"), ("other", 3, "int", "2")])).await;
    pass(LOOK).await;
    assert_eq!((n.get(), n.status().origin), (Some(1), Origin::Live));

    fs::write(&path, r#"{"a/unique": 987654, "unwatched": true}"#).expect("the folder can be written");
    pass(LOOK).await;
    let status = n.status();
    assert_eq!((n.get(), status.origin, status.state), (Some(987654), Origin::Override, State::Ready));
    assert_eq!((status.revision, other.get(), other.status().origin), (None, Some(2), Origin::Live));
    assert_eq!(client.snapshot().get::<i64>("a/unique"), Ok(Some(987654)));
    assert!(!client.snapshot().covers("unwatched"));
    assert_eq!(client.status().position.map(|position| position.revision), Some(5));

    stream.say(change(6, [("a/unique", 6, "int", "4"), ("other", 6, "int", "5")]));
    settle().await;
    assert_eq!((n.get(), other.get()), (Some(987654), Some(5)));

    fs::remove_file(&path).expect("it is there");
    pass(LOOK).await;
    assert_eq!((n.get(), n.status().origin, n.status().revision), (Some(4), Origin::Live, Some(6)));
    let lines = captured_log::lines_with("a/unique");
    let warned =
        |text: &str| lines.iter().filter(|line| line.contains("WARN") && line.contains(text)).count();
    assert_eq!((warned("an override replaces"), warned("an override ends")), (1, 1), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("987654")), "a value never reaches the log: {lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_override_needs_no_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    fs::write(&path, r#"{"n": 7, "timeout": "30s"}"#).expect("the folder can be written");
    let (client, _script) = overridden(&path);
    let (n, timeout, other) =
        (client.watch::<i64>("n"), client.watch::<Duration>("timeout"), client.watch::<i64>("other"));
    settle().await;
    assert_eq!((n.get(), timeout.get(), other.get()), (Some(7), Some(Duration::from_secs(30)), None));
    assert_eq!((n.status().origin, client.snapshot().get::<i64>("n")), (Origin::Override, Ok(Some(7))));
    fs::write(&path, "{}").expect("the folder can be written");
    pass(LOOK).await;
    assert!(matches!(n.try_get(), Err(Unavailable::NotReady { .. })), "nothing is known again");
}

#[tokio::test(start_paused = true)]
async fn an_override_that_cannot_be_used_is_refused_and_the_live_value_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    let (client, mut script) = overridden(&path);
    let (narrow, wide) = (client.watch::<u8>("n"), client.watch::<i64>("n"));
    let stream = script.accept(state(5, [("n", 3, "int", "1")])).await;
    settle().await;
    let mut narrow_changes = narrow.clone();
    narrow_changes.changed().await;
    fs::write(&path, r#"{"n": 300}"#).expect("the folder can be written");
    pass(LOOK).await;
    assert_eq!(narrow_changes.changed().now_or_never(), None, "a refused value is no change");
    assert_eq!((narrow.get(), narrow.status().origin), (Some(1), Origin::Live));
    assert_eq!((wide.get(), wide.status().origin), (Some(300), Origin::Override));
    assert!(narrow.status().refusal.is_some() && wide.status().refusal.is_none());
    stream.say(change(6, [("n", 6, "int", "2")]));
    settle().await;
    narrow_changes.changed().await;
    assert_eq!((narrow.get(), wide.get()), (Some(2), Some(300)), "it is the live value that goes on");
    assert!(narrow.status().refusal.is_some());
    stream.say(change(7, [("n", 7, "int", "400")]));
    settle().await;
    assert_eq!(narrow.get(), Some(2), "and the last good one of it");
    assert_eq!(narrow_changes.changed().now_or_never(), None, "which is no change");
    stream.say(deletion(8, "n"));
    settle().await;
    assert_eq!((narrow.get(), wide.get()), (None, Some(300)), "what was deleted does not come back");
    fs::remove_file(&path).expect("it is there");
    pass(LOOK).await;
    assert_eq!((narrow.get(), wide.get()), (None, None));
    assert_eq!(narrow.status().refusal, None);
}

#[tokio::test(start_paused = true)]
async fn no_override_outlives_its_end_in_a_handle_that_refuses_the_live_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    let (client, mut script) = overridden(&path);
    let (n, late) = (client.watch::<u8>("n"), client.watch::<u8>("late"));
    let stream = script.accept(state(5, [("n", 3, "int", "1"), ("late", 3, "int", "999")])).await;
    fs::write(&path, r#"{"n": 77, "late": 77}"#).expect("the folder can be written");
    pass(LOOK).await;
    stream.say(change(6, [("n", 6, "int", "300")]));
    settle().await;
    assert_eq!((n.get(), late.get()), (Some(77), Some(77)));
    fs::write(&path, "{}").expect("the folder can be written");
    pass(LOOK).await;
    assert_eq!((n.get(), n.status().origin), (Some(1), Origin::Live), "the last good value that was live");
    assert!(matches!(late.try_get(), Err(Unavailable::Unusable { .. })), "there never was one");
}

#[tokio::test(start_paused = true)]
async fn no_override_outlives_its_end_in_a_map_that_refuses_the_live_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    let (client, mut script) = overridden(&path);
    let map = client.watch_prefix::<u8>("p/");
    let stream = script.accept(state(5, [("p/n", 3, "int", "1"), ("p/late", 3, "int", "999")])).await;
    fs::write(&path, r#"{"p/n": 77, "p/late": 77}"#).expect("the folder can be written");
    pass(LOOK).await;
    let read = || ["p/n", "p/late"].map(|key| map.get().expect("a map").get(key).copied());
    stream.say(change(6, [("p/n", 6, "int", "300")]));
    settle().await;
    assert_eq!(read(), [Some(77), Some(77)]);
    fs::write(&path, r#"{"p/n": 500}"#).expect("the folder can be written");
    pass(LOOK).await;
    assert_eq!(read(), [Some(1), None], "one that cannot be used brings back none that could");
    fs::write(&path, "{}").expect("the folder can be written");
    pass(LOOK).await;
    assert_eq!((read(), map.status().origin), ([Some(1), None], Origin::Live), "the last good that was live");
}

#[tokio::test(start_paused = true)]
async fn an_override_that_became_the_live_value_of_a_key_in_a_map_is_its_last_good_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    let (client, mut script) = overridden(&path);
    let mut map = client.watch_prefix::<u8>("p/");
    let stream = script.accept(state(5, [("p/n", 3, "int", "1")])).await;
    fs::write(&path, r#"{"p/n": 77}"#).expect("the folder can be written");
    pass(LOOK).await;
    stream.say(change(6, [("p/n", 6, "int", "77")]));
    settle().await;
    map.changed().await;
    fs::remove_file(&path).expect("it is there");
    pass(LOOK).await;
    assert_eq!((map.status().origin, map.changed().now_or_never()), (Origin::Live, None), "no value changed");
    stream.say(change(7, [("p/n", 7, "int", "300")]));
    settle().await;
    assert_eq!(map.get().expect("a map").get("p/n"), Some(&77));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_no_object_leaves_the_overrides_as_they_were() {
    captured_log::capture();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    fs::write(&path, r#"{"n": 7}"#).expect("the folder can be written");
    let (client, _script) = overridden(&path);
    let n = client.watch::<i64>("n");
    settle().await;
    for bad in ["{\"n\": 76543", "[76543]", ""] {
        fs::write(&path, bad).expect("the folder can be written");
        pass(5 * LOOK).await;
        assert_eq!(n.get(), Some(7), "{bad}");
    }
    let lines = captured_log::lines_with(&format!("{}", path.display()));
    assert_eq!(lines.len(), 3, "one for each: {lines:?}");
    assert!(!lines.iter().any(|line| line.contains("76543")), "{lines:?}");
    fs::write(&path, r#"{"n": 8}"#).expect("the folder can be written");
    pass(LOOK).await;
    assert_eq!(n.get(), Some(8));
}

#[tokio::test(start_paused = true)]
async fn an_override_reaches_no_file_of_the_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, cache) = (folder.path().join("overrides.json"), folder.path().join("cache"));
    fs::write(&path, r#"{"n": 7, "only": 1}"#).expect("the folder can be written");
    let (handed, mut script) = scripted::transport();
    let builder = Client::builder("http://here:1").override_file(&path).cache_file(&cache);
    let client = builder.connect_over(handed);
    let (n, only) = (client.watch::<i64>("n"), client.watch::<i64>("only"));
    let _stream = script.accept(state(5, [("n", 3, "int", "1")])).await;
    settle().await;
    assert_eq!((n.get(), only.get()), (Some(7), Some(1)));
    let (handed, _script) = scripted::transport();
    let client = Client::builder("http://here:1").cache_file(&cache).connect_over(handed);
    let (n, only) = (client.watch::<i64>("n"), client.watch::<i64>("only"));
    settle().await;
    assert_eq!((n.get(), only.get()), (Some(1), None));
}
