//! A struct that is read from the keys below a prefix.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use datastream::proto::DataResponse;
use datastream_client::{Client, Disconnect, Origin, Seen, State, Unavailable, ValueError, Watch};
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::settle;
use crate::captured_log;
use crate::scripted::{Entry, Subscribed, change, client, deletion, reset, resume, state};
use crate::wire::within;

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Limits {
    max: u16,
    #[serde(default)]
    name: String,
}

fn limits(max: u16, name: &str) -> Option<Limits> {
    Some(Limits { max, name: name.to_owned() })
}

const MAX: Entry<'_> = ("limits/max", 3, "int", "10");
const NAME: Entry<'_> = ("limits/name", 4, "string", "first");

/// A struct of this state below `p/`, or the key and the rule of its refusal.
async fn read<S, const N: usize>(entries: [Entry<'_>; N]) -> Result<S, (String, String)>
where
    S: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let (client, mut script) = client();
    let bound = client.bind::<S>("p/");
    let _stream = script.accept(state(9, entries)).await;
    settle().await;
    bound.get().ok_or_else(|| {
        let refusal = bound.status().refusal.expect("there is a struct, or a refusal");
        (refusal.key, refusal.error.to_string())
    })
}

/// A client that follows `limits/`, which holds both keys.
async fn followed() -> (Client, Watch<Limits>, Subscribed, crate::scripted::Script) {
    let (client, mut script) = client();
    let bound = client.bind::<Limits>("limits/");
    let stream = script.accept(state(5, [MAX, NAME])).await;
    within("ready", bound.ready()).await.expect("it is there");
    (client, bound, stream, script)
}

#[tokio::test(start_paused = true)]
async fn a_struct_is_asked_for_by_its_prefix_and_changes_whole() {
    let (client, mut script) = client();
    let mut bound = client.bind::<Limits>("limits");
    let (request, reply) = script.sync().await;
    assert_eq!(request.keys, ["limits/"], "the slash may be left out");
    reply.send(Ok(state(5, [MAX, NAME]))).expect("the client waits");
    let stream = script.subscribe().await;
    stream.say(resume(5, []));
    within("the first", bound.changed()).await;
    assert_eq!(bound.get(), limits(10, "first"));
    stream.say(change(6, [("limits/max", 6, "int", "11"), ("limits/name", 6, "string", "second")]));
    within("a change", bound.changed()).await;
    assert_eq!(bound.load().as_ref(), limits(11, "second").as_ref());
    assert!(bound.changed().now_or_never().is_none(), "one commit is one change");
    stream.say(deletion(7, "limits/name"));
    within("a change", bound.changed()).await;
    assert_eq!(bound.get(), limits(11, ""), "the default comes back");
    let status = bound.status();
    assert_eq!((status.state, status.origin, status.revision), (State::Ready, Origin::Live, Some(7)));
}

#[tokio::test(start_paused = true)]
async fn a_struct_that_cannot_be_made_keeps_the_old_one_whole() {
    let (_client, mut bound, stream, mut script) = followed().await;
    within("the first", bound.changed()).now_or_never();
    for (revision, max) in [(6, ("int", "70000")), (7, ("string", "hunter2"))] {
        let second = revision.to_string();
        let entries = [("limits/max", revision, max.0, max.1), ("limits/name", revision, "string", &second)];
        stream.say(change(revision, entries));
        settle().await;
        assert_eq!(bound.get(), limits(10, "first"), "neither field is new");
        let refusal = bound.status().refusal.expect("it is refused");
        assert_eq!((&*refusal.key, refusal.revision), ("limits/max", revision));
        let text = refusal.error.to_string();
        assert!(!text.contains(max.1) && text.contains("u16"), "{text}");
    }
    assert!(bound.changed().now_or_never().is_none(), "a refusal is no change");
    stream.say(deletion(8, "limits/max"));
    settle().await;
    let refusal = bound.status().refusal.expect("a field is missing");
    assert_eq!((bound.get(), &*refusal.key), (limits(10, "first"), "limits/max"));
    assert!(refusal.error.to_string().contains("no such key"), "{}", refusal.error);
    stream.end(Disconnect::Ended);
    settle().await;
    let again = script.subscribe().await;
    again.say(reset(2, [("limits/max", 2, "int", "12")]));
    within("it heals", bound.changed()).await;
    assert_eq!((bound.get(), bound.status().refusal), (limits(12, ""), None));
}

#[tokio::test(start_paused = true)]
async fn a_struct_that_was_never_whole_says_which_key_is_wrong_and_heals() {
    let (client, mut script) = client();
    let bound = client.bind::<Limits>("limits/");
    let stream = script.accept(state(5, [NAME])).await;
    let why = within("ready", bound.ready()).await.expect_err("a field is missing");
    let Unavailable::Unusable { key, source } = &why else { panic!("{why}") };
    assert_eq!(key, "limits/max");
    assert!(matches!(source, ValueError::Refused { .. }));
    stream.say(change(6, [("limits/max", 6, "int", "1")]));
    settle().await;
    assert_eq!((bound.ready().await, bound.get()), (Ok(()), limits(1, "first")));
}

#[tokio::test(start_paused = true)]
async fn nothing_below_a_prefix_is_a_struct_of_defaults() {
    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(default)]
    struct Defaults {
        max: u16,
        deep: Deep,
    }

    #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
    struct Deep {
        name: Option<String>,
    }

    impl Default for Defaults {
        fn default() -> Self {
            Self { max: 7, deep: Deep::default() }
        }
    }

    assert_eq!(read::<Defaults, 0>([]).await, Ok(Defaults::default()));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_are_ignored_and_counted() {
    let (_client, mut bound, stream, _script) = followed().await;
    assert_eq!(bound.status().unknown_keys, 0);
    let unknown =
        [("limits/x", 6, "int", "no"), ("limits/y/a", 6, "\u{1}", "?"), ("limits/y/b/c", 6, "int", "1")];
    bound.changed().now_or_never();
    stream.say(change(6, unknown));
    settle().await;
    assert_eq!((bound.get(), bound.status().unknown_keys), (limits(10, "first"), 3));
    assert_eq!(bound.status().refusal, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_beside_a_folder_of_its_name_is_refused_by_both_names_if_a_field_has_it() {
    #[derive(Clone, Debug, PartialEq, Deserialize)]
    struct One {
        a: i64,
    }

    let both = [("p/a", 3, "int", "1"), ("p/a.b", 3, "int", "1"), ("p/a/b", 3, "int", "2")];
    let (key, rule) = read::<One, 3>(both).await.expect_err("neither is better");
    assert_eq!(key, "p/a");
    assert!(rule.contains("`p/a`") && rule.contains("`p/a/`"), "{rule}");
    let unread = [("p/a", 3, "int", "1"), ("p/z", 3, "int", "1"), ("p/z/b", 3, "int", "2")];
    assert_eq!(read(unread).await, Ok(One { a: 1 }), "a field that nobody reads harms nobody");
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Types {
    small: u8,
    wide: i128,
    real: f32,
    whole: f64,
    on: bool,
    letter: char,
    text: String,
    file: u32,
    bytes: Vec<u8>,
    list: Vec<String>,
    pair: (u8, bool),
    json: Json,
    any: serde_json::Value,
    wait: Duration,
    since: SystemTime,
    host: IpAddr,
    mode: Mode,
    backend: Backend,
    shape: Backend,
    none: Option<u8>,
    null: Option<Json>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Json {
    a: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    ReadOnly,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Backend {
    Tcp { port: u16 },
    Unix(String),
}

#[tokio::test(start_paused = true)]
async fn each_type_is_read_as_the_table_says() {
    let types = read::<Types, 20>([
        ("p/small", 1, "int", "255"),
        ("p/wide", 1, "int", "-9223372036854775808"),
        ("p/real", 1, "float", "0.5"),
        ("p/whole", 1, "int", "3"),
        ("p/on", 1, "bool", "true"),
        ("p/letter", 1, "string", "x"),
        ("p/text", 1, "string", " as it is "),
        ("p/file", 1, "text/plain", " 12\n"),
        ("p/bytes", 1, "bytes", "raw"),
        ("p/list", 1, "json", r#"["a", "b"]"#),
        ("p/pair", 1, "json", "[1, true]"),
        ("p/json", 1, "json", r#"{"a": 1, "b": 2}"#),
        ("p/any", 1, ".json", r#"{"deep": [null]}"#),
        ("p/wait", 1, "duration", "1m30s"),
        ("p/since", 1, "timestamp", "1970-01-01T00:00:01Z"),
        ("p/host", 1, "string", "::1"),
        ("p/mode", 1, "string", "read-only"),
        ("p/backend/tcp/port", 1, "int", "80"),
        ("p/shape", 1, "json", r#"{"unix": "/run/x"}"#),
        ("p/null", 1, "json", " null "),
    ]);
    let expected = Types {
        small: 255,
        wide: i128::from(i64::MIN),
        real: 0.5,
        whole: 3.0,
        on: true,
        letter: 'x',
        text: " as it is ".to_owned(),
        file: 12,
        bytes: b"raw".to_vec(),
        list: vec!["a".to_owned(), "b".to_owned()],
        pair: (1, true),
        json: Json { a: Some(1) },
        any: json!({ "deep": [null] }),
        wait: Duration::from_secs(90),
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        host: IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        mode: Mode::ReadOnly,
        backend: Backend::Tcp { port: 80 },
        shape: Backend::Unix("/run/x".to_owned()),
        none: None,
        null: None,
    };
    assert_eq!(types.await, Ok(expected));
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    max_size: u8,
    #[serde(rename = "other-name")]
    renamed: u8,
    #[serde(alias = "old")]
    new: u8,
    #[serde(default = "seven")]
    seven: u8,
    #[serde(skip)]
    skipped: u8,
    #[serde(deserialize_with = "doubled")]
    doubled: u8,
    by_name: HashMap<String, i64>,
    nested: BTreeMap<String, BTreeMap<String, bool>>,
    boxed: Box<Wrapper>,
    #[serde(flatten)]
    flat: Flat,
    kind: Kind,
    loose: Loose,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Wrapper(String);

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Flat {
    wait: Duration,
    inner: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type")]
enum Kind {
    A { size: u8 },
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
}

fn seven() -> u8 {
    7
}

fn doubled<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    u8::deserialize(deserializer).map(|number| number * 2)
}

#[tokio::test(start_paused = true)]
async fn each_attribute_of_serde_holds() {
    let attributes = read::<Attributes, 13>([
        ("p/maxSize", 1, "int", "1"),
        ("p/other-name", 1, "int", "2"),
        ("p/old", 1, "int", "3"),
        ("p/doubled", 1, "int", "4"),
        ("p/byName/a", 1, "int", "5"),
        ("p/byName/b", 1, "int", "6"),
        ("p/nested/x/y", 1, "bool", "true"),
        ("p/boxed", 1, "string", "box"),
        ("p/wait", 1, "duration", "2s"),
        ("p/inner", 1, "int", "8"),
        ("p/kind/type", 1, "string", "A"),
        ("p/kind/size", 1, "int", "9"),
        ("p/loose", 1, "string", "text"),
    ]);
    let expected = Attributes {
        max_size: 1,
        renamed: 2,
        new: 3,
        seven: 7,
        skipped: 0,
        doubled: 8,
        by_name: HashMap::from([("a".to_owned(), 5), ("b".to_owned(), 6)]),
        nested: BTreeMap::from([("x".to_owned(), BTreeMap::from([("y".to_owned(), true)]))]),
        boxed: Box::new(Wrapper("box".to_owned())),
        flat: Flat { wait: Duration::from_secs(2), inner: Some(8) },
        kind: Kind::A { size: 9 },
        loose: Loose::Text("text".to_owned()),
    };
    assert_eq!(attributes.await, Ok(expected));
}

/// Fails unless reading `entry` as the field `f` of `p/` names a key, says `rule`, and repeats no value.
async fn refuses<T: DeserializeOwned + Debug + Clone + Send + Sync + 'static>(
    entry: (&str, &str),
    rule: &str,
) {
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct One<T> {
        #[expect(dead_code, reason = "it is never made")]
        f: T,
    }

    let (key, text) = read::<One<T>, 1>([("p/f", 3, entry.0, entry.1)]).await.expect_err(rule);
    assert_eq!(key, "p/f");
    assert!(text.contains(rule), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("4242"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_key_and_the_rule_and_never_the_value() {
    #[derive(Clone, Debug, Deserialize)]
    enum Mode {
        Fast,
        Slow,
    }

    refuses::<u8>(("int", "4242"), "outside the range of u8").await;
    refuses::<i64>(("string", "hunter2"), "`string` is not read as i64").await;
    refuses::<i64>(("int", "hunter2"), "a decimal whole number").await;
    refuses::<bool>(("bool", "hunter2"), "true or false").await;
    refuses::<String>(("duration", "4242s"), "`duration` is not read").await;
    refuses::<i64>(("mystery", "hunter2"), "the type `mystery` is unknown").await;
    refuses::<Mode>(("string", "hunter2"), "none of the variants Fast, Slow").await;
    refuses::<IpAddr>(("string", "hunter2"), "its Deserialize does not take it").await;
    refuses::<char>(("string", "hunter2"), "where it is read").await;
    refuses::<Vec<u8>>(("string", "hunter2"), "`string` is not read as a list").await;
    refuses::<Vec<u8>>(("json", r#"["hunter2"]"#), "the JSON does not fit it at line 1").await;
    refuses::<Limits>(("json", r#"{"max": 4242, "max": 4242}"#), "the same member twice").await;
    refuses::<Limits>(("int", "4242"), "`int` is not read as a list or a struct").await;
    refuses::<Duration>(("string", "hunter2"), "`string` is not read").await;
    refuses::<SystemTime>(("timestamp", "1942-01-01T00:00:00Z"), "before 1970").await;
    refuses::<()>(("string", "hunter2"), "`string` is not read").await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_no_value_and_a_denied_field_is_named() {
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct One {
        #[expect(dead_code, reason = "it is never made")]
        f: i64,
    }

    let (key, rule) = read::<One, 1>([("p/f/x", 3, "int", "1")]).await.expect_err("a folder");
    assert_eq!((&*key, rule.contains("found a folder")), ("p/f/", true), "{rule}");
    let unknown = [("p/f", 3, "int", "1"), ("p/g", 3, "int", "1")];
    let (key, rule) = read::<One, 2>(unknown).await.expect_err("an unknown field");
    assert_eq!((&*key, rule.contains("no such field")), ("p/g", true), "{rule}");
}

#[tokio::test(start_paused = true)]
async fn a_struct_that_breaks_a_rule_of_the_application_is_refused_whole() {
    let (client, mut script) = client();
    let bound = client.bind_validated("limits/", |limits: &Limits| match limits.max {
        13 => panic!("on purpose"),
        max if max > 100 => Err("max is at most 100"),
        _ => Ok(()),
    });
    let stream = script.accept(state(5, [MAX, NAME])).await;
    settle().await;
    assert_eq!(bound.get(), limits(10, "first"));
    for (revision, max, rule) in [(6, "101", "max is at most 100"), (7, "13", "panicked")] {
        stream.say(change(revision, [("limits/max", revision, "int", max)]));
        settle().await;
        let refusal = bound.status().refusal.expect("it is refused");
        assert_eq!((bound.get(), &*refusal.key), (limits(10, "first"), "limits/"));
        assert!(refusal.error.to_string().contains(rule), "{}", refusal.error);
    }
    stream.say(change(8, [("limits/max", 8, "int", "100")]));
    settle().await;
    assert_eq!((bound.get(), bound.status().refusal), (limits(100, "first"), None));
}

#[tokio::test(start_paused = true)]
async fn a_tree_as_deep_as_keys_can_be_is_read_and_a_deeper_one_is_never_walked() {
    #[derive(Clone, Debug, Deserialize)]
    struct Tree {
        #[serde(flatten)]
        children: BTreeMap<String, Tree>,
    }

    #[derive(Clone, Debug, Deserialize)]
    #[serde(untagged)]
    enum Branch {
        Folder(BTreeMap<String, Branch>),
        #[expect(dead_code, reason = "only its presence counts")]
        Leaf(i64),
    }

    fn depth(branch: &Branch) -> usize {
        match branch {
            Branch::Folder(children) => 1 + children.values().map(depth).max().unwrap_or(0),
            Branch::Leaf(_) => 0,
        }
    }

    let deepest = format!("p/{}a", "a/".repeat(254));
    let endless = format!("p/{}b", "b/".repeat(100_000));
    let entries = [(&*deepest, 1, "int", "1"), (&*endless, 1, "int", "1")];
    let branch = read::<Branch, 2>(entries).await.expect("it is read");
    assert_eq!(depth(&branch), 255, "one folder for each name of 511 bytes");
    let tree = read::<Tree, 0>([]).await.expect("it is read");
    assert!(tree.children.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_is_none_fails_its_own_handle_and_is_never_sent() {
    let (client, mut script) = client();
    for prefix in ["", "/", "a//b", "../x/"] {
        let bound = client.bind::<Limits>(prefix);
        assert!(matches!(bound.ready().await, Err(Unavailable::NotAKey { .. })), "{prefix}");
    }
    settle().await;
    assert!(script.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_denied_prefix_is_denied_and_blinds_no_other() {
    let (client, mut script) = client();
    let (bound, secret) = (client.bind::<Limits>("limits/"), client.bind::<Limits>("secret/"));
    let denied = vec!["secret/".to_owned()];
    script.accept(DataResponse { denied, ..state(5, [MAX]) }).await;
    assert!(matches!(within("ready", secret.ready()).await, Err(Unavailable::Denied { .. })));
    assert_eq!(bound.get(), limits(10, ""));
}

#[tokio::test(start_paused = true)]
async fn the_same_values_in_another_history_are_no_change() {
    let (_client, mut bound, stream, _script) = followed().await;
    bound.changed().now_or_never();
    let same = [("limits/max", 1, "int", "10"), ("limits/name", 2, "string", "first")];
    stream.say(reset(2, same));
    settle().await;
    assert!(bound.changed().now_or_never().is_none());
    assert_eq!(bound.status().revision, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_write_below_a_prefix_is_seen_when_it_returns() {
    let (client, bound, stream, mut script) = followed().await;
    let write = tokio::spawn({
        let client = client.clone();
        async move { client.set("limits/max", 20_i64).await }
    });
    let (_, reply) = script.push().await;
    let position = datastream::position::Position { revision: 6, ..client.status().position.expect("one") };
    reply.send(Ok(Some(position))).expect("the client waits");
    settle().await;
    assert!(!write.is_finished(), "it is not seen yet");
    stream.say(change(6, [("limits/max", 6, "int", "20")]));
    let written = within("the write", write).await.expect("no panic").expect("it is written");
    assert_eq!((written.seen, bound.get()), (Seen::Applied, limits(20, "first")));
}

#[tokio::test(start_paused = true)]
async fn a_prefix_whose_last_handle_is_gone_leaves_and_its_single_keys_stay() {
    let (client, bound, stream, mut script) = followed().await;
    let max = client.watch::<u16>("limits/max");
    settle().await;
    assert_eq!(max.get(), Some(10), "what the prefix covers is known at once");
    let clone = bound.clone();
    drop(bound);
    settle().await;
    assert!(client.snapshot().covers("limits/name"), "a clone holds it");
    drop(clone);
    settle().await;
    assert!(!client.snapshot().covers("limits/name"));
    assert_eq!(client.snapshot().keys().collect::<Vec<_>>(), ["limits/max"]);
    drop(stream);
    settle().await;
    let joining = script.subscribe().await;
    assert_eq!(joining.request.keys, ["limits/max"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_struct_is_logged_by_key_and_rule_and_without_its_value() {
    captured_log::capture();
    let (client, mut script) = client();
    let bound = client.bind::<Limits>("bound/");
    script.accept(state(5, [("bound/max", 3, "string", "hunter2-of-a-struct")])).await;
    settle().await;
    let lines = captured_log::lines_with("bound/max");
    assert!(lines.iter().any(|line| line.contains("not read as u16")), "{lines:?}");
    assert!(captured_log::lines_with("hunter2-of-a-struct").is_empty());
    let error = bound.try_get().expect_err("it is no struct");
    assert!(!format!("{bound:?} {error:?} {error} {:?}", bound.status()).contains("hunter2"));
}
