//! Types: what a push names is kept, and people may say otherwise.

use std::fs;

use datastream_server::store::{Commit, CommitError, Operation, Refused};

use super::{Folder, commit, refused, setting, state};
use crate::captured_log;

/// The file in which types are.
const FILE: &str = ".datastream.toml";

#[tokio::test]
async fn the_type_of_a_push_outlives_the_process() {
    let folder = Folder::new();
    let store = folder.store().await;
    commit(&store, Operation::put("a.json", ".json", "{}")).await;
    commit(&store, Operation::put("text", "text/plain", "x")).await;
    assert!(!folder.file(FILE).exists(), "the names say it all");
    commit(&store, Operation::put("n", "int", "1")).await;
    commit(&store, Operation::put("gone", "int", "1")).await;
    commit(&store, Operation::delete("gone")).await;
    let store = folder.store().await;
    let expected =
        [setting("a.json", ".json", "{}"), setting("n", "int", "1"), setting("text", "text/plain", "x")];
    assert_eq!(state(&store).await, expected);
    assert_eq!(fs::read_to_string(folder.file(FILE)).expect("it is there"), "[types]\nn = \"int\"\n");
}

/// Beside the entries that a push makes, and what they say counts at once.
#[tokio::test]
async fn people_edit_the_types() {
    let folder = Folder::new();
    folder.write(FILE, "# ours\n[types]\n\"limits/\" = \"int\" # all of them\n");
    folder.write("limits/a", "1");
    let store = folder.store().await;
    commit(&store, Operation::put("limits/b", "float", "1.5")).await;
    let expected = [setting("limits/a", "int", "1"), setting("limits/b", "float", "1.5")];
    assert_eq!(state(&store).await, expected);
    let text = fs::read_to_string(folder.file(FILE)).expect("it is there");
    assert_eq!(text, "# ours\n[types]\n\"limits/\" = \"int\" # all of them\n\"limits/b\" = \"float\"\n");
    folder.write(FILE, text.replace("int", "string"));
    let expected = [setting("limits/a", "string", "1"), setting("limits/b", "float", "1.5")];
    assert_eq!(state(&store).await, expected);
}

/// Until it can be read again; a push that has to write there is refused until then, and no other.
#[tokio::test]
async fn a_file_of_types_that_is_torn_changes_nothing() {
    captured_log::capture();
    let folder = Folder::new();
    let good = "[types]\na = \"int\"\n";
    folder.write(FILE, good);
    folder.write("a", "1");
    let store = folder.store().await;
    folder.write(FILE, "[types]\na = ");
    for _ in 0..3 {
        assert_eq!(state(&store).await, [setting("a", "int", "1")]);
    }
    let path = folder.path().display().to_string();
    let said = captured_log::lines_with(&path);
    assert_eq!(said.iter().filter(|line| line.contains("line 2 of .datastream.toml")).count(), 1, "{said:?}");
    let denied = store.commit(Commit::one(Operation::put("b", "int", "1"))).await;
    let is_named = |by: &str| by.contains("line 2 of .datastream.toml");
    let Err(CommitError::Refused { why: Refused::InTheWay { by }, .. }) = denied else {
        panic!("{denied:?}")
    };
    assert!(is_named(&by), "{by}");
    commit(&store, Operation::put("a", "int", "2")).await;
    commit(&store, Operation::put("a", "int", "1")).await;
    folder.write(FILE, good);
    commit(&store, Operation::put("b", "int", "1")).await;
    assert_eq!(state(&store).await, [setting("a", "int", "1"), setting("b", "int", "1")]);
}

/// It is found out last that the system cannot have such a name: the type is there by then.
#[tokio::test]
async fn a_push_that_is_not_made_leaves_the_types_as_they_were() {
    let folder = Folder::new();
    let types = "# ours\n[types]\na = \"int\"\n";
    folder.write(FILE, types);
    let store = folder.store().await;
    assert_eq!(refused(&store, Operation::put(&"x".repeat(300), "int", "1")).await, Refused::Rules);
    assert_eq!(fs::read_to_string(folder.file(FILE)).expect("it is there"), types);
}
