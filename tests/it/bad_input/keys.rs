//! Rows 1 to 20: keys.

use std::collections::BTreeSet;

use datastream::proto::DataRequest;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{assert_invalid, assert_serves, server};
use crate::wire::{announced, data, unannounced};

/// Row, and what is no key, neither for a write nor for a read.
const REFUSED: &[(&str, &str)] = &[
    ("1", ""),
    ("3", "../../etc/passwd"),
    ("3", "a/../b"),
    ("3", "./a"),
    ("3", "a/."),
    ("3", ".."),
    ("4", "/etc/passwd"),
    ("4", "C:\\x"),
    ("4", "\\\\host\\x"),
    ("5", "%2e%2e/../x"),
    ("6", "a\0b"),
    ("8", "a\rb"),
    ("8", "a\nb"),
    ("8", "a\tb"),
    ("8", "a\u{1b}[31mb"),
    ("8", "a\u{7f}b"),
    ("8", "a\u{85}b"),
    ("8", "a\u{2028}b"),
    ("9", "a\u{202e}b"),
    ("9", "a\u{2066}b"),
    ("9", "a\u{200b}b"),
    ("9", "a\u{feff}b"),
    ("10", "/a"),
    ("10", "a//b"),
    ("10", "/"),
    ("11", ".git/config"),
    ("11", ".git/hooks/x"),
    ("11", "x/.GIT/y"),
    ("11", ".Git"),
];

/// Row, and what is a key, of which every byte is kept.
const ACCEPTED: &[(&str, &str)] = &[
    ("4", "C:x"),
    ("5", "..%2f..%2fetc"),
    ("5", "%2e%2e/x"),
    ("5", "..%252f"),
    ("9b", "caf\u{e9}"),
    ("9b", "cafe\u{301}"),
    ("9b", "\u{430}pp"),
    ("9b", "app"),
    ("10", " a b "),
    ("10", "a.b..c"),
    ("10", "..."),
    ("11", ".gitmodules"),
    ("11", "git~1"),
    ("13", "a,b"),
    ("13", "it's"),
    ("13", "say \"x\""),
    ("13", "100%"),
    ("13", "under_score"),
    ("13", "*"),
    ("13", "?"),
    ("13", "$1"),
    ("13", "--"),
    ("14", "A"),
    ("14", "a"),
    ("15", "a/b"),
];

#[tokio::test]
async fn what_is_no_key_is_refused_wherever_it_stands() {
    let (_server, _, wire) = server().await;
    let too_long = ["k".repeat(513), "k/".repeat(1 << 19)];
    let too_long = too_long.iter().map(|key| ("2", key.as_str()));
    for (row, key) in REFUSED.iter().copied().chain(too_long) {
        let case = &format!("row {row}, {key:.40?}");
        let pushed = wire.push(data(key, "int", "1")).await.expect_err(case);
        assert_invalid(case, &pushed, "key");
        assert!(pushed.message().len() < 512, "{case}: the key is cut");
        assert!(!pushed.message().contains(char::is_control), "{case}: the key is escaped");
        if key.len() < 1 << 19 {
            let synced = wire.service().sync(unannounced(["fine", key])).await.expect_err(case);
            assert_invalid(case, &synced, "keys[1]");
            let opened = wire.try_subscribe(announced([key])).await.expect_err(case);
            assert_invalid(case, &opened, "keys[0]");
            let fresh = DataRequest { fresh: vec![key.to_owned()], ..announced(["fine"]) };
            assert_invalid(case, &wire.try_subscribe(fresh).await.expect_err(case), "fresh[0]");
        }
    }
    assert_serves(&wire).await;
}

#[tokio::test]
async fn a_trailing_slash_is_a_prefix_and_only_for_reading() {
    let (_server, _, wire) = server().await;
    let pushed = wire.push(data("a/", "int", "1")).await.expect_err("row 10");
    assert_invalid("row 10", &pushed, "key");
    wire.push_int("a/b", 1).await;
    assert_eq!(wire.sync(unannounced(["a/"])).await.data.len(), 1);
}

#[tokio::test]
async fn what_is_a_key_is_taken_as_it_is_and_never_decoded_or_folded() {
    let (_server, _, wire) = server().await;
    let longest = "k".repeat(512);
    let keys: Vec<_> = ACCEPTED.iter().copied().chain([("2", longest.as_str())]).collect();
    let mut stream = wire.subscribe(announced([""; 0])).await;
    stream.next().await;
    for (i, (row, key)) in (1..).zip(&keys) {
        wire.push(data(key, "int", i.to_string())).await.unwrap_or_else(|status| panic!("{row}: {status}"));
        let change = stream.delivery().await;
        assert_eq!(change.data.keys().collect::<Vec<_>>(), [key], "row {row}");
    }
    for (i, (row, key)) in (1..).zip(&keys) {
        let synced = wire.sync(unannounced([key])).await;
        let (found, data) = synced.data.iter().next().expect("it is there");
        assert_eq!((found.as_str(), data.value.as_ref()), (*key, i.to_string().as_bytes()), "row {row}");
        assert_eq!(synced.data.len(), 1, "row {row}: nothing but that very key");
    }
}

#[tokio::test]
async fn rows_16_17_19_20_what_a_list_of_keys_may_hold() {
    let (server, _, wire) = server().await;
    server.set("a", 1_i64);
    server.set("b", 2_i64);
    let keys = |request| async { wire.sync(request).await.data.into_keys().collect::<BTreeSet<_>>() };
    assert_eq!(keys(unannounced(["a", "a", "a"])).await, ["a".into()].into(), "row 16");
    assert_eq!(keys(unannounced([""; 0])).await, ["a".into(), "b".into()].into(), "row 17");
    assert_eq!(keys(unannounced(["b", "unknown"])).await, ["b".into()].into(), "row 19");
    let mut stream = wire.subscribe(announced(["unborn", "unborn"])).await;
    assert_eq!(stream.next().await.to_string(), "State", "row 20");
    server.set("unborn", 3_i64);
    assert_eq!(stream.next().await.to_string(), "Change unborn=3", "row 20");
}

#[tokio::test]
async fn row_18_too_many_keys_exceed_a_quota() {
    let (server, _, wire) = server().await;
    server.set("key/0", 1_i64);
    let many = |count: usize| (0..count).map(|i| format!("key/{i}"));
    let long = (0..3000).map(|i| format!("{}/{i}", "k".repeat(400)));
    for request in [unannounced(many(100_000)), unannounced(many(10_001)), unannounced(long)] {
        let synced = wire.service().sync(request.clone()).await.expect_err("too many");
        let opened = wire.try_subscribe(request).await.expect_err("too many");
        for status in [synced, opened] {
            assert_eq!(status.code(), Code::ResourceExhausted);
            let quota = status.get_details_quota_failure().expect("it has details");
            assert!(quota.violations[0].description.contains("prefix"), "it says what to do: {quota:?}");
        }
    }
    assert_eq!(wire.sync(unannounced(many(10_000))).await.data.len(), 1);
}
