//! A script of pushes is run again and again, and each time the next call of the store fails.
//!
//! The call fails before it did its work, or after it did all of it. So every place is met where a server could
//! take a failure for a success, a success for nothing, or half of something for the whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use datastream::proto::DataResponse;
use datastream_client::{Client, Watch};
use datastream_server::store::{Commit, Operation, Snapshot, Store};
use datastream_server::stores::MemoryStore;
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::testing::TestServer;
use futures_util::future::join_all;
use tonic::Code;

use crate::faulty_store::{FaultyStore, Moment};
use crate::wire::{Wire, announced, data, eventually};

const PUSHES: i64 = 50;
/// How many runs go side by side.
const LANES: usize = 8;
/// Every third push is a commit of these, all with one value.
const BATCH: [&str; 3] = ["batch/a", "batch/b", "batch/c"];
/// The others are pushed one at a time.
const SINGLE: [&str; 4] = ["single/a", "single/b", "single/c", "single/d"];
/// Before this one the store forgets where the server stands, so that it has to load everything.
const RELOADED: i64 = PUSHES / 2;

#[tokio::test]
async fn a_store_call_that_fails_before_its_work_loses_no_acknowledged_push() {
    calls_fail(Moment::Before, 1, || Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_store_call_whose_answer_is_lost_loses_no_acknowledged_push() {
    calls_fail(Moment::After, 1, || Arc::new(MemoryStore::new())).await;
}

/// Each run syncs its file 50 times, so that not every call has one.
#[tokio::test]
async fn a_file_loses_no_acknowledged_push_when_a_call_fails() {
    let files = tempfile::tempdir().expect("a folder");
    let mut next = 0;
    for moment in [Moment::Before, Moment::After] {
        calls_fail(moment, 5, || {
            next += 1;
            Arc::new(SqliteStore::open(&files.path().join(next.to_string())).expect("a new file"))
        })
        .await;
    }
}

/// Runs the script with the first call failing, then with the one that is `step` calls later, and so on until it makes
/// no such call any more; several at a time, since most of it is waiting.
async fn calls_fail<S: Store>(moment: Moment, step: usize, mut open: impl FnMut() -> Arc<S>) {
    let mut calls = (1..).step_by(step);
    let mut runs = 0;
    loop {
        let scripts: Vec<_> = calls.by_ref().take(LANES).map(|n| Script::run(open(), n, moment)).collect();
        let failed = join_all(scripts).await.into_iter().filter(|failed| *failed).count();
        runs += failed;
        if failed < LANES {
            break;
        }
    }
    println!("{runs} calls of the store were failed, one in each run: {moment:?}");
    assert!(runs * step > PUSHES.unsigned_abs() as usize, "each push calls the store");
}

/// One run, and what it knows of each key.
struct Script {
    store: Arc<FaultyStore>,
    _server: TestServer,
    wire: Wire,
    client: Client,
    _watched: Vec<Watch<i64>>,
    /// The last value that was acknowledged.
    acknowledged: BTreeMap<&'static str, i64>,
    /// The last value that was pushed.
    attempted: BTreeMap<&'static str, i64>,
    failures: u64,
}

impl Script {
    async fn start(inner: Arc<dyn Store>, n: u64, moment: Moment) -> Self {
        let store = FaultyStore::around(inner);
        let server = TestServer::start_with(store.clone(), datastream_server::Config::default());
        let wire = Wire::to(&server.url()).await;
        let client = Client::connect(server.url());
        let watched = keys().map(|key| client.watch::<i64>(key)).collect();
        store.fail_call(n, moment);
        let (acknowledged, attempted) = Default::default();
        Self { store, _server: server, wire, client, _watched: watched, acknowledged, attempted, failures: 0 }
    }

    /// Returns whether the call was made that was to fail.
    async fn run(inner: Arc<dyn Store>, n: u64, moment: Moment) -> bool {
        let mut script = Self::start(inner, n, moment).await;
        script.push_all().await;
        script.converges().await;
        script.store.has_failed_call()
    }

    async fn push_all(&mut self) {
        for push in 1..=PUSHES {
            if push == RELOADED {
                self.store.forget_caller();
            }
            if push % 3 == 0 {
                self.commit(push).await
            } else {
                self.push(push).await
            }
            let served = read(&self.wire.sync(announced(keys())).await);
            whole(&served);
            for key in SINGLE {
                let acknowledged = self.acknowledged.get(key);
                assert!(served.get(key) >= acknowledged, "{key} is acknowledged, and cannot be read");
            }
            whole(&self.shown());
        }
    }

    async fn push(&mut self, value: i64) {
        let key = SINGLE[usize::try_from(value).expect("it is small") % SINGLE.len()];
        self.attempted.insert(key, value);
        match self.wire.push(data(key, "int", value.to_string())).await {
            Ok(_) => {
                self.acknowledged.insert(key, value);
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                self.failures += 1;
            }
        }
        assert!(self.failures <= 1, "only one call fails");
    }

    async fn commit(&mut self, value: i64) {
        let puts = BATCH.map(|key| Operation::put(key, "int", value.to_string()));
        let commit = Commit { operations: puts.to_vec(), ..Commit::default() };
        self.attempted.extend(BATCH.map(|key| (key, value)));
        if self.store.commit(commit).await.is_ok() {
            self.acknowledged.extend(BATCH.map(|key| (key, value)));
        }
    }

    /// What is stored is what was acknowledged or tried after that, and the server and the client come to hold it.
    async fn converges(&self) {
        let held = texts(&self.store.held().await);
        for (key, attempted) in &self.attempted {
            let value = held.get(*key).copied().unwrap_or(0);
            let acknowledged = self.acknowledged.get(key).copied().unwrap_or(0);
            let possible = value == acknowledged || value == *attempted;
            assert!(possible, "{key} is {value}: {acknowledged} was acknowledged, {attempted} was tried");
        }
        whole(&held);
        eventually("the client shows what the store holds", || self.shown() == held).await;
        assert_eq!(read(&self.wire.sync(announced(keys())).await), held);
    }

    fn shown(&self) -> BTreeMap<String, i64> {
        let snapshot = self.client.snapshot();
        let value = |key: &str| snapshot.get::<i64>(key).expect("it is an int");
        keys().filter_map(|key| Some((key.to_owned(), value(key)?))).collect()
    }
}

fn keys() -> impl Iterator<Item = &'static str> {
    BATCH.into_iter().chain(SINGLE)
}

/// No commit is seen in part.
fn whole(values: &BTreeMap<String, i64>) {
    let [a, b, c] = BATCH.map(|key| values.get(key));
    assert!(a == b && b == c, "half of a commit: {values:?}");
}

fn read(answer: &DataResponse) -> BTreeMap<String, i64> {
    let live = answer.data.iter().filter(|(_, data)| !data.deleted);
    live.map(|(key, data)| (key.clone(), int(&data.value))).collect()
}

fn texts(snapshot: &Snapshot) -> BTreeMap<String, i64> {
    let live = snapshot.changes.iter().filter_map(|change| Some((change, change.value.as_ref()?)));
    live.map(|(change, stored)| (change.key.to_string(), int(&stored.value))).collect()
}

fn int(text: &[u8]) -> i64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("it is an int")
}
