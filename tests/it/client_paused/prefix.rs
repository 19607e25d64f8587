//! The keys below a prefix as a live map.

use std::sync::Arc;

use bytes::Bytes;
use datastream::proto::DataResponse;
use datastream_client::{
    Change, Client, Disconnect, Entries, Unavailable, Value, ValueError, ValueType, Watch,
};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::settle;
use crate::scripted::{Entry, Script, Subscribed, change, client, deletion, reset, state};
use crate::wire::within;

const A: Entry<'_> = ("p/a", 3, "int", "1");
const B: Entry<'_> = ("p/b/c", 4, "int", "2");

/// A client that follows `p/`, which holds two keys.
async fn followed() -> (Client, Watch<Entries<u16>>, Subscribed, Script) {
    let (client, mut script) = client();
    let map = client.watch_prefix::<u16>("p/");
    let stream = script.accept(state(5, [A, B])).await;
    within("ready", map.ready()).await.expect("it is there");
    (client, map, stream, script)
}

/// `p/a=1 p/b/c=2`, by which tests compare.
fn text(map: &Watch<Entries<u16>>) -> String {
    let map = map.get().expect("there is a map");
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// What changed since the stream was asked last, such as `p/a+1 p/b/c-`.
fn told(changes: &mut (impl Stream<Item = (Arc<str>, Change<u16>)> + Unpin)) -> String {
    let told = std::iter::from_fn(|| changes.next().now_or_never().flatten());
    let text = told.map(|(key, change)| match change {
        Change::Added(value) => format!("{key}+{value}"),
        Change::Changed(value) => format!("{key}={value}"),
        Change::Removed => format!("{key}-"),
        Change::Refused(refusal) => format!("{key}!{}", refusal.revision),
        other => format!("{key}{other:?}"),
    });
    text.collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_prefix_is_a_map_that_follows_birth_change_and_death() {
    let (_client, mut map, stream, _script) = followed().await;
    let mut changes = map.changes();
    assert_eq!((&*text(&map), &*told(&mut changes)), ("p/a=1 p/b/c=2", "p/a+1 p/b/c+2"));
    map.changed().now_or_never();
    stream.say(change(6, [("p/a", 6, "int", "10"), ("p/new", 6, "int", "3")]));
    settle().await;
    assert_eq!((&*text(&map), &*told(&mut changes)), ("p/a=10 p/b/c=2 p/new=3", "p/a=10 p/new+3"));
    assert!(map.changed().now_or_never().is_some() && map.changed().now_or_never().is_none());
    stream.say(deletion(7, "p/b/c"));
    settle().await;
    assert_eq!((&*text(&map), &*told(&mut changes)), ("p/a=10 p/new=3", "p/b/c-"));
    assert_eq!(map.load().as_ref().and_then(|map| map.get("p/a")), Some(&10));
    assert_eq!(map.status().revision, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_bad_value_keeps_its_last_good_one_and_harms_no_other() {
    let (_client, map, stream, _script) = followed().await;
    let mut changes = map.changes();
    told(&mut changes);
    stream
        .say(change(6, [("p/a", 6, "int", "70000"), ("p/b/c", 6, "int", "20"), ("p/x", 6, "bool", "true")]));
    settle().await;
    assert_eq!((&*text(&map), &*told(&mut changes)), ("p/a=1 p/b/c=20", "p/a!6 p/b/c=20 p/x!6"));
    let entries = map.get().expect("a map");
    let refused: Vec<_> =
        entries.refusals().map(|refusal| (&*refusal.key, refusal.error.to_string())).collect();
    assert_eq!(refused.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["p/a", "p/x"]);
    assert!(refused[0].1.contains("u16") && !refused[0].1.contains("70000"), "{refused:?}");
    assert_eq!(map.status().refusal.map(|refusal| refusal.key).as_deref(), Some("p/a"));
    stream.say(change(7, [("p/a", 7, "int", "7")]));
    stream.say(deletion(8, "p/x"));
    settle().await;
    assert_eq!((&*text(&map), &*told(&mut changes)), ("p/a=7 p/b/c=20", "p/a=7 p/x-"));
    assert_eq!((map.status().refusal, map.get().expect("a map").refusals().count()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reset_replaces_the_map_and_tells_what_is_different() {
    let (_client, map, stream, mut script) = followed().await;
    let mut changes = map.changes();
    told(&mut changes);
    stream.say(reset(2, [("p/a", 1, "int", "1"), ("p/z", 2, "int", "26")]));
    settle().await;
    assert_eq!((&*text(&map), &*told(&mut changes)), ("p/a=1 p/z=26", "p/b/c- p/z+26"));
    stream.end(Disconnect::Ended);
    settle().await;
    assert_eq!(text(&map), "p/a=1 p/z=26", "the last map stays");
    script.subscribe().await.say(reset(1, []));
    settle().await;
    assert_eq!((&*text(&map), &*told(&mut changes)), ("", "p/a- p/z-"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_what_is_different_and_not_each_change() {
    let (_client, map, stream, _script) = followed().await;
    let mut changes = map.changes();
    told(&mut changes);
    for revision in 6..100 {
        stream.say(change(revision, [("p/a", revision, "int", &revision.to_string())]));
    }
    stream.say(change(100, [("p/brief", 100, "int", "1")]));
    stream.say(deletion(101, "p/brief"));
    settle().await;
    assert_eq!(told(&mut changes), "p/a=99");
}

#[tokio::test(start_paused = true)]
async fn nothing_below_a_prefix_is_an_empty_map() {
    let (client, mut script) = client();
    let map = client.watch_prefix::<u16>("p");
    assert!(map.get().is_none(), "nothing is known yet");
    let stream = script.accept(state(5, [])).await;
    within("ready", map.ready()).await.expect("it is known to be empty");
    assert_eq!(text(&map), "");
    stream.say(change(6, [("p/a", 6, "int", "1")]));
    settle().await;
    assert_eq!(text(&map), "p/a=1");
}

#[tokio::test(start_paused = true)]
async fn a_denied_prefix_has_no_map() {
    let (client, mut script) = client();
    let map = client.watch_prefix::<u16>("p/");
    let denied = vec!["p/".to_owned()];
    script.accept(DataResponse { denied, ..state(5, []) }).await;
    assert!(matches!(within("ready", map.ready()).await, Err(Unavailable::Denied { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_decoded_once_and_its_panics_are_its_own() {
    struct Bomb(i64);

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0 != 13 || std::thread::panicking(), "on purpose");
        }
    }

    impl Value for Bomb {
        const READS: &'static [ValueType] = i64::READS;
        const WRITES: ValueType = i64::WRITES;

        fn from_text(value_type: ValueType, text: &Bytes) -> Result<Self, ValueError> {
            match i64::from_text(value_type, text)? {
                0 => panic!("on purpose"),
                number => Ok(Self(number)),
            }
        }

        fn to_text(&self) -> Result<Bytes, ValueError> {
            self.0.to_text()
        }
    }

    let (client, mut script) = client();
    let map = client.watch_prefix::<Bomb>("p/");
    let stream = script.accept(state(5, [("p/a", 3, "int", "13"), ("p/b", 4, "int", "0")])).await;
    settle().await;
    let read = || map.get().expect("a map").iter().map(|(_, bomb)| bomb.0).collect::<Vec<_>>();
    assert_eq!(read(), [13]);
    stream.say(change(6, [("p/a", 6, "int", "14")]));
    stream.say(change(7, [("p/b", 7, "int", "15")]));
    settle().await;
    assert_eq!(read(), [14, 15], "neither panic harms the client");
}

#[tokio::test(start_paused = true)]
async fn keys_structs_and_maps_of_one_client_are_of_one_position() {
    let (client, mut map, stream, _script) = followed().await;
    let a = client.watch::<u16>("p/a");
    let outer = client.watch_prefix::<u16>("p/b/");
    settle().await;
    assert_eq!((a.get(), text(&outer)), (Some(1), "p/b/c=2".to_owned()), "what is covered is known at once");
    map.changed().now_or_never();
    stream.say(change(6, [("p/a", 6, "int", "10"), ("p/b/c", 6, "int", "20"), ("p/b", 6, "int", "5")]));
    within("a change", map.changed()).await;
    settle().await;
    assert_eq!((a.get(), text(&outer)), (Some(10), "p/b/c=20".to_owned()));
    assert_eq!(text(&map), "p/a=10 p/b=5 p/b/c=20");
}
