//! The store conformance suite: what [`Store`] promises, as tests that every store passes.
//!
//! Each function is one law. It gets an empty store, and panics where the law does not hold. [`run`] calls them
//! all. What only one store can do (survive a restart, see foreign writers) is tested beside that store.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use datastream::position::{Position, TOKEN_BYTES};
use futures_util::FutureExt;

use crate::store::{
    Action, Batch, Change, Commit, CommitError, Operation, Refused, Retention, Since, Store, Stored,
};

/// How long a law waits for what must come.
const DEADLINE: Duration = Duration::from_secs(10);

/// Checks every law, each on a store of its own that `open` makes.
///
/// # Panics
///
/// Where a law does not hold.
pub async fn run<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    an_empty_store_stands_at_genesis(open().await).await;
    a_change_says_what_was_written(open().await).await;
    revisions_rise_and_are_never_reused(open().await).await;
    changes_after_a_position_lead_to_the_head(open().await).await;
    load_is_the_fold_of_changes(open().await).await;
    changes_never_split_a_commit(open().await).await;
    a_refused_operation_leaves_no_trace(open().await).await;
    a_put_of_what_stands_makes_no_revision(open().await).await;
    a_type_changes_only_when_it_is_meant(open().await).await;
    preconditions_hold_or_nothing_happens(open().await).await;
    concurrent_commits_all_arrive_in_order(open().await).await;
    a_dropped_commit_is_whole_or_absent(open().await).await;
    a_seed_fills_gaps_once(open().await).await;
    compaction_by_age_forgets_tombstones_and_positions(open().await).await;
    compaction_by_count_keeps_the_newest_positions(open().await).await;
    a_foreign_position_is_replaced(open().await).await;
    a_commit_rings_the_bell(open().await).await;
}

/// Revision 1, with a token, holds no change; it is a position like any other.
pub async fn an_empty_store_stands_at_genesis(store: Arc<dyn Store>) {
    let snapshot = store.load().await.expect("load");
    assert_eq!(snapshot.position.revision, 1);
    assert!((1..=TOKEN_BYTES).contains(&snapshot.position.token.len()));
    assert_eq!(snapshot.positions, slice::from_ref(&snapshot.position));
    assert_eq!(snapshot.compacted_to, 0);
    assert!(snapshot.changes.is_empty());
    let batch = changes(&store, &snapshot.position).await;
    assert_eq!(batch.position, snapshot.position);
    assert!(batch.changes.is_empty() && batch.positions.is_empty());
}

/// Bytes, type name and time come back; a deletion is a change without a value, and is remembered.
pub async fn a_change_says_what_was_written(store: Arc<dyn Store>) {
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
pub async fn revisions_rise_and_are_never_reused(store: Arc<dyn Store>) {
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
pub async fn changes_after_a_position_lead_to_the_head(store: Arc<dyn Store>) {
    let mut passed = vec![(head(&store).await, State::new())];
    for operations in history() {
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
pub async fn load_is_the_fold_of_changes(store: Arc<dyn Store>) {
    let genesis = head(&store).await;
    for operations in history() {
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
pub async fn changes_never_split_a_commit(store: Arc<dyn Store>) {
    let mut position = head(&store).await;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for round in 0..100 {
            let round = round.to_string();
            let halves = ["a", "b"].map(|key| Operation::put(key, "int", round.clone()));
            commit(&writer, halves).await;
        }
    });
    let mut state = State::new();
    loop {
        let last = writing.is_finished();
        let batch = changes(&store, &position).await;
        state = fold(state, &batch.changes);
        assert_eq!(state.get("a"), state.get("b"));
        position = batch.position;
        if last {
            break;
        }
        tokio::task::yield_now().await;
    }
    writing.await.expect("the writer");
    assert_eq!(state["a"].value, "99");
}

/// Whatever else its batch asks for, and wherever in it the refused one stands.
pub async fn a_refused_operation_leaves_no_trace(store: Arc<dyn Store>) {
    commit(&store, [Operation::put("a", "int", "1")]).await;
    let before = store.load().await.expect("load");
    let good = Operation::put("b", "int", "2");
    for (bad, second) in
        [(Operation::delete("absent").expecting(1), true), (Operation::put("a", "int", "x"), false)]
    {
        let mut operations = vec![good.clone(), bad];
        if second {
            operations.reverse();
        }
        let result = store.commit(Commit { operations, ..Commit::default() }).await;
        assert!(matches!(result, Err(CommitError::Refused { .. })), "{result:?}");
        let after = store.load().await.expect("load");
        assert_eq!((&after.position, &after.changes), (&before.position, &before.changes));
    }
    let next = commit(&store, [good]).await;
    assert_eq!(changes(&store, &before.position).await.changes.len(), 1);
    assert_eq!(head(&store).await, next);
}

/// Its answer is where the standing value was written, so that one who asks twice gets one answer.
pub async fn a_put_of_what_stands_makes_no_revision(store: Arc<dyn Store>) {
    let both = [Operation::put("a", "int", "1"), Operation::put("b", "int", "1")];
    let written = commit(&store, both.clone()).await;
    let end = commit(&store, [Operation::put("c", "int", "1")]).await;
    assert_eq!(commit(&store, both).await, written);
    assert_eq!(commit(&store, [Operation::put("a", "int", "1")]).await, written);
    assert_eq!(commit(&store, []).await, end);
    assert_eq!(
        commit(&store, [Operation::delete("absent")]).await,
        end,
        "that a key never was is true as of the head"
    );
    assert_eq!(head(&store).await, end);
}

/// A type of its own is kept where none is named; another is refused unless it is meant.
pub async fn a_type_changes_only_when_it_is_meant(store: Arc<dyn Store>) {
    let put = |value_type: Option<&str>, value: &'static str, retype| {
        let value_type = value_type.map(Arc::from);
        let action = Action::Put { value: Bytes::from_static(value.as_bytes()), value_type, retype };
        Operation { key: "a".into(), action, expected_revision: None }
    };
    assert_eq!(refused(&store, put(None, "1", false)).await, Refused::NoType);
    commit(&store, [put(Some("int"), "1", false)]).await;
    let refusal = refused(&store, put(Some("string"), "x", false)).await;
    assert!(matches!(refusal, Refused::TypeChange { .. }));
    commit(&store, [put(None, "2", false)]).await;
    assert_eq!(*state_of(&store).await["a"].value_type, *"int");
    commit(&store, [put(Some("string"), "x", true)]).await;
    assert_eq!(*state_of(&store).await["a"].value_type, *"string");
}

/// `expected_revision` names the revision of the key's last change; 0 says that there is none.
pub async fn preconditions_hold_or_nothing_happens(store: Arc<dyn Store>) {
    let create = |value| Operation::put("a", "int", value).expecting(0);
    let first = commit(&store, [create("1")]).await.revision;
    assert_eq!(refused(&store, create("2")).await, Refused::Exists { revision: first });
    let second = commit(&store, [Operation::put("a", "int", "2").expecting(first)]).await.revision;
    let stale = Operation::delete("a").expecting(first);
    assert_eq!(refused(&store, stale).await, Refused::Conflict { revision: second });
    commit(&store, [Operation::delete("a").expecting(second)]).await;
    assert_eq!(refused(&store, Operation::delete("a").expecting(second)).await, Refused::NotFound);
    let future = Operation::put("a", "int", "2").expecting(second + 1_000_000);
    assert_eq!(refused(&store, future).await, Refused::Conflict { revision: 0 });
    commit(&store, [Operation::delete("a").expecting(0)]).await;
    commit(&store, [create("3")]).await;
    assert_eq!(state_of(&store).await["a"].value, "3");
}

/// All of 64 that come at once, at positions of their own.
pub async fn concurrent_commits_all_arrive_in_order(store: Arc<dyn Store>) {
    let genesis = head(&store).await;
    let commits = (0..64).map(|writer| {
        let store = store.clone();
        let key = format!("writer/{writer}");
        tokio::spawn(async move { commit(&store, [Operation::put(&key, "int", writer.to_string())]).await })
    });
    let given = futures_util::future::try_join_all(commits).await.expect("the writers");
    let mut given: Vec<Position> = given.into_iter().collect();
    given.sort_by_key(|position| position.revision);
    let batch = changes(&store, &genesis).await;
    assert_eq!(batch.positions, given, "each has a position of its own, and all are known");
    let state = fold(State::new(), &batch.changes);
    assert!((0..64).all(|writer| state[&*format!("writer/{writer}")].value == writer.to_string()));
}

/// Whenever its caller loses interest.
pub async fn a_dropped_commit_is_whole_or_absent(store: Arc<dyn Store>) {
    for round in 0..64 {
        let halves = ["a", "b"].map(|half| Operation::put(&format!("{round}/{half}"), "int", "1"));
        let (writer, dropped) = (store.clone(), Commit { operations: halves.into(), ..Commit::default() });
        if round % 2 == 0 {
            let _ = writer.commit(dropped).now_or_never();
        } else {
            let writing = tokio::spawn(async move { writer.commit(dropped).await });
            tokio::task::yield_now().await;
            writing.abort();
        }
    }
    commit(&store, [Operation::put("end", "int", "1")]).await;
    let state = state_of(&store).await;
    for round in 0..64 {
        let half = |half| state.contains_key(&*format!("{round}/{half}"));
        assert_eq!(half("a"), half("b"), "round {round}");
    }
}

/// A seed writes what is missing, in the first call only, so that what was deleted since stays so.
pub async fn a_seed_fills_gaps_once(store: Arc<dyn Store>) {
    commit(&store, [Operation::put("held", "int", "1")]).await;
    let seed = ["held", "new"].map(|key| Operation::put(key, "int", "7"));
    let seed = Commit { operations: seed.into(), ..Commit::default() };
    assert!(store.seed(seed.clone()).await.expect("seed"));
    let state = state_of(&store).await;
    assert_eq!((&state["held"].value[..], &state["new"].value[..]), (&b"1"[..], &b"7"[..]));
    let end = commit(&store, [Operation::delete("new")]).await;
    assert!(!store.seed(seed).await.expect("seed"));
    assert_eq!(head(&store).await, end);
}

/// And says up to where; what lives stays, and the newest position.
pub async fn compaction_by_age_forgets_tombstones_and_positions(store: Arc<dyn Store>) {
    let genesis = head(&store).await;
    let lives =
        commit(&store, [Operation::put("lives", "int", "1"), Operation::put("dies", "int", "1")]).await;
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

/// However young the others are, and however long the history is kept.
pub async fn compaction_by_count_keeps_the_newest_positions(store: Arc<dyn Store>) {
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

/// Another token, no token, a revision that is not there yet.
pub async fn a_foreign_position_is_replaced(store: Arc<dyn Store>) {
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
pub async fn a_commit_rings_the_bell(store: Arc<dyn Store>) {
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

const NOTHING_KEPT: Retention =
    Retention { positions: Duration::ZERO, max_positions: u64::MAX, history: Duration::ZERO, versions: 100 };

/// The live keys.
type State = BTreeMap<Arc<str>, Stored>;

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

fn fold(mut state: State, changes: &[Change]) -> State {
    for change in changes {
        match &change.value {
            Some(value) => state.insert(change.key.clone(), value.clone()),
            None => state.remove(&change.key),
        };
    }
    state
}

async fn state_of(store: &Arc<dyn Store>) -> State {
    fold(State::new(), &store.load().await.expect("load").changes)
}

async fn head(store: &Arc<dyn Store>) -> Position {
    store.load().await.expect("load").position
}

async fn commit(store: &Arc<dyn Store>, operations: impl Into<Vec<Operation>>) -> Position {
    let commit = Commit { operations: operations.into(), ..Commit::default() };
    store.commit(commit).await.expect("a commit that nothing speaks against")
}

async fn refused(store: &Arc<dyn Store>, operation: Operation) -> Refused {
    match store.commit(Commit::one(operation)).await {
        Err(CommitError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn changes(store: &Arc<dyn Store>, after: &Position) -> Batch {
    match store.changes(after).await.expect("changes") {
        Since::Changes(batch) => batch,
        Since::Replaced => panic!("{after:?} is a position of this store"),
    }
}

async fn is_replaced(store: &Arc<dyn Store>, position: &Position) -> bool {
    matches!(store.changes(position).await.expect("changes"), Since::Replaced)
}
