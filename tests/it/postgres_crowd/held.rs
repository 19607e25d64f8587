//! Of two servers on one database, one has not seen what the other has: whoever comes there from the other waits, or is
//! sent on, and never goes back.

use std::sync::Arc;
use std::time::Duration;

use datastream::proto::Phase;
use datastream_client::{Client, State, Watch};
use datastream_server::Config;
use datastream_server::stores::postgres::{self, Address};
use datastream_server::testing::TestServer;
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;
use tonic::Code;

use super::switch::Switch;
use crate::faulty_store::{Fault, FaultyStore};
use crate::mirror::Mirror;
use crate::postgres::{Cluster, Database};
use crate::store_postgres::TABLE;
use crate::wire::{Wire, eventually, within};

/// Two servers on one database. What one of them reads can be held back.
struct Pair {
    fresh: TestServer,
    held: TestServer,
    /// What `held` reads.
    store: Arc<FaultyStore>,
    /// To the fresh one.
    wire: Wire,
    _database: Database,
}

impl Pair {
    async fn start() -> Self {
        let database = Cluster::shared().database();
        database.psql(TABLE);
        let open = || postgres::open(Address::parse(&database.url()).expect("an address"));
        let [one, other] = [open().await, open().await].map(|store| store.expect("the table can be served"));
        let store = FaultyStore::around(other);
        let config = Config::default().heartbeat(Duration::from_millis(200));
        let fresh = TestServer::start_with(one, config.clone());
        let held = TestServer::start_with(store.clone(), config);
        let wire = Wire::to(&fresh.url()).await;
        Self { fresh, held, store, wire, _database: database }
    }

    /// One who has followed the fresh server up to what was pushed last.
    async fn follower(&self) -> Mirror {
        let mut mirror = Mirror::of(&["a"]);
        mirror.apply(self.wire.subscribe(mirror.request()).await.next().await);
        mirror
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_ahead_of_a_feed_waits_for_it_or_is_sent_on_and_needs_no_reset() {
    let pair = Pair::start().await;
    let hold = pair.store.fail_reads(Fault::Slow);
    pair.wire.push_int("a", 1).await;
    let [mut patient, mut sent_on] = [pair.follower().await, pair.follower().await];
    let there = Wire::to(&pair.held.url()).await;

    let refused = there.subscribe(sent_on.request()).await.end().await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    pair.wire.push_int("a", 2).await;
    sent_on.apply(pair.wire.subscribe(sent_on.request()).await.next().await);
    assert_eq!(sent_on.values()["a"], b"2");

    let asked = tokio::spawn({
        let (there, request) = (there.clone(), patient.request());
        async move { there.subscribe(request).await }
    });
    eventually("the server has heard it", || pair.held.subscribers() > 0).await;
    assert!(!asked.is_finished(), "it was answered by a feed that is held back");
    drop(hold);
    let mut stream = within("an answer", asked).await.expect("it opens");
    patient.apply(stream.next().await);
    while patient.values()["a"] != b"2" {
        patient.apply(stream.next().await);
    }

    let back = there.subscribe(sent_on.request()).await.next().await;
    assert_eq!(back.phase, Phase::Resume, "{back}");
    assert_eq!([patient.resets, sent_on.resets], [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_keeps_its_value_while_its_server_is_behind_and_goes_on_from_there() {
    let pair = Pair::start().await;
    let hold = pair.store.fail_reads(Fault::Unavailable);
    pair.wire.push_int("a", 1).await;
    let switch = Switch::to(&pair.fresh.url()).await;
    let client = Client::connect(switch.url());
    let handle = client.watch::<i64>("a");
    within("a value", handle.ready()).await.expect("it is there");
    let check = tokio::spawn(never_goes_back(handle.clone()));

    switch.point(&pair.held.url());
    let is_refused =
        || client.status().last_error.is_some_and(|error| format!("{error:?}").contains("not yet seen"));
    eventually("it is told that the server is behind", || check.is_finished() || is_refused()).await;
    assert_eq!((handle.get(), handle.status().state), (Some(1), State::Stale));
    pair.wire.push_int("a", 2).await;
    switch.point(&pair.fresh.url());
    shows(&handle, 2, &check).await;

    switch.point(&pair.held.url());
    eventually("it waits there", || pair.held.subscribers() > 0).await;
    drop(hold);
    pair.wire.push_int("a", 3).await;
    shows(&handle, 3, &check).await;
    eventually("it follows the other", || pair.held.subscribers() > 0 && pair.fresh.subscribers() == 0).await;
}

async fn shows(handle: &Watch<i64>, value: i64, check: &JoinHandle<()>) {
    eventually("it shows the value", || handle.get() == Some(value)).await;
    assert!(!check.is_finished(), "it went back");
}

/// Neither in what it shows, nor in which revision that is.
async fn never_goes_back(handle: Watch<i64>) {
    let mut shown = (0, None);
    let mut values = handle.stream();
    while let Some(value) = values.next().await {
        let now = (*value.expect("nobody deletes"), handle.status().revision);
        assert!(now >= shown, "it went back from {shown:?} to {now:?}");
        shown = now;
    }
}
