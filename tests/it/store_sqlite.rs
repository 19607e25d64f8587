//! The store `sqlite` keeps what every store promises, and what only it can: it outlives its process, and sees
//! what others write into its file.

mod adopted;
mod foreign;
mod news;
mod open;
mod reconciled;
mod replaced;
mod rules;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream_server::store::{Batch, Change, Commit, Operation, Retention, Since, Store};
use datastream_server::stores::sqlite::{OpenError, SqliteStore};
use futures_util::FutureExt;
use rusqlite::Connection;
use tempfile::TempDir;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(10);

/// A file in a folder of its own.
struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("settings.db")
    }

    fn open(&self) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(&self.path())
    }

    fn store(&self) -> SqliteStore {
        self.open().expect("the file opens")
    }

    /// A connection that knows nothing of this project, as another program would have.
    fn foreign(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("a foreign connection");
        connection.busy_timeout(DEADLINE).expect("a timeout");
        connection
    }

    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.folder.path()).expect("the folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut contents: Vec<_> =
            paths.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect();
        contents.sort();
        contents
    }
}

async fn head(store: &SqliteStore) -> Position {
    store.load().await.expect("load").position
}

async fn commit(store: &SqliteStore, operations: impl Into<Vec<Operation>>) -> Position {
    let commit = Commit { operations: operations.into(), ..Commit::default() };
    store.commit(commit).await.expect("a commit that nothing speaks against")
}

async fn changes(store: &SqliteStore, after: &Position) -> Batch {
    match store.changes(after).await.expect("changes") {
        Since::Changes(batch) => batch,
        Since::Replaced => panic!("{after:?} is a position of this store"),
    }
}

/// A key with its type and text; a tombstone has neither.
type Told<'a> = (&'a str, Option<(&'a str, &'a [u8])>);

fn told(changes: &[Change]) -> Vec<Told<'_>> {
    let told = changes.iter().map(|change| {
        let value = change.value.as_ref();
        (&*change.key, value.map(|stored| (&*stored.value_type, &stored.value[..])))
    });
    told.collect()
}

#[tokio::test]
async fn a_reopened_file_holds_everything_positions_included() {
    let file = File::new();
    let store = file.store();
    let first = commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "json", "[]")]).await;
    commit(&store, [Operation::delete("a")]).await;
    let (before, after_first) = (store.load().await.expect("load"), changes(&store, &first).await);
    drop(store);
    assert_eq!(file.contents().len(), 1, "the log went into the file");
    let store = file.store();
    let reopened = store.load().await.expect("load");
    assert_eq!((&reopened.position, &reopened.positions), (&before.position, &before.positions));
    assert_eq!(reopened.changes, before.changes);
    assert_eq!(changes(&store, &first).await.changes, after_first.changes);
    assert!(commit(&store, [Operation::delete("b")]).await.revision > before.position.revision);
}

#[tokio::test]
async fn a_copy_that_goes_on_by_itself_is_another_history() {
    let (file, copy) = (File::new(), File::new());
    commit(&file.store(), [Operation::put("a", "int", "1")]).await;
    std::fs::copy(file.path(), copy.path()).expect("a copy");
    let (store, copied) = (file.store(), copy.store());
    let common = head(&store).await;
    assert_eq!(head(&copied).await, common);
    let [here, there] = [
        commit(&store, [Operation::put("a", "int", "2")]).await,
        commit(&copied, [Operation::put("a", "int", "2")]).await,
    ];
    assert_eq!(here.revision, there.revision);
    assert!(matches!(copied.changes(&here).await, Ok(Since::Replaced)));
    assert_eq!(changes(&copied, &common).await.position, there);
}

#[tokio::test]
async fn commits_that_wait_together_share_a_transaction() {
    let file = File::new();
    let store = Arc::new(file.store());
    let commits = (0..1000).map(|key| {
        let store = store.clone();
        tokio::spawn(async move { commit(&store, [Operation::put(&key.to_string(), "int", "1")]).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.expect("a commit");
    }
    assert_eq!(store.load().await.expect("load").changes.len(), 1000);
    let transactions = store.transactions();
    println!("1000 commits in {transactions} transactions");
    assert!((2..500).contains(&transactions));
}

#[tokio::test]
async fn one_that_is_refused_harms_none_of_its_transaction() {
    let file = File::new();
    let store = Arc::new(file.store());
    let all = (0..200).map(|key| {
        let store = store.clone();
        let value = if key % 2 == 0 { "1" } else { "no int" };
        tokio::spawn(async move {
            store.commit(Commit::one(Operation::put(&key.to_string(), "int", value))).await
        })
    });
    for (key, commit) in all.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(commit.await.expect("a commit").is_ok(), key % 2 == 0);
    }
    assert_eq!(store.load().await.expect("load").changes.len(), 100);
}

#[tokio::test]
async fn a_commit_has_rung_when_it_returns() {
    let file = File::new();
    let store = file.store();
    for value in 0..20 {
        commit(&store, [Operation::put("a", "int", value.to_string())]).await;
        assert!(store.rung().now_or_never().is_some());
    }
}

/// The clock was set back between the put and its deletion: the tombstone is old, what it ended is not.
#[tokio::test]
async fn a_tombstone_that_goes_brings_nothing_back() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1")]).await;
    file.foreign()
        .execute("UPDATE datastream_log SET time = '2999-01-01 00:00:00.000'", [])
        .expect("a clock");
    for operation in [Operation::delete("a"), Operation::put("b", "int", "1")] {
        commit(&store, [operation]).await;
    }
    let nothing = Retention { positions: Duration::ZERO, history: Duration::ZERO, ..Retention::default() };
    store.compact(nothing).await.expect("compact");
    assert_eq!(told(&store.load().await.expect("load").changes), [("b", Some(("int", &b"1"[..])))]);
}

/// In steps, of which this takes several.
#[tokio::test]
async fn compaction_shortens_the_log() {
    let file = File::new();
    let store = file.store();
    for value in 0..1500 {
        let put = |key: &str| Operation::put(key, "int", value.to_string());
        commit(&store, [put("a"), put("b")]).await;
    }
    commit(&store, [Operation::delete("b")]).await;
    commit(&store, [Operation::put("c", "int", "1")]).await;
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        file.foreign().query_row(&sql, [], |row| row.get(0)).expect("a count")
    };
    let kept = Retention { positions: Duration::ZERO, ..Retention::default() };
    store.compact(Retention { versions: 1000, ..kept }).await.expect("compact");
    assert_eq!((count("datastream_log"), count("datastream_token")), (2002, 1), "genesis, 1000 each, c");
    store.compact(Retention { history: Duration::ZERO, ..kept }).await.expect("compact");
    assert_eq!(count("datastream_log"), 3, "genesis, a, c");
    let snapshot = store.load().await.expect("load");
    assert_eq!(snapshot.changes.len(), 2);
}
