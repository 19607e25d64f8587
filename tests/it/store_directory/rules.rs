//! Which folders are served, and which keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use datastream_server::MAX_VALUE_BYTES;
use datastream_server::store::{Commit, CommitError, Operation, Refused};

use super::{Folder, changes, commit, head, refused, setting, state};
use crate::process::Server;
use crate::server_process;

/// And it is left as it is.
#[test]
fn a_folder_that_cannot_be_served_is_named_in_one_line() {
    let folder = Folder::new();
    folder.write("a file", "1");
    folder.write("torn/.datastream.toml", "[types]\n\"a\" = \"int\"\n\"b\" = ");
    for (path, query, expected) in [
        ("absent", "", "mkdir -p"),
        ("a file", "", "is no folder"),
        ("torn", "", "line 3 of .datastream.toml"),
        ("torn", "?poll=1ms", "at least 100ms"),
        ("torn", "?pool=1s", "it has poll"),
    ] {
        let store = format!("file:{}{query}", folder.file(path).display());
        let said = server_process::refused(&["--store", &store, "--listen", "127.0.0.1:0"]);
        assert!(said.contains(expected), "{path}: {said}");
        assert!(!query.is_empty() || said.lines().count() == 1, "{said}");
    }
    assert!(!folder.file("absent").exists());
    let said = server_process::refused(&["--store", "file:"]);
    assert!(said.contains("file needs a folder"), "{said}");
}

#[test]
fn serving_a_folder_writes_nothing_there() {
    let folder = Folder::new();
    folder.write("a/b.json", "{}");
    let flag = format!("file://{}", folder.path().display());
    let server = Server::start(&["--store", &flag, "--listen", "127.0.0.1:0"]);
    server.terminate();
    let entries: Vec<_> = fs::read_dir(folder.path()).expect("a folder").map_while(Result::ok).collect();
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn a_file_is_a_setting_and_its_time_is_that_of_the_file() {
    let folder = Folder::new();
    folder.write("a/b c.json", "{}");
    folder.write("empty", "");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = fs::File::options().write(true).open(folder.file("empty")).expect("it is there");
    file.set_modified(old).expect("a time");
    let store = folder.store().await;
    let expected = [setting("a/b c.json", ".json", "{}"), setting("empty", "text/plain", "")];
    assert_eq!(state(&store).await, expected);
    let changes = store.load().await.expect("load").changes;
    let empty = changes.iter().find(|change| &*change.key == "empty").expect("it is served");
    assert_eq!(empty.time, old);
}

/// The folders that it needs are made, and go with the last of their files; the root stays.
#[tokio::test]
async fn a_key_is_a_path_and_folders_come_and_go_with_it() {
    let folder = Folder::new();
    let store = folder.store().await;
    commit(&store, Operation::put("a/b/c", "int", "1")).await;
    commit(&store, Operation::put("a/d", "int", "1")).await;
    assert_eq!(fs::read(folder.file("a/b/c")).expect("a file"), b"1");
    commit(&store, Operation::delete("a/b/c")).await;
    assert!(!folder.file("a/b").exists() && folder.file("a/d").exists());
    commit(&store, Operation::delete("a/d")).await;
    assert!(!folder.file("a").exists());
    assert!(folder.path().exists());
}

/// Of a folder that is empty nobody knows whose it is: only what the push has made goes.
#[tokio::test]
async fn a_push_that_is_refused_leaves_the_folders_as_they_were() {
    let folder = Folder::new();
    fs::create_dir(folder.file("empty")).expect("a folder");
    let store = folder.store().await;
    let long = "x".repeat(300);
    for key in [format!("a/b/{long}"), format!("a/{long}/c/d"), format!("empty/b/{long}")] {
        assert_eq!(refused(&store, Operation::put(&key, "int", "1")).await, Refused::Rules, "{key}");
    }
    assert!(!folder.file("a").exists() && !folder.file("empty/b").exists());
    assert!(folder.file("empty").exists());
    commit(&store, Operation::put("a", "int", "1")).await;
    folder.write(".datastream.toml", "torn");
    let refusal = refused(&store, Operation::put("b/c/d", "int", "1")).await;
    assert!(matches!(refusal, Refused::InTheWay { .. }), "{refusal:?}");
    assert!(!folder.file("b").exists());
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_stays() {
    let folder = Folder::new();
    let store = folder.store().await;
    commit(&store, Operation::put("a", "int", "1")).await;
    commit(&store, Operation::put("b/c/d", "int", "1")).await;
    for (key, by) in [("a/x", "a"), ("a/x/y", "a"), ("b/c", "the folder c"), ("b", "the folder b")] {
        let refusal = refused(&store, Operation::put(key, "int", "2")).await;
        assert_eq!(refusal, Refused::InTheWay { by: by.to_owned() }, "{key}");
    }
    let end = head(&store).await;
    assert_eq!(commit(&store, Operation::delete("b/c")).await, end, "there is no such key");
    assert_eq!(commit(&store, Operation::delete("a/x")).await, end);
    assert_eq!(state(&store).await.len(), 2);
}

/// It stands for no setting; one with anything in it stays.
#[tokio::test]
async fn an_empty_folder_gives_way_to_a_key_of_its_name() {
    let folder = Folder::new();
    for path in ["a", "b/c", "d/e"] {
        fs::create_dir_all(folder.file(path)).expect("a folder");
    }
    folder.write("f/x~", "left by an editor");
    std::os::unix::fs::symlink("d/e", folder.file("link")).expect("a link");
    let store = folder.store().await;
    for key in ["a", "b/c"] {
        commit(&store, Operation::put(key, "int", "1")).await;
    }
    assert_eq!(state(&store).await, [setting("a", "int", "1"), setting("b/c", "int", "1")]);
    for (key, by) in [("d", "the folder d"), ("f", "the folder f"), ("link", "the link link")] {
        let refusal = refused(&store, Operation::put(key, "int", "1")).await;
        assert_eq!(refusal, Refused::InTheWay { by: by.to_owned() });
    }
    assert!(folder.file("link").is_dir() && folder.file("f/x~").is_file());
}

/// It keeps notes below one name, and the types in a file; what an editor leaves beside a file is no setting either.
#[tokio::test]
async fn names_of_its_own_are_neither_served_nor_written() {
    let folder = Folder::new();
    for key in [".datastream/seeded", "a~", "b/.c.swp", ".#d", "#e#"] {
        folder.write(key, "x");
    }
    folder.write(".datastream.toml", "[types]\n");
    let store = folder.store().await;
    assert_eq!(state(&store).await, []);
    for key in [".datastream", ".datastream/seeded", ".datastream.toml", ".DATASTREAM/lock", "a~", "b/.c.swp"]
    {
        assert_eq!(refused(&store, Operation::put(key, "string", "y")).await, Refused::Rules, "{key}");
    }
    assert_eq!(refused(&store, Operation::put(&"x".repeat(300), "string", "y")).await, Refused::Rules);
    assert_eq!(fs::read(folder.file("a~")).expect("it is there"), b"x");
}

/// A sparse file of 100 MB costs nothing.
#[tokio::test]
async fn a_value_that_is_too_large_is_listed_with_its_size() {
    let folder = Folder::new();
    folder.write("a", "1");
    let large = fs::File::create(folder.file("large")).expect("a file");
    large.set_len(100_000_000).expect("it can be sparse");
    let store = folder.store().await;
    assert_eq!(state(&store).await, [setting("a", "text/plain", "1")]);
    let changes = store.load().await.expect("load").changes;
    let found = changes.iter().find(|change| &*change.key == "large").expect("it is listed");
    assert_eq!((&found.value, found.too_large), (&None, Some(100_000_000)));
    let before = head(&store).await;
    large.set_len(MAX_VALUE_BYTES as u64).expect("it shrinks");
    store.refresh().await.expect("it can look");
    assert_eq!(super::changes(&store, &before).await.changes.len(), 1);
}

/// It is not shown, and is there.
#[tokio::test]
async fn a_value_that_is_too_large_is_written_over_and_deleted_only_where_that_is_meant() {
    let folder = Folder::new();
    let large = fs::File::create(folder.file("large")).expect("a file");
    large.set_len(100_000_000).expect("it can be sparse");
    let store = folder.store().await;
    let put = Operation::put("large", "text/plain", "1");
    let refused = store.commit(Commit::one(put.clone().expecting(0))).await;
    let Err(CommitError::Refused { why: Refused::Exists { revision }, .. }) = refused else {
        panic!("it exists: {refused:?}")
    };
    store.commit(Commit::one(put.expecting(revision))).await.expect("it is at that revision");
    assert_eq!(state(&store).await, [setting("large", "text/plain", "1")]);
    large.set_len(0).expect("it is elsewhere by now");
    let large = fs::File::create(folder.file("larger")).expect("a file");
    large.set_len(100_000_000).expect("it can be sparse");
    store.refresh().await.expect("it can look");
    store.commit(Commit::one(Operation::delete("larger"))).await.expect("it is there");
    assert!(!folder.file("larger").exists());
}

#[tokio::test]
async fn a_file_keeps_its_permissions() {
    let folder = Folder::new();
    folder.write("a", "1");
    fs::set_permissions(folder.file("a"), fs::Permissions::from_mode(0o640)).expect("it is ours");
    let store = folder.store().await;
    commit(&store, Operation::put("a", "text/plain", "2")).await;
    let mode = fs::metadata(folder.file("a")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// So that a revision which was read before is never taken for one of now.
#[tokio::test]
async fn a_store_begins_above_all_revisions_of_the_one_before() {
    let folder = Folder::new();
    let store = folder.store().await;
    let mut last = head(&store).await;
    for n in 0..100 {
        last = commit(&store, Operation::put("a", "int", n.to_string())).await;
    }
    let store = folder.store().await;
    assert!(head(&store).await.revision > last.revision);
    let refusal = refused(&store, Operation::put("a", "int", "7").expecting(last.revision)).await;
    assert!(matches!(refusal, Refused::Conflict { .. }));
    let nothing_yet = changes(&store, &head(&store).await).await;
    assert_eq!(nothing_yet.changes, []);
}

/// Once in the life of the folder, not of the process.
#[tokio::test]
async fn a_seed_is_remembered_by_the_folder() {
    let folder = Folder::new();
    let seed = datastream_server::store::Commit::one(Operation::put("a", "int", "1"));
    let store = folder.store().await;
    assert!(store.seed(seed.clone()).await.expect("seed"));
    commit(&store, Operation::delete("a")).await;
    drop(store);
    let store = folder.store().await;
    assert!(!store.seed(seed).await.expect("seed"));
    assert_eq!(state(&store).await, []);
}
