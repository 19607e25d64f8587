//! What a history tells.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::Selector;

use super::words::{NOTHING_KEPT, commit, put, together};
use super::{Open, Subject};
use crate::state::Place;
use crate::store::{Commit, HistoryPage, HistoryQuery, Logged, Operation, Retention, Store};

async fn page(
    store: &Arc<dyn Store>,
    of: &str,
    before: Option<Place>,
    limit: usize,
    bytes: usize,
) -> HistoryPage {
    let of = (!of.is_empty()).then(|| Selector::parse(of).expect("a key"));
    let query = HistoryQuery { of, before, limit, bytes };
    store.history(query).await.expect("history").expect("it keeps one")
}

async fn told(store: &Arc<dyn Store>, of: &str) -> Vec<String> {
    page(store, of, None, 1000, usize::MAX).await.changes.iter().map(tell).collect()
}

/// `a=1`, or `a-` for a deletion.
fn tell(logged: &Logged) -> String {
    let value = logged.change.value.as_ref();
    let value = value.map_or("-".to_owned(), |value| format!("={}", String::from_utf8_lossy(&value.value)));
    format!("{}{value}", logged.change.key)
}

/// Each change with the position of its commit, its author and its message.
pub(super) async fn a_history_tells_who_and_why_newest_first(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let first = Commit {
        operations: vec![put("a", 1)],
        author: "ada".to_owned(),
        message: "begin".to_owned(),
        ..Commit::default()
    };
    let begun = store.commit(first).await.expect("commit");
    commit(&store, [put("b", 1)]).await;
    let ended = commit(&store, [Operation::delete("a")]).await;
    let history = page(&store, "a", None, 10, usize::MAX).await;
    assert!(!history.more);
    let [gone, was] = &history.changes[..] else { panic!("two changes: {history:?}") };
    assert_eq!((tell(gone), &gone.position, &*gone.author), ("a-".to_owned(), &ended, ""));
    assert_eq!((tell(was), &was.position), ("a=1".to_owned(), &begun));
    assert_eq!((&*was.author, &*was.message), ("ada", "begin"));
    assert!(was.change.revision <= begun.revision);
    assert_eq!(told(&store, "").await.len(), 3);
}

/// Of `a/`: `a/b`, and neither `a` nor `a!` nor `a0`.
pub(super) async fn a_history_of_a_prefix_holds_what_is_below_it(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    for key in ["a!", "a/b", "a/\u{10ffff}", "a0", "b"] {
        commit(&store, [put(key, 1)]).await;
    }
    if store.abilities().nesting {
        commit(&store, [put("a", 1)]).await;
        assert_eq!(told(&store, "a").await, ["a=1"]);
    }
    assert_eq!(told(&store, "a/").await, ["a/\u{10ffff}=1", "a/b=1"]);
    assert!(told(&store, "absent/").await.is_empty());
}

/// Nothing is told twice or left out, where a page ends within a commit too, and whatever is written between two pages.
pub(super) async fn a_history_comes_in_pages(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    for n in 1..=4 {
        together(&store, ["a/a", "a/b", "a/c"].map(|key| put(key, n)).into()).await;
    }
    let whole = told(&store, "a/").await;
    assert_eq!(whole.len(), 12);
    for size in 1..=5 {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let part = page(&store, "a/", before, size, usize::MAX).await;
            assert!(!part.changes.is_empty() && part.changes.len() <= size);
            all.extend(part.changes.iter().map(tell));
            before = part.changes.last().map(|last| (last.change.revision, last.change.key.clone()));
            commit(&store, [put("b", size * 100 + all.len())]).await;
            if !part.more {
                break;
            }
        }
        assert_eq!(all, whole, "pages of {size}");
    }
}

/// But one change, however long.
pub(super) async fn a_page_holds_no_more_bytes_than_it_may(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    for fill in ["x", "y", "z"] {
        commit(&store, [Operation::put("a", "string", fill.repeat(1000))]).await;
    }
    let part = page(&store, "a", None, 10, 2500).await;
    assert_eq!((part.changes.len(), part.more), (2, true));
    let part = page(&store, "a", None, 10, 1).await;
    assert_eq!((part.changes.len(), part.more), (1, true));
}

/// However young the others are.
pub(super) async fn a_history_keeps_so_many_versions_and_the_latest_always(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    for n in 1..=10 {
        commit(&store, [put("often", n)]).await;
    }
    commit(&store, [put("once", 1)]).await;
    commit(&store, [put("end", 1)]).await;
    let kept = Retention { versions: 3, positions: Duration::ZERO, ..Retention::default() };
    store.compact(kept).await.expect("compact");
    assert_eq!(told(&store, "often").await, ["often=10", "often=9", "often=8"]);
    assert_eq!(told(&store, "once").await, ["once=1"]);
    assert_eq!(store.load().await.expect("load").changes.len(), 3);
}

/// Until then it is told, and the latest whatever its age.
pub(super) async fn a_superseded_value_stays_as_long_as_the_history(open: Open) {
    for (history, expected) in [
        (Duration::from_secs(3600), &["end=1", "dies-", "dies=1", "a=2", "a=1"][..]),
        (Duration::ZERO, &["end=1", "a=2"]),
    ] {
        let Subject { store, kept: _kept, .. } = open().await;
        for operation in [put("a", 1), put("a", 2), put("dies", 1), Operation::delete("dies"), put("end", 1)]
        {
            commit(&store, [operation]).await;
        }
        store.compact(Retention { history, ..NOTHING_KEPT }).await.expect("compact");
        assert_eq!(told(&store, "").await, expected);
    }
}

/// What a status tells grows with what is kept.
pub(super) async fn the_usage_counts_what_is_kept(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let Some(before) = store.usage().await.expect("usage") else { return };
    for n in 0..50 {
        commit(&store, [Operation::put("a", "string", format!("{n:0>1000}"))]).await;
    }
    let after = store.usage().await.expect("usage").expect("it told before");
    assert_eq!(after.changes, before.changes + 50);
    assert!(after.bytes >= before.bytes + 40_000, "{before:?} {after:?}");
}
