//! What the laws are written with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use tokio::task::JoinHandle;

use crate::store::{
    Batch, Change, Commit, CommitError, Operation, Refused, RequestId, Retention, Since, Store, Stored,
};

/// How long a law waits for what must come.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

pub(super) const NOTHING_KEPT: Retention = Retention {
    positions: Duration::ZERO,
    max_positions: u64::MAX,
    history: Duration::ZERO,
    versions: 100,
    requests: Duration::ZERO,
    max_requests: 100,
};

/// The live keys.
pub(super) type State = BTreeMap<Arc<str>, Stored>;

/// Commits of one and of several keys, with deletions and rebirths.
fn history() -> Vec<Vec<Operation>> {
    let put = |key, value| Operation::put(key, "int", value);
    vec![
        vec![put("a", "1")],
        vec![put("a", "2"), put("b", "1"), put("c/d", "1")],
        vec![Operation::delete("b")],
        vec![put("a", "3"), Operation::delete("c/d")],
        vec![put("b", "2")],
        vec![Operation::delete("a"), put("c/d", "2")],
    ]
}

pub(super) fn fold(mut state: State, changes: &[Change]) -> State {
    for change in changes {
        match &change.value {
            Some(value) => state.insert(change.key.clone(), value.clone()),
            None => state.remove(&change.key),
        };
    }
    state
}

pub(super) async fn state_of(store: &Arc<dyn Store>) -> State {
    fold(State::new(), &store.load().await.expect("load").changes)
}

pub(super) async fn head(store: &Arc<dyn Store>) -> Position {
    store.load().await.expect("load").position
}

pub(super) async fn commit(store: &Arc<dyn Store>, operations: impl Into<Vec<Operation>>) -> Position {
    let commit = Commit { operations: operations.into(), ..Commit::default() };
    store.commit(commit).await.expect("a commit that nothing speaks against")
}

/// As one commit, or as one for each operation where the store takes one key at a time. Returns where the last ended.
pub(super) async fn together(store: &Arc<dyn Store>, operations: Vec<Operation>) -> Position {
    if store.abilities().batches {
        return commit(store, operations).await;
    }
    let mut end = head(store).await;
    for operation in operations {
        end = commit(store, [operation]).await;
    }
    end
}

/// Commits of one and of several keys, or the same of one each where the store takes one key at a time.
pub(super) fn history_for(store: &Arc<dyn Store>) -> Vec<Vec<Operation>> {
    if store.abilities().batches {
        return history();
    }
    history().into_iter().flatten().map(|operation| vec![operation]).collect()
}

pub(super) async fn refused(store: &Arc<dyn Store>, operation: Operation) -> Refused {
    match store.commit(Commit::one(operation)).await {
        Err(CommitError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

pub(super) async fn changes(store: &Arc<dyn Store>, after: &Position) -> Batch {
    match store.changes(after).await.expect("changes") {
        Since::Changes(batch) => batch,
        Since::Replaced => panic!("{after:?} is a position of this store"),
    }
}

pub(super) async fn is_replaced(store: &Arc<dyn Store>, position: &Position) -> bool {
    matches!(store.changes(position).await.expect("changes"), Since::Replaced)
}

/// A commit of one put, under a name.
pub(super) fn named(id: &str, digest: u64, operation: Operation) -> Commit {
    Commit { request: Some(RequestId { id: id.into(), digest }), ..Commit::one(operation) }
}

pub(super) fn put(key: &str, value: impl ToString) -> Operation {
    Operation::put(key, "int", value.to_string())
}

/// Follows the store from `position` while somebody writes `a` and `b` together, and sees both halves of each
/// transaction, or neither. Returns what there is at the end.
pub(super) async fn follow_halves(
    store: &Arc<dyn Store>,
    mut position: Position,
    writing: JoinHandle<()>,
) -> State {
    let mut state = State::new();
    loop {
        let last = writing.is_finished();
        if last {
            // A store that looks by the clock has not seen all of it yet.
            store.refresh().await.expect("it can be looked at");
        }
        let batch = changes(store, &position).await;
        state = fold(state, &batch.changes);
        assert_eq!(state.get("a"), state.get("b"));
        position = batch.position;
        if last {
            break;
        }
        tokio::task::yield_now().await;
    }
    writing.await.expect("the writer");
    state
}
