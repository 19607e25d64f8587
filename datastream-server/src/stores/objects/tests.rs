//! What a store over objects promises of a place that is hard to follow.

mod shelf;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;

use self::shelf::{Fate, Shelf};
use super::{Objects, lock};
use crate::store::{Commit, CommitError, Operation, Refused, RequestId, Store as _, StoreError};

type Opened = Objects<Arc<Shelf>>;

const INTERVAL: Duration = Duration::from_secs(5);

async fn open(shelf: &Arc<Shelf>) -> Opened {
    Objects::start(shelf.clone(), INTERVAL).await.expect("it can be served")
}

/// A place with `a` and `b`, and a store of it.
async fn served() -> (Arc<Shelf>, Opened) {
    let shelf = Arc::new(Shelf::default());
    shelf.put("a", "1");
    shelf.put("b", "1");
    let store = open(&shelf).await;
    shelf.state().reads.clear();
    (shelf, store)
}

/// The keys and the texts of what is live.
async fn known(store: &Opened) -> Vec<(String, String)> {
    let changes = store.load().await.expect("load").changes;
    let live = changes.iter().filter_map(|change| {
        let text = String::from_utf8(change.value.as_ref()?.value.to_vec()).expect("text");
        Some((change.key.to_string(), text))
    });
    let mut live: Vec<_> = live.collect();
    live.sort();
    live
}

async fn look(store: &Opened) {
    store.refresh().await.expect("it can look");
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

fn is_unavailable<T>(result: &Result<T, CommitError>) -> bool {
    matches!(result, Err(CommitError::Store(StoreError::Unavailable(_))))
}

fn put(key: &str, text: &str) -> Operation {
    Operation::put(key, "text/plain", text.to_owned())
}

/// A list may be made while an object is replaced.
#[tokio::test]
async fn what_a_list_leaves_out_is_gone_only_where_it_is_not_there_by_its_name() {
    let (shelf, store) = served().await;
    shelf.state().unlisted.insert("a");
    shelf.take_away("b");
    look(&store).await;
    assert_eq!(known(&store).await, settings(&[("a", "1")]));
    shelf.take_away("a");
    look(&store).await;
    assert_eq!(known(&store).await, []);
}

/// Clients would take it for deleted; of one that is served already it is known how it was.
#[tokio::test]
async fn what_cannot_be_read_stays_as_it_was_and_keeps_a_store_from_starting() {
    let (shelf, store) = served().await;
    shelf.put("a", "2");
    shelf.state().unreadable.insert("a");
    look(&store).await;
    assert_eq!(known(&store).await, settings(&[("a", "1"), ("b", "1")]));
    let Err(error) = Objects::start(shelf.clone(), INTERVAL).await else { panic!("it is served") };
    assert!(crate::error_chain(&error).contains("`a`"), "{error:?}");
    shelf.state().unreadable.clear();
    assert_eq!(known(&open(&shelf).await).await, settings(&[("a", "2"), ("b", "1")]));
}

/// The version that a push has for its own may be that of somebody who was quick.
#[tokio::test]
async fn an_edit_in_the_moment_of_a_push_is_seen() {
    let (shelf, store) = served().await;
    shelf.state().next_writes.push_back(Fate::Overwritten("theirs"));
    store.commit(Commit::one(put("a", "ours"))).await.expect("it was done");
    look(&store).await;
    assert_eq!(known(&store).await, settings(&[("a", "theirs"), ("b", "1")]));
    shelf.state().reads.clear();
    look(&store).await;
    assert_eq!(shelf.state().reads, [""; 0], "what was listed is known");
}

/// A push reads what it decides upon, and what it reads may change again under its version.
#[tokio::test]
async fn an_edit_right_after_a_push_that_wrote_nothing_is_seen() {
    let (shelf, store) = served().await;
    store.commit(Commit::one(put("a", "1"))).await.expect("it stands");
    shelf.edit_unseen("a", "2");
    look(&store).await;
    assert_eq!(known(&store).await, settings(&[("a", "2"), ("b", "1")]));
}

/// And nothing of what it asked for is done.
#[tokio::test]
async fn who_gives_up_while_others_write_leaves_the_line() {
    let (shelf, store) = served().await;
    let store = Arc::new(store);
    let gate = shelf.gate.lock().await;
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.commit(Commit::one(put("first", "1"))).await }
    });
    while shelf.state().reads != ["first"] {
        tokio::task::yield_now().await;
    }
    assert!(store.commit(Commit::one(put("second", "1"))).now_or_never().is_none(), "it waits");
    drop(gate);
    first.await.expect("it ends").expect("it is written");
    // In the order in which they came, so the second would be there.
    store.commit(Commit::one(put("third", "1"))).await.expect("it is written");
    assert_eq!(shelf.keys(), ["a", "b", "first", "third"]);
    assert_eq!(known(&store).await.len(), 4);
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_reading_and_is_no_refusal() {
    let (shelf, store) = served().await;
    for operation in [put("a", "2"), put("new", "1"), Operation::delete("b")] {
        shelf.state().next_writes.push_back(Fate::Unheard);
        store.commit(Commit::one(operation)).await.expect("it was done");
    }
    assert_eq!((known(&store).await, shelf.state().writes), (settings(&[("a", "2"), ("new", "1")]), 3));
    for operation in [put("a", "3"), Operation::delete("a")] {
        shelf.state().next_writes.push_back(Fate::Undone);
        let denied = store.commit(Commit::one(operation)).await;
        assert!(is_unavailable(&denied), "{denied:?}");
    }
    assert_eq!(known(&store).await, settings(&[("a", "2"), ("new", "1")]));
}

/// Nobody is told that it was done before the place keeps it: not who asks again, under a name or without.
#[tokio::test]
async fn what_was_done_and_may_not_be_kept_is_acknowledged_when_it_is_kept() {
    let (shelf, store) = served().await;
    for (n, operation) in [put("a", "2"), put("new", "1"), Operation::delete("b")].into_iter().enumerate() {
        let request = Some(RequestId { id: n.to_string().into(), digest: 7 });
        let named = Commit { request, ..Commit::one(operation.clone()) };
        shelf.state().next_writes.push_back(Fate::Unkept);
        shelf.state().is_failing_to_keep = true;
        for again in [named.clone(), named.clone(), Commit::one(operation), Commit::one(put("c", "1"))] {
            let denied = store.commit(again).await;
            assert!(is_unavailable(&denied), "{denied:?}");
        }
        shelf.state().is_failing_to_keep = false;
        let made = store.commit(named.clone()).await.expect("it is kept");
        assert_eq!(store.commit(named).await.expect("the same answer"), made);
    }
    assert_eq!((known(&store).await, shelf.state().writes), (settings(&[("a", "2"), ("new", "1")]), 3));
}

/// Nobody else wrote then, so there is nothing to read first; where somebody may have, there is.
#[tokio::test(start_paused = true)]
async fn a_place_that_is_busy_to_the_end_is_unavailable_and_no_conflict() {
    let (shelf, store) = served().await;
    shelf.state().next_writes.extend([Fate::Lost, Fate::Busy].into_iter().cycle().take(8));
    let denied = store.commit(Commit::one(put("a", "2"))).await;
    assert!(is_unavailable(&denied), "{denied:?}");
    shelf.state().next_writes.extend([Fate::Busy, Fate::Lost].into_iter().cycle().take(8));
    let denied = store.commit(Commit::one(put("a", "2"))).await;
    assert!(matches!(&denied, Err(CommitError::Refused { why: Refused::Conflict { .. }, .. })), "{denied:?}");
    assert_eq!(shelf.state().writes, 16);
}

/// So that a place which is busy is read in the end; but not what may have changed under its version.
#[tokio::test]
async fn what_a_look_read_that_failed_is_not_read_again() {
    let (shelf, store) = served().await;
    for is_unsettled in [false, true] {
        shelf.put("a", "2");
        shelf.put("b", "2");
        shelf.state().is_unsettled = is_unsettled;
        shelf.state().failing.insert("b");
        store.refresh().await.expect_err("one cannot be read");
        shelf.state().failing.clear();
        shelf.state().reads.clear();
        look(&store).await;
        let expected: &[&str] = if is_unsettled { &["a", "b"] } else { &["b"] };
        assert_eq!(shelf.state().reads, expected, "{is_unsettled}");
    }
}

/// At each interval while all is well, and each minute in the end.
#[tokio::test(start_paused = true)]
async fn a_place_that_fails_is_looked_at_less_and_less() {
    let (shelf, store) = served().await;
    let looks_in = async |time| {
        let lists = shelf.state().lists;
        tokio::time::sleep(time).await;
        shelf.state().lists - lists
    };
    assert!(looks_in(INTERVAL * 20).await >= 19);
    shelf.state().is_away = true;
    let looks = looks_in(Duration::from_secs(600)).await;
    assert!((10..=16).contains(&looks), "{looks}");
    shelf.state().is_away = false;
    look(&store).await;
    looks_in(Duration::from_secs(60)).await;
    assert!(looks_in(INTERVAL * 20).await >= 19);
}

/// The interval is 5 s here, and so what was looked at a minute ago is old.
#[tokio::test]
async fn a_look_that_hangs_or_fails_leaves_what_is_known_old() {
    let (shelf, store) = served().await;
    assert_eq!(store.unheard_since(), None);
    let then = SystemTime::now() - Duration::from_secs(60);
    *lock(&store.shared.heard) = then;
    assert_eq!(store.unheard_since(), Some(then), "it hangs");
    shelf.state().is_away = true;
    store.refresh().await.expect_err("it is away");
    assert_eq!(store.unheard_since(), Some(then));
    shelf.state().is_away = false;
    look(&store).await;
    assert_eq!(store.unheard_since(), None);
}
