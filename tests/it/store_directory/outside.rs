//! Nothing outside the folder is read or written, whatever leads there; and what is no setting is named.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use datastream_server::store::{Operation, Refused};

use super::{Folder, commit, refused, setting, state};
use crate::captured_log;

/// Beside the folder of settings: a file, and a folder with another.
fn with_something_outside() -> Folder {
    let folder = Folder::new();
    folder.write("../secret", "secret");
    folder.write("../beside/x", "secret");
    folder
}

fn is_untouched(folder: &Folder) {
    for file in ["../secret", "../beside/x"] {
        assert_eq!(fs::read(folder.file(file)).expect("it is there"), b"secret");
    }
    assert_eq!(fs::read_dir(folder.file("../beside")).expect("a folder").count(), 1);
}

#[tokio::test]
async fn links_are_not_followed_and_are_named_once() {
    captured_log::capture();
    let folder = with_something_outside();
    folder.write("a", "1");
    symlink(folder.file("../secret"), folder.file("file")).expect("a link");
    symlink("../beside", folder.file("folder")).expect("a link");
    symlink("a", folder.file("inside")).expect("a link");
    symlink("nowhere", folder.file("broken")).expect("a link");
    symlink(".", folder.file("around")).expect("a link");
    let store = folder.store().await;
    assert_eq!(state(&store).await, [setting("a", "text/plain", "1")]);
    state(&store).await;
    let said = captured_log::lines_with(&folder.path().display().to_string());
    for link in ["file", "folder", "inside", "broken", "around"] {
        let named = said.iter().filter(|line| line.contains(&format!("path={link} ")));
        assert_eq!(named.count(), 1, "{link}: {said:?}");
    }
    for key in ["file", "folder", "inside", "broken", "folder/x", "folder/new", "around/a", "around/new"] {
        let refusal = refused(&store, Operation::put(key, "string", "y")).await;
        assert!(matches!(refusal, Refused::InTheWay { .. }), "{key}: {refusal:?}");
        commit(&store, Operation::delete(key)).await;
    }
    assert!(folder.file("file").is_symlink() && folder.file("folder").is_symlink());
    is_untouched(&folder);
}

/// A link takes the place of a file, or of a folder, that was served: those settings are gone, and what it leads to is not
/// served.
#[tokio::test]
async fn a_link_that_takes_the_place_of_a_file_is_not_followed() {
    let folder = with_something_outside();
    folder.write("a", "1");
    folder.write("b/x", "1");
    let store = folder.store().await;
    fs::remove_file(folder.file("a")).expect("removed");
    symlink(folder.file("../secret"), folder.file("a")).expect("a link");
    fs::remove_dir_all(folder.file("b")).expect("removed");
    symlink(folder.file("../beside"), folder.file("b")).expect("a link");
    assert!(matches!(refused(&store, Operation::put("b/x", "string", "y")).await, Refused::InTheWay { .. }));
    commit(&store, Operation::delete("b/x")).await;
    commit(&store, Operation::delete("a")).await;
    assert_eq!(state(&store).await, []);
    is_untouched(&folder);
}

/// Its own folder, its own file of types.
#[tokio::test]
async fn a_link_in_the_place_of_its_own_files_is_not_followed() {
    let folder = with_something_outside();
    symlink(folder.file("../beside"), folder.file(".datastream")).expect("a link");
    symlink(folder.file("../secret"), folder.file(".datastream.toml")).expect("a link");
    let store = folder.store().await;
    let denied = store.commit(datastream_server::store::Commit::one(Operation::put("a", "int", "1"))).await;
    denied.expect_err("it has no place for its lock");
    is_untouched(&folder);
    fs::remove_file(folder.file(".datastream")).expect("removed");
    commit(&store, Operation::put("a", "int", "1")).await;
    is_untouched(&folder);
    assert_eq!(state(&store).await, [setting("a", "int", "1")]);
}

#[tokio::test]
async fn what_is_no_file_and_names_that_are_no_keys_are_named() {
    captured_log::capture();
    let folder = Folder::new();
    folder.write("a", "1");
    folder.write(".git/config", "x");
    let _socket = UnixListener::bind(folder.file("socket")).expect("a socket");
    let made = Command::new("mkfifo").arg(folder.file("pipe")).status().expect("mkfifo can be run");
    assert!(made.success());
    fs::write(folder.path().join(OsStr::from_bytes(b"\xff.json")), "1").expect("a file");
    folder.write("back\\slash", "1");
    let store = folder.store().await;
    assert_eq!(state(&store).await, [setting("a", "text/plain", "1")]);
    let said = captured_log::lines_with(&folder.path().display().to_string());
    for (path, why) in [("socket", "neither"), ("pipe", "neither"), (".git", "git"), (".json", "UTF-8")] {
        assert!(said.iter().any(|line| line.contains(path) && line.contains(why)), "{path}: {said:?}");
    }
    // The feed names it, as it does for every store: the value is not read for that.
    let changes = store.load().await.expect("load").changes;
    let outside = changes.iter().find(|change| &*change.key == "back\\slash").expect("it is listed");
    assert_eq!((&outside.value, outside.too_large), (&None, Some(1)));
}
