//! The store `git` keeps what every store promises, and what only a repository can: a commit is a commit there, whoever makes
//! it, and nothing that a repository holds is followed or run.

mod defects;
mod odd;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream_server::store::{
    Commit, CommitError, HistoryPage, HistoryQuery, Operation, Refused, Since, Store, Stored,
};
use datastream_server::stores::git::{Address, GitStore, OpenError};

use crate::git::Repository;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

async fn open(text: &str) -> Result<GitStore, OpenError> {
    GitStore::open(&Address::parse(text).expect("an address")).await
}

async fn opened(repository: &Repository) -> GitStore {
    open(&repository.local()).await.expect("it opens")
}

async fn head(store: &GitStore) -> Position {
    store.load().await.expect("load").position
}

/// What a key holds, as `TYPE:TEXT`.
async fn held(store: &GitStore, key: &str) -> Option<String> {
    let snapshot = store.load().await.expect("load");
    let change = snapshot.changes.into_iter().find(|change| &*change.key == key)?;
    let Stored { value, value_type } = change.value?;
    Some(format!("{value_type}:{}", String::from_utf8_lossy(&value)))
}

/// The keys that live.
async fn keys(store: &GitStore) -> Vec<String> {
    let snapshot = store.load().await.expect("load");
    let live = snapshot.changes.into_iter().filter(|change| change.value.is_some());
    let mut keys: Vec<_> = live.map(|change| change.key.to_string()).collect();
    keys.sort_unstable();
    keys
}

async fn commit(store: &GitStore, operations: impl Into<Vec<Operation>>) -> Position {
    let commit = Commit { operations: operations.into(), ..Commit::default() };
    store.commit(commit).await.expect("a commit that nothing speaks against")
}

async fn refused(store: &GitStore, operation: Operation) -> Refused {
    match store.commit(Commit::one(operation)).await {
        Err(CommitError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn history(store: &GitStore, key: Option<&str>) -> HistoryPage {
    let of = key.map(|key| datastream::key::Selector::parse(key).expect("a key"));
    let query = HistoryQuery { of, before: None, limit: 100, bytes: usize::MAX };
    store.history(query).await.expect("history").expect("git keeps one")
}

/// Waits until the store, which nobody asks to look, has moved from `after`, and returns where it is.
async fn moved(store: &GitStore, after: &Position) -> Position {
    let moved = async {
        loop {
            store.rung().await;
            match store.changes(after).await.expect("changes") {
                Since::Changes(batch) if batch.position == *after => {}
                _ => return head(store).await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, moved).await.expect("the change is noticed")
}

fn put(key: &str, value: impl ToString) -> Operation {
    Operation::put(key, "int", value.to_string())
}

/// Another store on the same repository.
async fn beside(repository: &Repository) -> Arc<GitStore> {
    Arc::new(opened(repository).await)
}
