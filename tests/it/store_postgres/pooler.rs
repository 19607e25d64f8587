//! A pooler stands between, which hands each transaction another session.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::Selector;
use datastream_server::store::{
    Commit, CommitError, HistoryQuery, Operation, Refused, RequestId, Retention, Store,
};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::captured_log;
use crate::postgres::{Cluster, Database, Pooler};
use crate::wire::within;

use super::watched::Watched;
use super::{DEADLINE, TABLE, changes, commit, head, open, state};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_pooler_a_store_does_all_that_it_does() {
    let (_kept, store) = pooled().await;
    let put = |key: &str, value: &'static str| Operation::put(key, "int", value);
    let made = commit(&store, [put("a", "1"), put("b", "1")]).await;
    let late = Commit::one(put("a", "2").expecting(made.revision + 1));
    let Err(CommitError::Refused { why: Refused::Conflict { revision }, .. }) = store.commit(late).await
    else {
        panic!("it is at another revision");
    };
    assert_eq!(revision, made.revision);
    let seed = || store.seed(Commit { operations: vec![put("a", "3"), put("s", "1")], ..Commit::default() });
    assert_eq!([seed().await.expect("a seed"), seed().await.expect("a seed")], [true, false]);
    let request = || Some(RequestId { id: "once".into(), digest: 1 });
    let once = || store.commit(Commit { request: request(), ..Commit::one(put("a", "4")) });
    assert_eq!(once().await.expect("a commit"), once().await.expect("the same"));
    join_all((0..20).map(|key| commit(&store, [put(&format!("many/{key}"), "1")]))).await;
    let last = commit(&store, [Operation::delete("b")]).await;

    let since = changes(&store, &made).await;
    assert_eq!((&since.position, since.changes.len()), (&last, 23), "s, a, 20 at once, b");
    let live = state(&store).await;
    assert_eq!((live.len(), &*live[0].1), (22, "4"));
    let query = HistoryQuery { of: Some(Selector::Key("a".into())), before: None, limit: 10, bytes: 1 << 20 };
    let page = store.history(query).await.expect("it answers").expect("it keeps one");
    assert_eq!(page.changes.len(), 2);
    assert_eq!(store.usage().await.expect("it answers").expect("it can tell").changes, 25);
    let nothing = Retention { positions: Duration::ZERO, ..Retention::default() };
    assert_eq!(store.compact(nothing).await.expect("it may write"), last.revision - 1);
}

/// A store that reaches its database through a pooler, and both of them.
async fn pooled() -> ((Database, Pooler), Arc<dyn Store>) {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let pooler = Pooler::start(database.cluster());
    let store = open(&pooler.url(&database)).await.expect("the table can be served");
    ((database, pooler), store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_the_log_is_looked_at_every_second_and_that_is_told() {
    captured_log::capture();
    let ((database, _pooler), store) = pooled().await;
    let told = || captured_log::lines_with("is there a pooler between?");
    let waited = async {
        while told().is_empty() {
            store.rung().await;
        }
    };
    within("that is told", waited).await;
    for value in 0..2 {
        let before = head(&store).await;
        database.psql(&Watched::theirs(value));
        let seen = async {
            while changes(&store, &before).await.changes.is_empty() {
                store.rung().await
            }
        };
        timeout(DEADLINE, seen).await.expect("it is looked at without a ring");
    }
}
