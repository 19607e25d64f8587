//! A server above a store that fails: whatever happens, it shows what the store holds, and nothing that was acknowledged
//! is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream::position::Position;
use datastream::proto::{Data, DataResponse};
use futures_util::future::join_all;
use prost::Message as _;
use tokio::time::{sleep, timeout};

use super::words::{DEADLINE, State, fold, named, put};
use super::{Open, Subject};
use crate::feed::Feed;
use crate::store::{Commit, CommitError, Operation, Retention, Store as _, StoreError, Stored};
use crate::testing::faulty::{Bell, FaultyStore, Moment};

/// How many scripts run side by side.
const LANES: u64 = 8;
const RETRY: Duration = Duration::from_millis(5);

/// A feed on a store with faults.
struct Server {
    store: Arc<FaultyStore>,
    feed: Arc<Feed>,
    run: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(store: Arc<FaultyStore>) -> Self {
        let feed = loop {
            match Feed::start(store.clone(), Retention::default()).await {
                Ok(feed) => break feed,
                Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
            }
        };
        let run = tokio::spawn(feed.clone().run());
        Self { store, feed, run }
    }

    /// Makes commits of every kind, each until it is answered. Retries are under one name, and each commit expects what the one
    /// before made: one that is made twice would be refused.
    async fn script(&self, reaches: bool) {
        let mut last = 0;
        for n in 0..4 {
            let mut commit = named(&format!("request {n}"), 7, put("chain", n).expecting(last));
            let others = match n {
                0 => vec![put("a", 1), put("b", 1)],
                1 => vec![Operation::delete("b"), put("c", 3)],
                2 => vec![put("b", 4), Operation::delete("a")],
                _ => vec![],
            };
            if self.store.abilities().batches {
                commit.operations.extend(others);
            } else {
                for (i, other) in others.into_iter().enumerate() {
                    self.insist(&named(&format!("request {n}.{i}"), 7, other)).await;
                }
            }
            let position = self.insist(&commit).await;
            let held = self.store.held().await;
            let chain = held.changes.iter().filter(|change| &*change.key == "chain");
            last = chain.map(|change| change.revision).max().expect("it was put");
            if reaches {
                assert!(self.feed.reach(&position, DEADLINE).await, "the server sees what was committed");
            }
        }
    }

    async fn insist(&self, commit: &Commit) -> Position {
        loop {
            match self.store.commit(commit.clone()).await {
                Ok(position) => break position,
                Err(CommitError::Store(StoreError::Unavailable(_))) => sleep(RETRY).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Waits until the state is what the store holds.
    async fn converges(&self) {
        let held = self.store.held().await;
        let expected = fold(State::new(), &held.changes);
        let same = async {
            while self.shown() != expected {
                sleep(RETRY).await;
            }
        };
        timeout(DEADLINE, same).await.expect("the server shows what the store holds");
        assert_eq!(self.feed.state().position(), &held.position);
    }

    fn shown(&self) -> State {
        let state = self.feed.state();
        let entries = state.below("", None).filter(|entry| !entry.is_tombstone());
        entries.flat_map(|entry| decoded(&entry.encoded)).collect()
    }
}

/// What a subscriber reads.
fn decoded(encoded: &Bytes) -> impl Iterator<Item = (Arc<str>, Stored)> + use<> {
    let message = DataResponse::decode(encoded.clone()).expect("a server encodes what can be read");
    let stored = |data: Data| Stored { value: data.value, value_type: data.value_type.into() };
    message.data.into_iter().map(move |(key, data)| (key.into(), stored(data)))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run.abort();
    }
}

/// The first, the second, and so on: before it did its work, or after all of it, so that only the answer is lost.
pub(super) async fn a_server_follows_whichever_call_fails(open: Open) {
    for moment in [Moment::Before, Moment::After] {
        let mut first = 1;
        loop {
            let lanes = (first..first + LANES).map(|n| fails(open.clone(), n, moment));
            if join_all(lanes).await.contains(&false) {
                break;
            }
            first += LANES;
        }
        assert!(first > 1, "the script makes calls");
    }
}

/// Returns whether the call was made that was to fail.
async fn fails(open: Open, n: u64, moment: Moment) -> bool {
    let Subject { store, kept: _kept, .. } = open().await;
    let store = FaultyStore::around(store);
    store.fail_call(n, moment);
    let server = Server::start(store).await;
    server.script(true).await;
    server.converges().await;
    server.store.has_failed_call()
}

/// It looks by the clock as well.
pub(super) async fn a_server_follows_without_its_bell(open: Open) {
    with_bell(open, Bell::Silent).await;
}

/// Twice for each change, and for nothing at all.
pub(super) async fn a_server_follows_a_bell_that_rings_too_often(open: Open) {
    with_bell(open.clone(), Bell::Doubled).await;
    with_bell(open, Bell::Spurious).await;
}

async fn with_bell(open: Open, bell: Bell) {
    let Subject { store, kept: _kept, .. } = open().await;
    let store = FaultyStore::around(store);
    store.set_bell(bell);
    let server = Server::start(store).await;
    // Nothing but the bell, and the clock, makes it look.
    server.script(false).await;
    server.converges().await;
}

/// Each call takes its time.
pub(super) async fn a_server_follows_a_slow_store(open: Open) {
    let Subject { store, kept: _kept, .. } = open().await;
    let store = FaultyStore::around(store);
    store.delay_calls(Duration::from_millis(20));
    let server = Server::start(store).await;
    server.script(true).await;
    server.converges().await;
}
