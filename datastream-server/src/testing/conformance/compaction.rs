//! What a store forgets.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datastream::position::Position;

use super::words::{DEADLINE, NOTHING_KEPT, changes, commit, head, is_replaced, named, put, state_of};
use super::{Open, Subject};
use crate::store::{Operation, Retention, Store};

/// By how much a store may take a position for older than it is: some tell time in whole seconds.
const COARSE: Duration = Duration::from_secs(1);
/// How long a law waits before it looks again whether something is forgotten.
const AGAIN: Duration = Duration::from_millis(10);

/// And says up to where; what lives stays, and the newest position.
pub(super) async fn compaction_by_age_forgets_tombstones_and_positions(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let genesis = head(&store).await;
    let lives = commit(&store, [put("lives", 1)]).await;
    commit(&store, [put("dies", 1)]).await;
    let dead = commit(&store, [Operation::delete("dies")]).await;
    let end = commit(&store, [Operation::put("end", "int", "1")]).await;
    assert_eq!(store.compact(Retention::default()).await.expect("compact"), 0, "nothing is old enough");
    assert_eq!(changes(&store, &genesis).await.position, end);

    assert_eq!(store.compact(NOTHING_KEPT).await.expect("compact"), dead.revision);
    let snapshot = store.load().await.expect("load");
    assert_eq!((snapshot.position, snapshot.compacted_to), (end.clone(), dead.revision));
    assert_eq!(snapshot.positions, slice::from_ref(&end));
    let mut keys: Vec<&str> = snapshot.changes.iter().map(|change| &*change.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["end", "lives"]);
    for forgotten in [&genesis, &lives, &dead] {
        assert!(is_replaced(&store, forgotten).await);
    }
    assert_eq!(changes(&store, &end).await.compacted_to, dead.revision);
    let standing = commit(&store, [Operation::put("lives", "int", "1")]).await;
    assert_eq!(standing, Position { revision: lives.revision, token: Bytes::new() });
    assert_eq!(store.compact(NOTHING_KEPT).await.expect("compact"), dead.revision, "the newest is kept");
}

/// Until then it was the newest, which everybody may hold, however long ago it was made.
pub(super) async fn compaction_by_age_counts_from_when_the_next_position_came(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let kept = Retention { positions: COARSE + COARSE / 2, ..NOTHING_KEPT };
    let first = commit(&store, [put("a", 1)]).await;
    let second = commit(&store, [put("a", 2)]).await;
    until_forgotten(&store, kept, &first).await;
    // By now the second is as old as a position becomes that was not the newest.
    let superseded = Instant::now();
    commit(&store, [put("a", 3)]).await;
    until_forgotten(&store, kept, &second).await;
    let kept_for = superseded.elapsed();
    assert!(kept_for >= kept.positions - COARSE, "{kept_for:?} after the next one it is forgotten");
}

async fn until_forgotten(store: &Arc<dyn Store>, kept: Retention, position: &Position) {
    let until = Instant::now() + DEADLINE;
    while store.compact(kept).await.expect("compact") < position.revision {
        assert!(Instant::now() < until, "{position:?} is not forgotten in time");
        tokio::time::sleep(AGAIN).await;
    }
}

/// However young the others are, and however long the history is kept.
pub(super) async fn compaction_by_count_keeps_the_newest_positions(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let mut given = Vec::new();
    for operation in [
        Operation::put("dies", "int", "1"),
        Operation::delete("dies"),
        Operation::put("a", "int", "1"),
        Operation::put("dies late", "int", "1"),
        Operation::delete("dies late"),
    ] {
        given.push(commit(&store, [operation]).await);
    }
    let retention = Retention { max_positions: 2, ..Retention::default() };
    assert_eq!(store.compact(retention).await.expect("compact"), given[2].revision);
    let snapshot = store.load().await.expect("load");
    assert_eq!(snapshot.positions, given[3..]);
    let mut keys: Vec<&str> = snapshot.changes.iter().map(|change| &*change.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "dies late"], "a tombstone goes with the positions that may need it");
    assert!(is_replaced(&store, &given[2]).await);
    assert_eq!(changes(&store, &given[3]).await.position, given[4]);
}

/// In their time, and beyond so many: one that comes later than that is made again.
pub(super) async fn compaction_forgets_requests(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let request = named("one", 7, put("a", 1));
    store.commit(request.clone()).await.expect("commit");
    commit(&store, [put("a", 2)]).await;
    let kept = Retention { requests: Duration::from_secs(3600), ..NOTHING_KEPT };
    store.compact(kept).await.expect("compact");
    store.commit(request.clone()).await.expect("the same answer");
    assert_eq!(state_of(&store).await["a"].value, "2", "it is remembered still");
    store.compact(NOTHING_KEPT).await.expect("compact");
    store.commit(request.clone()).await.expect("commit");
    assert_eq!(state_of(&store).await["a"].value, "1");

    for n in 0..3 {
        store.commit(named(&format!("later {n}"), 7, put("b", n))).await.expect("commit");
    }
    commit(&store, [put("a", 2)]).await;
    store.compact(Retention { max_requests: 3, ..kept }).await.expect("compact");
    store.commit(named("later 0", 7, put("b", 0))).await.expect("the same answer");
    assert_eq!(state_of(&store).await["b"].value, "2", "it is one of the newest three");
    store.commit(request).await.expect("commit");
    assert_eq!(state_of(&store).await["a"].value, "1", "it was the fourth");
}
