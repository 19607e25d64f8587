//! Servers that do not take every commit: what they take arrives, what they do not is named, and nothing else stops.

use std::sync::{Arc, Mutex};

use datastream::position::Position;
use datastream_server::Config;
use datastream_server::store::{Commit, CommitError, Refused, Retention, Since, Snapshot, Store, StoreError};
use datastream_server::stores::MemoryStore;
use datastream_server::testing::TestServer;

use super::{datastream, said};

/// How many keys the file has: more than two batches.
const KEYS: usize = 1_200;

/// What becomes of a commit of these keys.
type Rule = fn(&[String]) -> Result<(), CommitError>;

/// A store in memory that does not take every commit.
struct Choosy {
    inner: MemoryStore,
    rule: Rule,
    /// The commits that were made, by their keys.
    made: Mutex<Vec<Vec<String>>>,
}

#[async_trait::async_trait]
impl Store for Choosy {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.inner.load().await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.inner.changes(after).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let keys: Vec<_> = commit.operations.iter().map(|operation| operation.key.to_string()).collect();
        (self.rule)(&keys)?;
        self.made.lock().expect("no holder panics").push(keys);
        self.inner.commit(commit).await
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.inner.seed(commit).await
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.inner.compact(retention).await
    }

    async fn rung(&self) {
        self.inner.rung().await;
    }
}

/// A refusal that names no key.
fn in_the_way() -> CommitError {
    Refused::InTheWay { by: "a directory".to_owned() }.into()
}

/// Imports a file into an empty server with this rule. Returns what was written, and what the program said.
fn import(rule: Rule, code: i32) -> (Vec<Vec<String>>, String, String) {
    let store = Arc::new(Choosy { inner: MemoryStore::new(), rule, made: Mutex::default() });
    let server = TestServer::start_with(store.clone(), Config::default());
    let folder = tempfile::tempdir().expect("a folder");
    let file = super::path(&folder, "all.toml");
    let text: String = (0..KEYS).map(|n| format!("\"k/{n:04}\" = {n}\n")).collect();
    std::fs::write(&file, text).expect("it can be written");
    let mut command = datastream(&server.url(), &["import", &file]);
    let (stdout, stderr) = said(command.output().expect("it can be run"), code);
    let made = std::mem::take(&mut *store.made.lock().expect("no holder panics"));
    (made, stdout, stderr)
}

fn all() -> Vec<String> {
    (0..KEYS).map(|n| format!("k/{n:04}")).collect()
}

#[test]
fn a_store_that_takes_one_key_at_a_time_gets_one_at_a_time() {
    let one = |keys: &[String]| match keys {
        [_, _, ..] => Err(CommitError::SeveralKeys),
        _ => Ok(()),
    };
    let (made, stdout, _) = import(one, 0);
    assert_eq!(made.concat(), all(), "each of them once, in order");
    assert_eq!(made.len(), KEYS);
    assert_eq!(stdout, "1200 new, 0 changed, 0 equal\n");
}

#[test]
fn a_store_that_takes_several_gets_few_commits() {
    let (made, ..) = import(|_| Ok(()), 0);
    assert_eq!(made.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 200]);
    assert_eq!(made.concat(), all());
}

#[test]
fn a_key_that_is_refused_is_named_and_all_others_are_written() {
    let is_bad = |key: &String| key.ends_with("77") || key == "k/0000";
    let rule: Rule = |keys| match keys.iter().any(|key| key.ends_with("77") || key == "k/0000") {
        true => Err(in_the_way()),
        false => Ok(()),
    };
    let (made, stdout, stderr) = import(rule, 1);
    let mut written = made.concat();
    written.sort();
    let good: Vec<_> = all().into_iter().filter(|key| !is_bad(key)).collect();
    assert_eq!(written, good);
    assert!(made.len() < 200, "{} commits", made.len());
    assert_eq!(stdout, "1187 new, 0 changed, 0 equal\n");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 14, "{stderr}");
    assert!(lines[0].starts_with("refused: k/0000: not in this state: the store keeps files"), "{stderr}");
    assert!(lines[1].starts_with("refused: k/0077: "), "{stderr}");
    assert_eq!(lines[13], "error: 13 refused, for the reasons above; all others are written");
}

#[test]
fn of_many_that_are_refused_twenty_are_named() {
    let (made, stdout, stderr) = import(|_| Err(in_the_way()), 1);
    assert_eq!((made.len(), &*stdout), (0, "0 new, 0 changed, 0 equal\n"));
    // Beside how far it is, which it says where it takes long.
    let is_told = |line: &&str| line.starts_with("refused") || line.starts_with("error");
    let lines: Vec<_> = stderr.lines().filter(is_told).collect();
    assert_eq!((lines.len(), lines[20]), (22, "refused: 1180 more"), "{stderr}");
}

#[test]
fn a_server_that_fails_ends_it_and_it_says_how_far_it_came() {
    let rule: Rule = |keys| match keys.iter().any(|key| key == "k/0500") {
        true => Err(StoreError::Full("no room".into()).into()),
        false => Ok(()),
    };
    let (made, _, stderr) = import(rule, 1);
    assert_eq!(made.concat(), all()[..500]);
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error")).count(), 1);
    assert!(stderr.ends_with("; 500 of 1200 are written: run it again for the others\n"), "{stderr}");
}
