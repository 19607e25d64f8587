//! The server is killed while several clients push and others watch, again and again.
//!
//! `kill -9` leaves what was written to the page cache: this shows that nothing is acknowledged before it is
//! written, that what is half-written is whole or gone after a restart, and that clients come back right. It
//! does not show that the disk has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datastream::proto::{Data, Phase, Position};
use datastream_client::{Client, Watch};
use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};

use crate::file_server::FileServer;
use crate::pushers::Counters;
use crate::wire::{Wire, resuming, within};

/// Servers that are killed side by side, so that the clients' pauses before they reconnect overlap.
const LANES: usize = 4;
const COUNTERS: usize = 8;
/// A server lives for at most so long while it is pushed to: from no push at all to some hundred.
const LIFE_MILLIS: u64 = 150;
/// Above the longest pause of a client, which is half a minute.
const CONVERGENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(2);

/// How often a server is killed: `DATASTREAM_ROUNDS`, or the size of the gate.
fn rounds() -> usize {
    std::env::var("DATASTREAM_ROUNDS")
        .map_or(50, |rounds| rounds.parse().expect("DATASTREAM_ROUNDS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_every_acknowledged_push_and_every_client_converges() {
    let began = Instant::now();
    let rounds = rounds();
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        lanes.spawn(live_and_die((rounds + lane) / LANES));
    }
    let (mut acknowledged, mut found) = (0, 0);
    while let Some(lane) = lanes.join_next().await {
        let tally = lane.expect("the laws hold");
        (acknowledged, found) = (acknowledged + tally.0, found + tally.1);
    }
    let took = began.elapsed();
    println!(
        "{rounds} rounds in {took:.1?}: {acknowledged} pushes acknowledged, {found} others there as well"
    );
    // Beside the pushes of the start. How many there are is the machine's, and of each life chance.
    assert!(acknowledged > (LANES * COUNTERS + rounds) as u64, "hardly anything was pushed");
}

async fn live_and_die(rounds: usize) -> (u64, u64) {
    let mut lane = Lane::start().await;
    for _ in 0..rounds {
        lane.round().await;
    }
    lane.finish().await
}

/// One server on one file, through all its lives, and who follows it.
struct Lane {
    folder: TempDir,
    server: FileServer,
    counters: Counters,
    /// Resumes at once after each kill.
    follower: Follower,
    /// Watches through all lives; its pauses grow to half a minute, so it misses most of them.
    veteran: Watcher,
}

impl Lane {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let server = FileServer::start(folder.path());
        let mut counters = Counters::new(COUNTERS);
        counters.push_once(&Wire::to(&server.url()).await).await;
        let follower = Follower::start(&server.url(), &counters);
        let veteran = Watcher::start(&server.url(), &counters).await;
        Self { folder, server, counters, follower, veteran }
    }

    /// One life of the server, its end, and what must hold after it.
    async fn round(&mut self) {
        let url = self.server.url();
        let watcher = Watcher::start(&url, &self.counters).await;
        let pushers = self.counters.push_until_gone(Wire::to(&url).await);
        let death = async {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..LIFE_MILLIS))).await;
            self.server.kill();
        };
        tokio::join!(pushers, death);
        self.server.start_again();
        let held = self.counters.held_in(self.folder.path());
        self.follower.converges(&held).await;
        watcher.converges(&held).await;
    }

    /// Whoever missed most comes back as well.
    async fn finish(mut self) -> (u64, u64) {
        let held = self.counters.held_in(self.folder.path());
        self.veteran.converges(&held).await;
        self.counters.tally()
    }
}

/// A client as applications have it, which checks that nothing that it shows ever goes back.
struct Watcher {
    handles: Vec<Watch<i64>>,
    check: Check,
}

impl Watcher {
    async fn start(url: &str, counters: &Counters) -> Self {
        let client = Client::connect(url);
        let handles: Vec<_> = counters.keys().map(|key| client.watch::<i64>(key)).collect();
        for handle in &handles {
            within("a first value", handle.ready()).await.expect("the counter is there");
        }
        let check = Check::spawn(never_goes_back(client, handles.clone()));
        Self { handles, check }
    }

    async fn converges(&self, held: &BTreeMap<String, i64>) {
        let shows =
            || self.handles.iter().zip(held.values()).all(|(handle, value)| handle.get() == Some(*value));
        self.check.eventually("a client shows what the file holds", shows).await;
    }
}

async fn never_goes_back(client: Client, handles: Vec<Watch<i64>>) {
    let streams =
        handles.iter().enumerate().map(|(n, handle)| handle.stream().map(move |value| (n, value)).boxed());
    let mut changes = select_all(streams);
    let mut shown = vec![0; handles.len()];
    let mut revision = 0;
    while let Some((n, value)) = changes.next().await {
        let value = *value.expect("nobody deletes");
        assert!(value >= shown[n], "a handle went back from {} to {value}", shown[n]);
        shown[n] = value;
        let position = client.snapshot().position().cloned().expect("it has a state");
        assert!(position.revision >= revision, "a client went back from {revision} to {}", position.revision);
        revision = position.revision;
    }
}

/// A raw client that resumes as soon as the server is back, and checks what it is sent.
struct Follower {
    values: Arc<Mutex<BTreeMap<String, i64>>>,
    check: Check,
}

impl Follower {
    fn start(url: &str, counters: &Counters) -> Self {
        let keys = counters.keys().map(str::to_owned).collect();
        let values = Arc::default();
        let check = Check::spawn(follow(Wire::lazy(url), keys, Arc::clone(&values)));
        Self { values, check }
    }

    async fn converges(&self, held: &BTreeMap<String, i64>) {
        let shows = || *self.values.lock().expect("no check failed") == *held;
        self.check.eventually("the follower holds what the file holds", shows).await;
    }
}

async fn follow(wire: Wire, keys: Vec<String>, values: Arc<Mutex<BTreeMap<String, i64>>>) {
    let mut position = Position::default();
    loop {
        let Ok(mut stream) = wire.try_subscribe(resuming(&keys, &position)).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        while let Ok(delivery) = stream.try_next().await {
            let begins = position == Position::default();
            assert_eq!(delivery.phase == Phase::State, begins, "after {position:?}: {delivery}");
            assert_ne!(delivery.phase, Phase::Reset, "after {position:?}: {delivery}");
            assert!(delivery.revision() >= position.revision, "it went back from {position:?}: {delivery}");
            position = delivery.position;
            merge(&mut values.lock().expect("nobody panics with it"), delivery.data);
        }
    }
}

fn merge(values: &mut BTreeMap<String, i64>, data: BTreeMap<String, Data>) {
    for (key, data) in data {
        let text = std::str::from_utf8(&data.value).expect("an int is a text");
        let value = text.parse().expect("it is an int");
        let before = values.insert(key, value).unwrap_or(0);
        assert!(value > before, "{before} was followed by {value}");
    }
}

/// A task that checks for as long as it is kept. That it failed fails the test.
struct Check(JoinHandle<()>);

impl Check {
    fn spawn(check: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(check))
    }

    async fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let poll = async {
            while !holds() {
                assert!(!self.0.is_finished(), "{what}: its check failed");
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::time::timeout(CONVERGENCE, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || !self.0.is_finished(), "a check failed");
        self.0.abort();
    }
}
