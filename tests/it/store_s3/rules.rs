//! Which objects are settings, of which type, and where they are.

use datastream_server::store::{Operation, Refused};

use super::{commit, open, refused, served, setting, state};
use crate::captured_log;
use crate::s3::{KEY_ID, Manners, SECRET, Server};

/// None spoils the list of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_no_settings_keep_no_other_from_being_served() {
    let server = Server::start().await;
    for key in
        ["app//x", "app/a//b", "app/../x", "app/./x", "app/a\\b", "app/.git/x", "app/.datastream/x", "app/ok"]
    {
        server.bucket.plant(key, "1");
    }
    server.bucket.plant(&format!("app/{}", "long/".repeat(150)), "1");
    server.bucket.plant(&format!("app/{}x", "long/".repeat(150)), "1");
    let store = open(&server, "&poll=1h").await;
    assert_eq!(state(&store).await, [setting("ok", "text/plain", "1")]);
    // They are listed, so that the feed names them, and not read.
    let listed = store.load().await.expect("load").changes;
    assert_eq!(listed.iter().filter(|change| change.too_large.is_some()).count(), 7, "{listed:?}");
    assert_eq!(refused(&store, Operation::put(".datastream/x", "int", "1")).await, Refused::Rules);
}

/// Nothing is decoded, folded or cut on the way there and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_an_object_whatever_characters_it_has() {
    let (server, store) = served().await;
    let keys = [
        "A",
        "a",
        "a b",
        "a%2eb",
        "a+b",
        "a/b",
        "a?b#c&d=e",
        "a'(b)*!",
        "a~b",
        "ü/ \u{10ffff}",
        "[a]{b}|^`\"",
    ];
    for key in keys {
        commit(&store, Operation::put(key, "string", key.to_owned())).await;
    }
    let mut expected = keys.map(|key| setting(key, "string", key));
    expected.sort();
    assert_eq!(state(&store).await, expected);
    let there = server.bucket.keys();
    assert!(keys.iter().all(|key| there.contains(&format!("app/{key}"))), "{there:?}");
    for key in keys {
        commit(&store, Operation::delete(key)).await;
    }
    assert_eq!(state(&store).await, []);
}

/// What somebody wrote for our metadata, else what their tool says, else the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_type_is_in_the_metadata_or_the_name() {
    let (server, store) = served().await;
    let tool = server.tool();
    tool.put("a.json", None, "{}").await;
    tool.put("b.json", Some("int"), "1").await;
    tool.put("c", None, "").await;
    server.bucket.plant("app/d", vec![0xff]);
    let expected = [
        setting("a.json", ".json", "{}"),
        setting("b.json", "int", "1"),
        setting("c", "text/plain", ""),
        setting("d", "binary", "\u{fffd}"),
    ];
    assert_eq!(state(&store).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_lists_no_etags_is_followed_and_written() {
    let server = Server::with(Manners { lists_e_tags: false, ..Manners::default() }).await;
    let store = open(&server, "&poll=1h").await;
    server.tool().put("a", Some("int"), "1").await;
    assert_eq!(state(&store).await, [setting("a", "int", "1")]);
    commit(&store, Operation::put("a", "int", "2")).await;
    server.tool().put("a", Some("int"), "30").await;
    let stale = super::head(&store).await.revision;
    assert!(matches!(
        refused(&store, Operation::put("a", "int", "4").expecting(stale)).await,
        Refused::Conflict { .. }
    ));
    assert_eq!(state(&store).await, [setting("a", "int", "30")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_shown_nowhere() {
    captured_log::capture();
    let server = Server::start().await;
    let address = server.store("");
    assert!(!format!("{address:?} {address}").contains(SECRET) && !format!("{address:?}").contains(KEY_ID));
    let store = open(&server, "&poll=1h").await;
    commit(&store, Operation::put("a", "int", "1")).await;
    server.bucket.fail(crate::s3::Asked::List, 0, 1, crate::s3::Fault::Error("AccessDenied"));
    let error = store.refresh().await.expect_err("it may not list");
    assert!(!format!("{error:?}").contains(SECRET));
    assert_eq!(captured_log::lines_with(SECRET), [""; 0]);
}
