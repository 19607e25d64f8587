//! What the tests of a store say to it, and how they tell what it holds.

use std::sync::Arc;

use datastream::position::Position;
use datastream_server::store::{Batch, Change, Commit, CommitError, Operation, Refused, Since, Store};

pub(crate) async fn head(store: &Arc<dyn Store>) -> Position {
    store.load().await.expect("load").position
}

pub(crate) async fn commit(store: &Arc<dyn Store>, operation: Operation) -> Position {
    store.commit(Commit::one(operation)).await.expect("a commit that nothing speaks against")
}

pub(crate) async fn refused(store: &Arc<dyn Store>, operation: Operation) -> Refused {
    match store.commit(Commit::one(operation)).await {
        Err(CommitError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) async fn changes(store: &Arc<dyn Store>, after: &Position) -> Batch {
    match store.changes(after).await.expect("changes") {
        Since::Changes(batch) => batch,
        Since::Replaced => panic!("{after:?} is a position of this store"),
    }
}

/// What the store says when it has just looked: key, type and text of what is live.
pub(crate) async fn state(store: &Arc<dyn Store>) -> Vec<(String, String, String)> {
    store.refresh().await.expect("it can look");
    known(store).await
}

/// What the store says without looking.
pub(crate) async fn known(store: &Arc<dyn Store>) -> Vec<(String, String, String)> {
    let snapshot = store.load().await.expect("load");
    let mut live: Vec<_> = snapshot.changes.iter().filter_map(told).collect();
    live.sort();
    live
}

fn told(change: &Change) -> Option<(String, String, String)> {
    let stored = change.value.as_ref()?;
    let text = String::from_utf8_lossy(&stored.value).into_owned();
    Some((change.key.to_string(), stored.value_type.to_string(), text))
}

/// A setting, as [`state`] tells it.
pub(crate) fn setting(key: &str, value_type: &str, text: &str) -> (String, String, String) {
    (key.to_owned(), value_type.to_owned(), text.to_owned())
}
