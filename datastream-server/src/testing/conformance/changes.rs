//! What a store says of what changed.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use datastream::position::{Position, TOKEN_BYTES};

use super::words::{
    DEADLINE, NOTHING_KEPT, State, changes, commit, fold, follow_halves, head, history_for, is_replaced,
    state_of,
};
use super::{Open, Subject};
use crate::store::{Operation, Store, Stored};

/// The genesis, with a token, holds no change; it is a position like any other. It is revision 1, but of a store whose
/// history begins with the process: that begins above all that an earlier one gave, so that what was read there is never
/// taken for what is here.
pub(super) async fn an_empty_store_stands_at_genesis(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let snapshot = store.load().await.expect("load");
    assert!(snapshot.position.revision >= 1);
    assert!((1..=TOKEN_BYTES).contains(&snapshot.position.token.len()));
    assert_eq!(snapshot.positions, slice::from_ref(&snapshot.position));
    assert_eq!(snapshot.compacted_to, 0);
    assert!(snapshot.changes.is_empty());
    let batch = changes(&store, &snapshot.position).await;
    assert_eq!(batch.position, snapshot.position);
    assert!(batch.changes.is_empty() && batch.positions.is_empty());
}

/// Bytes, type name and time come back; a deletion is a change without a value, and is remembered.
pub(super) async fn a_change_says_what_was_written(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let genesis = head(&store).await;
    let put = commit(&store, [Operation::put("a/ü", "text", "x\u{0}y")]).await;
    let deleted = commit(&store, [Operation::delete("a/ü")]).await;
    let changes = changes(&store, &genesis).await.changes;
    let last = changes.last().expect("the deletion");
    assert_eq!((&*last.key, last.revision, &last.value), ("a/ü", deleted.revision, &None));
    if let [first, _] = &changes[..] {
        let value = Stored { value: Bytes::from_static(b"x\0y"), value_type: "text".into() };
        assert_eq!((&*first.key, first.revision, &first.value), ("a/ü", put.revision, &Some(value)));
    }
    for change in &changes {
        let distance = match change.time.duration_since(SystemTime::now()) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        assert!(distance < Duration::from_secs(60), "the time of a change is when it was made");
    }
    assert_eq!(store.load().await.expect("load").changes, changes[changes.len() - 1..]);
}

/// Not after deletions, not after a compaction.
pub(super) async fn revisions_rise_and_are_never_reused(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let mut last = head(&store).await.revision;
    for round in 0..4 {
        for operation in [Operation::put("a", "int", "1"), Operation::delete("a")] {
            let revision = commit(&store, [operation]).await.revision;
            assert!(revision > last, "round {round}: {revision} after {last}");
            last = revision;
        }
        store.compact(NOTHING_KEPT).await.expect("compact");
    }
}

/// From each position that was ever given, `changes` leads to the present: in order, and with nothing else.
pub(super) async fn changes_after_a_position_lead_to_the_head(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let mut passed = vec![(head(&store).await, State::new())];
    for operations in history_for(&store) {
        let position = commit(&store, operations).await;
        passed.push((position, state_of(&store).await));
    }
    let (end, present) = passed.last().cloned().expect("genesis at least");
    for (index, (position, state)) in passed.iter().enumerate() {
        let batch = changes(&store, position).await;
        assert_eq!(batch.position, end);
        assert!(batch.changes.is_sorted_by_key(|change| change.revision));
        assert!(batch.changes.iter().all(|change| change.revision > position.revision));
        let later: Vec<Position> = passed[index + 1..].iter().map(|(position, _)| position.clone()).collect();
        assert_eq!(batch.positions, later);
        assert_eq!(fold(state.clone(), &batch.changes), present);
    }
}

/// Everything at once is what came one after the other.
pub(super) async fn load_is_the_fold_of_changes(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let genesis = head(&store).await;
    for operations in history_for(&store) {
        commit(&store, operations).await;
        let batch = changes(&store, &genesis).await;
        let snapshot = store.load().await.expect("load");
        assert_eq!(snapshot.position, batch.position);
        assert_eq!(fold(State::new(), &snapshot.changes), fold(State::new(), &batch.changes));
        assert_eq!(snapshot.positions.last(), Some(&snapshot.position));
        let keys: BTreeSet<&str> = snapshot.changes.iter().map(|change| &*change.key).collect();
        assert_eq!(keys.len(), snapshot.changes.len(), "each key comes once");
    }
}

/// One who reads while others write sees both halves of each commit, or neither.
pub(super) async fn changes_never_split_a_commit(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let position = head(&store).await;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for round in 0..100 {
            let round = round.to_string();
            let halves = ["a", "b"].map(|key| Operation::put(key, "int", round.clone()));
            commit(&writer, halves).await;
        }
    });
    let state = follow_halves(&store, position, writing).await;
    assert_eq!(state["a"].value, "99");
}

/// Another token, no token, a revision that is not there yet.
pub(super) async fn a_foreign_position_is_replaced(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let Position { revision, token } = commit(&store, [Operation::put("a", "int", "1")]).await;
    let last = token.len() - 1;
    let other: Bytes = token.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == last)).collect();
    for (revision, token) in [
        (revision, other),
        (revision, Bytes::new()),
        (revision - 1, token.clone()),
        (revision + 1, token.clone()),
        (u64::MAX, token.clone()),
        (0, Bytes::new()),
    ] {
        assert!(is_replaced(&store, &Position { revision, token }).await, "revision {revision}");
    }
}

/// For one who waits, and for one who comes later.
pub(super) async fn a_commit_rings_the_bell(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let rung = |store: Arc<dyn Store>| async move {
        tokio::time::timeout(DEADLINE, store.rung()).await.expect("the bell rings");
    };
    for value in ["1", "2"] {
        commit(&store, [Operation::put("a", "int", value)]).await;
        rung(store.clone()).await;
    }
    // A ring that is still under way may end the wait early; the last one may not be missed.
    let mut position = head(&store).await;
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            loop {
                rung(store.clone()).await;
                let batch = changes(&store, &position).await;
                position = batch.position;
                if batch.changes.iter().any(|change| &*change.key == "end") {
                    return;
                }
            }
        }
    });
    tokio::task::yield_now().await;
    commit(&store, [Operation::put("end", "int", "1")]).await;
    waiting.await.expect("the one who waits");
}
