//! What a commit does, and what it does not.

use std::sync::Arc;

use bytes::Bytes;
use datastream::position::Position;
use futures_util::FutureExt as _;

use super::words::{State, changes, commit, fold, head, named, put, refused, state_of, together};
use super::{Open, Subject};
use crate::store::{Action, Commit, CommitError, Operation, Refused};

/// Whatever else its batch asks for, and wherever in it the refused one stands.
pub(super) async fn a_refused_operation_leaves_no_trace(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
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
pub(super) async fn a_put_of_what_stands_makes_no_revision(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let first = commit(&store, [put("a", 1)]).await;
    let written = commit(&store, [put("b", 1)]).await;
    let end = commit(&store, [put("c", 1)]).await;
    assert_eq!(commit(&store, [put("a", 1)]).await, first);
    assert_eq!(together(&store, vec![put("a", 1), put("b", 1)]).await, written, "the newest of them");
    assert_eq!(commit(&store, []).await, end);
    assert_eq!(
        commit(&store, [Operation::delete("absent")]).await,
        end,
        "that a key never was is true as of the head"
    );
    assert_eq!(head(&store).await, end);
}

/// A type of its own is kept where none is named; another is refused unless it is meant.
pub(super) async fn a_type_changes_only_when_it_is_meant(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
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
pub(super) async fn preconditions_hold_or_nothing_happens(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
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
pub(super) async fn concurrent_commits_all_arrive_in_order(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
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
pub(super) async fn a_dropped_commit_is_whole_or_absent(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
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
pub(super) async fn a_seed_fills_gaps_once(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
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

/// Rather than kept in parts; one key, and none, are taken.
pub(super) async fn several_keys_are_refused(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let before = head(&store).await;
    let operations = vec![put("a", 1), put("b", 1)];
    let result = store.commit(Commit { operations, ..Commit::default() }).await;
    assert!(matches!(result, Err(CommitError::SeveralKeys)), "{result:?}");
    assert_eq!(head(&store).await, before);
    assert_eq!(commit(&store, []).await, before);
    commit(&store, [put("a", 1)]).await;
}

/// Either way round, and whatever is there stays.
pub(super) async fn a_file_and_a_folder_of_one_name_are_refused(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    commit(&store, [put("a", 1)]).await;
    commit(&store, [put("b/c/d", 1)]).await;
    let end = head(&store).await;
    for key in ["a/b", "a/b/c", "b", "b/c"] {
        let refusal = refused(&store, put(key, 2)).await;
        assert!(matches!(refusal, Refused::InTheWay { .. }), "{key}: {refusal:?}");
    }
    assert_eq!(head(&store).await, end);
    commit(&store, [Operation::delete("a")]).await;
    commit(&store, [put("a/b", 2)]).await;
}

/// So that of ten thousand the author finds the one.
pub(super) async fn a_refusal_names_its_key(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let mut operations = vec![put("a", 1), put("b", "x"), put("c", 1)];
    if !store.abilities().batches {
        operations.retain(|operation| &*operation.key == "b");
    }
    match store.commit(Commit { operations, ..Commit::default() }).await {
        Err(CommitError::Refused { key, why: Refused::Value(_) }) => assert_eq!(key.as_deref(), Some("b")),
        other => panic!("not refused: {other:?}"),
    }
}

/// One that is wrong whatever the store holds is told so, whatever else stands against it.
pub(super) async fn what_is_always_wrong_is_told_first(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    commit(&store, [put("a", 1)]).await;
    let refusal = refused(&store, put("a", "x").expecting(0)).await;
    assert!(matches!(refusal, Refused::Value(_)), "{refusal:?}");
}

/// Each of 32 expects that there is no such key.
pub(super) async fn of_concurrent_creations_one_succeeds(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let creations = (0..32).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(Commit::one(put("a", n).expecting(0))).await })
    });
    let results = futures_util::future::try_join_all(creations).await.expect("the writers");
    let made: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(made.len(), 1);
    let at = |result: &Result<Position, _>| match result {
        Err(CommitError::Refused { why: Refused::Exists { revision }, .. }) => *revision == made[0].revision,
        other => other.is_ok(),
    };
    assert!(results.iter().all(at), "the others are told where it is");
}

/// Whatever the store holds by then: what came between stands.
pub(super) async fn a_request_is_applied_once(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let request = named("one", 7, put("a", 1));
    let made = store.commit(request.clone()).await.expect("commit");
    commit(&store, [put("a", 2)]).await;
    let end = commit(&store, [put("b", 1)]).await;
    assert_eq!(store.commit(request.clone()).await.expect("the same answer"), made);
    assert_eq!(state_of(&store).await["a"].value, "2");
    assert_eq!(head(&store).await, end);
    let other = named("two", 7, put("a", 1));
    assert!(store.commit(other).await.expect("another name").revision > end.revision);
}

/// It would change something now.
pub(super) async fn a_request_that_changed_nothing_is_remembered(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let made = commit(&store, [put("a", 1)]).await;
    let request = named("one", 7, put("a", 1));
    assert_eq!(store.commit(request.clone()).await.expect("it stands"), made);
    commit(&store, [put("a", 2)]).await;
    assert_eq!(store.commit(request).await.expect("the same answer"), made);
    assert_eq!(state_of(&store).await["a"].value, "2");
}

/// What was wrong may be right by now.
pub(super) async fn a_request_that_was_refused_is_not_remembered(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    commit(&store, [put("a", 1)]).await;
    let request = named("one", 7, put("a", 2).expecting(0));
    store.commit(request.clone()).await.expect_err("it exists");
    commit(&store, [Operation::delete("a")]).await;
    store.commit(request).await.expect("it does not exist");
}

/// And what they ask for is not done.
pub(super) async fn a_name_that_was_used_is_refused_to_others(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    store.commit(named("one", 7, put("a", 1))).await.expect("commit");
    let before = head(&store).await;
    let result = store.commit(named("one", 8, put("b", 1))).await;
    assert!(matches!(result, Err(CommitError::Reused)), "{result:?}");
    assert_eq!(head(&store).await, before);
}

/// As those of a caller who is impatient.
pub(super) async fn concurrent_requests_of_one_name_are_applied_once(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let genesis = head(&store).await;
    let requests = (0..32).map(|_| {
        let store = store.clone();
        // Made a second time it would be refused.
        tokio::spawn(async move { store.commit(named("one", 7, put("a", 1).expecting(0))).await })
    });
    let results = futures_util::future::try_join_all(requests).await.expect("the writers");
    let answers: Vec<_> = results.into_iter().map(|result| result.expect("an answer")).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(changes(&store, &genesis).await.positions, answers[..1]);
}
