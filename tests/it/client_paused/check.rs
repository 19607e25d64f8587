//! A struct is compared with what the server has.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use datastream::proto::{Capability, ListCapabilitiesResponse};
use datastream_client::{BindingCheck, CallError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::settle;
use crate::scripted::{Entry, client, state};
use crate::wire::within;

/// What the check of `S` says of a server that has these entries below `p/`, and of a client that follows them or not.
async fn check<S, const N: usize>(entries: [Entry<'_>; N], is_bound: bool) -> BindingCheck
where
    S: DeserializeOwned + Send + Sync + 'static,
{
    let (client, mut script) = client();
    let bound = is_bound.then(|| client.bind::<S>("p/"));
    if bound.is_some() {
        script.accept(state(9, entries)).await;
        settle().await;
    }
    let capabilities = entries.iter().chain(&[("other", 1, "int", "1")]).map(|(key, _, value_type, _)| {
        Capability { key: (*key).to_owned(), value_type: (*value_type).to_owned() }
    });
    let answer = ListCapabilitiesResponse { capabilities: capabilities.collect(), ..Default::default() };
    let (found, ()) = tokio::join!(client.check_binding::<S>("p"), async {
        script.list().await.1.send(Ok(answer)).expect("the client waits");
    });
    found.expect("the server answers")
}

#[expect(dead_code, reason = "only what it reads counts")]
#[derive(Deserialize)]
struct Settings {
    max: u16,
    name: String,
    wait: Duration,
    #[serde(default)]
    mode: Mode,
    retries: Option<u8>,
    pool: Pool,
    extra: Extra,
}

#[expect(dead_code, reason = "only what it reads counts")]
#[derive(Deserialize)]
struct Pool {
    size: u16,
    hosts: Vec<String>,
}

#[expect(dead_code, reason = "only what it reads counts")]
#[derive(Deserialize)]
struct Extra {
    deep: BTreeMap<String, bool>,
}

#[derive(Default, Deserialize)]
enum Mode {
    #[default]
    Fast,
    Slow,
}

const GOOD: [Entry<'_>; 7] = [
    ("p/extra", 1, "json", r#"{"deep": {"x": true}}"#),
    ("p/max", 1, "int", "1"),
    ("p/mode", 1, "string", "Slow"),
    ("p/name", 1, "string", "x"),
    ("p/pool/hosts", 1, "json", "[]"),
    ("p/pool/size", 1, "int", "1"),
    ("p/wait", 1, "duration", "1s"),
];

#[tokio::test(start_paused = true)]
async fn a_struct_that_fits_is_good_with_and_without_the_values() {
    for is_bound in [false, true] {
        let found = check::<Settings, 7>(GOOD, is_bound).await;
        assert_eq!(found, BindingCheck::default(), "bound: {is_bound}");
        assert!(found.is_good());
    }
}

#[tokio::test(start_paused = true)]
async fn everything_that_does_not_fit_is_told_at_once_and_by_key() {
    let entries = [
        ("p/max", 1, "string", "hunter2"),
        ("p/mode", 1, "string", "hunter2"),
        ("p/nmae", 1, "string", "hunter2"),
        ("p/pool/size", 1, "int", "70000"),
        ("p/wait/x", 1, "int", "1"),
    ];
    let found = check::<Settings, 5>(entries, true).await;
    assert_eq!(found.missing, ["p/extra/deep", "p/name", "p/pool/hosts"]);
    let refused: BTreeMap<_, _> = found.refused.iter().map(|(key, why)| (&**key, why.to_string())).collect();
    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), ["p/max", "p/mode", "p/pool/size", "p/wait/"]);
    assert!(refused["p/max"].contains("`string` is not read as u16"), "{refused:?}");
    assert!(refused["p/mode"].contains("Fast, Slow"), "{refused:?}");
    assert!(refused["p/pool/size"].contains("range of u16"), "{refused:?}");
    assert!(refused.values().all(|why| !why.contains("hunter2") && !why.contains("70000")), "{refused:?}");
    assert_eq!((found.unknown.clone(), found.undecided.clone()), (vec!["p/nmae".to_owned()], None));
    assert!(!found.is_good());
}

#[tokio::test(start_paused = true)]
async fn without_the_values_only_types_are_compared() {
    let entries =
        [("p/max", 1, "string", ""), ("p/pool/size", 1, "int", "70000"), ("p/extra", 1, "json", "1")];
    let found = check::<Settings, 3>(entries, false).await;
    assert_eq!(found.missing, ["p/name", "p/pool/hosts", "p/wait"]);
    assert_eq!(found.refused.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["p/max"]);
}

#[tokio::test(start_paused = true)]
async fn a_field_that_no_made_up_value_fits_is_named_as_undecided() {
    #[expect(dead_code, reason = "it is never made")]
    #[derive(Debug, Deserialize)]
    struct Listen {
        host: IpAddr,
        port: u16,
    }

    let found = check::<Listen, 1>([("p/port", 1, "int", "80")], true).await;
    assert_eq!(found.missing, ["p/host"]);
    assert_eq!(found.undecided.as_deref(), Some("p/host"));
    let both = [("p/host", 1, "string", "::1"), ("p/port", 1, "int", "80")];
    assert!(check::<Listen, 2>(both, true).await.is_good());
    let panics = check::<Panics, 0>([], true).await;
    assert_eq!(panics.undecided.as_deref(), Some("p/"));
}

struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("on purpose")
    }
}

#[tokio::test(start_paused = true)]
async fn a_struct_without_end_is_not_followed_for_ever() {
    #[expect(dead_code, reason = "it is never made")]
    #[derive(Debug, Deserialize)]
    struct Endless {
        next: Box<Endless>,
    }

    let found = check::<Endless, 0>([], true).await;
    assert!(!found.is_good() && found.undecided.is_some(), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_is_none_is_an_error_and_is_not_asked_for() {
    let (client, mut script) = client();
    let error = within("the check", client.check_binding::<Settings>("a//")).await.expect_err("it is none");
    assert!(matches!(error, CallError::NotAKey { .. }), "{error}");
    assert!(script.is_idle());
}
