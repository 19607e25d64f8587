//! What another program writes.

use std::sync::Arc;

use super::words::{DEADLINE, changes, commit, follow_halves, head, put, refused, state_of};
use super::{ForeignWrite, ForeignWriter, Open, Subject};
use crate::store::{HistoryQuery, Refused, Store};

fn write(key: &str, value: impl ToString) -> ForeignWrite {
    ForeignWrite { key: key.to_owned(), value: Some(("int".to_owned(), value.to_string())) }
}

fn delete(key: &str) -> ForeignWrite {
    ForeignWrite { key: key.to_owned(), value: None }
}

/// The store, and who else writes to it.
async fn opened(open: Open) -> (Arc<dyn Store>, Box<dyn ForeignWriter>, impl Send) {
    let Subject { store, foreign, kept } = open().await;
    (store, foreign.expect("it was asked for one"), kept)
}

/// The bell rings, and it is there: a put, another value, a deletion.
pub(super) async fn a_foreign_write_arrives(open: Open) {
    let (store, foreign, _kept) = opened(open).await;
    let mut position = head(&store).await;
    for (written, expected) in [(write("a", 1), Some("1")), (write("a", 2), Some("2")), (delete("a"), None)] {
        foreign.write(&[written]).await;
        let arrives = async {
            loop {
                let batch = changes(&store, &position).await;
                if let Some(change) = batch.changes.last() {
                    let value = change.value.as_ref().map(|stored| stored.value.clone());
                    assert_eq!(value.as_deref(), expected.map(str::as_bytes));
                    return batch.position;
                }
                store.rung().await;
            }
        };
        position = tokio::time::timeout(DEADLINE, arrives).await.expect("the write arrives");
    }
}

/// One who reads meanwhile sees all of it, or nothing.
pub(super) async fn a_foreign_transaction_is_never_split(open: Open) {
    let (store, foreign, _kept) = opened(open).await;
    let position = head(&store).await;
    let writing = tokio::spawn(async move {
        for round in 1..=50 {
            foreign.write(&[write("a", round), write("b", round)]).await;
        }
    });
    let state = follow_halves(&store, position, writing).await;
    assert_eq!(state["a"].value, "50");
}

/// No revision, so nobody is told.
pub(super) async fn a_foreign_write_of_what_stands_is_no_change(open: Open) {
    let (store, foreign, _kept) = opened(open).await;
    let end = commit(&store, [put("a", 1)]).await;
    foreign.write(&[write("a", 1)]).await;
    foreign.write(&[delete("absent")]).await;
    store.refresh().await.expect("it can be looked at");
    assert!(changes(&store, &end).await.changes.is_empty());
}

/// Not by what this store wrote last.
pub(super) async fn a_commit_is_decided_by_what_others_wrote(open: Open) {
    let (store, foreign, _kept) = opened(open).await;
    let ours = commit(&store, [put("a", 1)]).await;
    foreign.write(&[write("a", 2)]).await;
    let refusal = refused(&store, put("a", 3).expecting(ours.revision)).await;
    let theirs = head(&store).await.revision;
    assert_eq!(refusal, Refused::Conflict { revision: theirs });
    commit(&store, [put("a", 3).expecting(theirs)]).await;
    foreign.write(&[delete("a")]).await;
    commit(&store, [put("a", 4).expecting(0)]).await;
    assert_eq!(state_of(&store).await["a"].value, "4");
}

/// If the store keeps one.
pub(super) async fn a_foreign_write_is_in_the_history(open: Open) {
    let (store, foreign, _kept) = opened(open).await;
    foreign.write(&[write("a", 1)]).await;
    store.refresh().await.expect("it can be looked at");
    let query = HistoryQuery { of: None, before: None, limit: 10, bytes: usize::MAX };
    let Some(page) = store.history(query).await.expect("history") else { return };
    let [only] = &page.changes[..] else { panic!("one change: {page:?}") };
    assert_eq!(&*only.change.key, "a");
    assert_eq!(only.position, head(&store).await);
}
