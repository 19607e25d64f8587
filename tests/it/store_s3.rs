//! The store `s3` keeps what every store promises, and what only it can: it follows a bucket that anybody writes, and
//! refuses to write where updates would be lost.

mod defects;
mod faults;
mod garage;
mod refused;
mod rules;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream_server::store::{Batch, Commit, CommitError, Operation, Refused, Since, Store};
use datastream_server::stores::s3;

use crate::s3::Server;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A bucket that keeps conditions, and a store of it that looks when it is told to: else only each hour.
async fn served() -> (Server, Arc<dyn Store>) {
    let server = Server::start().await;
    let store = open(&server, "&poll=1h").await;
    (server, store)
}

async fn open(server: &Server, options: &str) -> Arc<dyn Store> {
    s3::open(&server.store(options)).await.expect("it can be served")
}

async fn head(store: &Arc<dyn Store>) -> Position {
    store.load().await.expect("load").position
}

async fn commit(store: &Arc<dyn Store>, operation: Operation) -> Position {
    store.commit(Commit::one(operation)).await.expect("a commit that nothing speaks against")
}

async fn refusal(store: &Arc<dyn Store>, operation: Operation) -> Refused {
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

/// What the store says when it has just looked: key, type and text of what is live.
async fn state(store: &Arc<dyn Store>) -> Vec<(String, String, String)> {
    store.refresh().await.expect("it can look");
    known(store).await
}

/// What the store says without looking.
async fn known(store: &Arc<dyn Store>) -> Vec<(String, String, String)> {
    let changes = store.load().await.expect("load").changes;
    let live = changes.iter().filter_map(|change| {
        let stored = change.value.as_ref()?;
        let text = String::from_utf8_lossy(&stored.value).into_owned();
        Some((change.key.to_string(), stored.value_type.to_string(), text))
    });
    let mut live: Vec<_> = live.collect();
    live.sort();
    live
}

/// A setting, as [`state`] tells it.
fn setting(key: &str, value_type: &str, text: &str) -> (String, String, String) {
    (key.to_owned(), value_type.to_owned(), text.to_owned())
}

/// Waits until the store tells so many settings, without asking it to look.
async fn arrive(store: &Arc<dyn Store>, expected: &[(String, String, String)]) {
    let arrives = async {
        while known(store).await != expected {
            store.rung().await;
        }
    };
    let arrived = tokio::time::timeout(DEADLINE, arrives).await;
    assert!(arrived.is_ok(), "{:?} is not {expected:?}", known(store).await);
}
