//! The store forgets all the time, while some write and delete, and others come back with positions of every age.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datastream::proto::{CommitRequest, Phase, StatusRequest};
use datastream_client::{Client, Entries, Watch};
use datastream_server::Config;
use datastream_server::store::{Retention, Store};
use datastream_server::testing::TestServer;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::samples::Samples;
use super::truth::Truth;
use super::{RETRY, STORES, size};
use crate::control::{Control, delete, put};
use crate::cutting_proxy::{Cuts, CuttingProxy};
use crate::mirror::Mirror;
use crate::wire::{Wire, within};

const SHORT: Duration = Duration::from_millis(200);
/// What is remembered: so little that many positions are too old.
const RETENTION: Retention = Retention {
    positions: SHORT,
    history: SHORT,
    max_positions: 100_000,
    versions: 100,
    requests: SHORT,
    max_requests: 100_000,
};
const BETWEEN_COMPACTIONS: Duration = Duration::from_millis(20);
const BETWEEN_SAMPLES: Duration = Duration::from_millis(100);
const KEYS: usize = 40;
const VALUE_BYTES: usize = 4_000;
/// What fills the log; few keys, so that little of it is live.
const OTHER_KEYS: u64 = 10;
const OTHER_VALUE_BYTES: usize = 30_000;
/// Several times what the file may grow.
const ENOUGH_BYTES: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
const RETURNERS: usize = 4;
/// How many positions a returner remembers, which makes some of them some seconds old.
const BOOKMARKS: usize = 64;
/// A connection lives for some states.
const CUTS: std::ops::Range<u64> = 0..2_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_resumes_while_the_store_forgets_misses_nothing() {
    let seconds = size("DATASTREAM_COMPACTION_SECONDS", 5);
    let (_, open) = STORES[1];
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let config = Config::default().heartbeat(Duration::from_millis(50)).retention(RETENTION);
    let server = TestServer::start_with(store.clone(), config);
    let proxy = CuttingProxy::start(&server.url(), Cuts::of_answers(CUTS)).await;
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let scene = Arc::new(Scene::new(until));

    // They go on until the others have checked all that they saw.
    let mut writers = JoinSet::new();
    writers.spawn(compact(store, scene.clone()));
    writers.spawn(write(server.url(), scene.clone()));
    (0..2).for_each(|n| drop(writers.spawn(write_others(n, server.url(), scene.clone()))));
    let mut readers = JoinSet::new();
    for url in [server.url(), proxy.url()] {
        (0..RETURNERS)
            .for_each(|_| drop(readers.spawn(come_and_go(url.clone(), server.url(), scene.clone()))));
        readers.spawn(show(url, scene.clone()));
    }
    let samples = sample(folder.path(), &scene, &mut writers).await;
    while let Some(ended) = within("the readers", readers.join_next()).await {
        ended.expect("the laws hold");
    }
    assert!(writers.try_join_next().is_none(), "a writer ended");
    writers.shutdown().await;
    println!("{seconds} s, {} connections cut, {}", proxy.cut(), scene.tally());
    assert!(scene.has_seen_enough(), "too little was seen");
    samples.check();
}

/// What those who write and those who read have in common.
struct Scene {
    until: Instant,
    truth: Truth,
    written: AtomicU64,
    /// How many compactions ended, and how far they came.
    compacted: watch::Sender<(u64, u64)>,
    resumes: AtomicU64,
    resets: AtomicU64,
    states: AtomicU64,
}

impl Scene {
    fn new(until: Instant) -> Self {
        Self {
            until,
            truth: Truth::default(),
            written: AtomicU64::new(0),
            compacted: watch::Sender::new((0, 0)),
            resumes: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            states: AtomicU64::new(0),
        }
    }

    /// On a machine that is busy it takes longer until enough was seen.
    fn goes_on(&self) -> bool {
        let now = Instant::now();
        now < self.until || (now < self.until + PATIENCE && !self.has_seen_enough())
    }

    fn has_seen_enough(&self) -> bool {
        let is_some = |count: &AtomicU64| count.load(Ordering::Relaxed) > 20;
        let has_seen_each = [&self.resumes, &self.resets, &self.states].into_iter().all(is_some);
        has_seen_each && self.written.load(Ordering::Relaxed) > ENOUGH_BYTES
    }

    fn tally(&self) -> String {
        let [resumes, resets, states] =
            [&self.resumes, &self.resets, &self.states].map(|count| count.load(Ordering::Relaxed));
        let (compactions, compacted_to) = *self.compacted.borrow();
        format!(
            "{compactions} compactions up to {compacted_to}, {resumes} resumes, {resets} resets, {states} states \
             of clients"
        )
    }
}

async fn compact(store: Arc<dyn Store>, scene: Arc<Scene>) {
    loop {
        let to = store.compact(RETENTION).await.expect("it can be written");
        scene.compacted.send_modify(|(count, compacted_to)| (*count, *compacted_to) = (*count + 1, to));
        tokio::time::sleep(BETWEEN_COMPACTIONS).await;
    }
}

/// The only one who writes what is watched.
async fn write(url: String, scene: Arc<Scene>) {
    let control = Control::of(&Wire::to(&url).await);
    for n in 0_u64.. {
        let keys = fastrand::choose_multiple(0..KEYS, fastrand::usize(1..5));
        let keys = keys.into_iter().map(|key| format!("watched/{key}"));
        let changes: BTreeMap<String, Option<String>> =
            keys.map(|key| (key, fastrand::bool().then(|| format!("{n:0>VALUE_BYTES$}")))).collect();
        let position = commit(&control, &scene, &changes).await;
        scene.truth.note(position, changes);
    }
}

/// Two of these move the positions of everybody, and fill the log.
async fn write_others(n: usize, url: String, scene: Arc<Scene>) {
    let control = Control::of(&Wire::to(&url).await);
    for round in 0_u64.. {
        let key = format!("other/{n}/{}", round % OTHER_KEYS);
        let value = fastrand::bool().then(|| format!("{round:0>OTHER_VALUE_BYTES$}"));
        commit(&control, &scene, &BTreeMap::from([(key, value)])).await;
        tokio::time::sleep(RETRY).await;
    }
}

async fn commit(control: &Control, scene: &Scene, changes: &BTreeMap<String, Option<String>>) -> u64 {
    let operations = changes.iter().map(|(key, value)| match value {
        Some(value) => put(key, "string", value.clone()),
        None => delete(key),
    });
    let request = CommitRequest { operations: operations.collect(), ..CommitRequest::default() };
    let bytes: usize = changes.values().flatten().map(String::len).sum();
    scene.written.fetch_add(bytes as u64, Ordering::Relaxed);
    within("a commit", control.make(request)).await.expect("it is taken").revision
}

/// A raw client that comes back with where it was just now, or at any time before.
async fn come_and_go(url: String, server: String, scene: Arc<Scene>) {
    let (wire, control) = (Wire::lazy(&url), Control::of(&Wire::lazy(&server)));
    let mut bookmarks = vec![Mirror::of(&["watched/"])];
    while scene.goes_on() {
        tokio::time::sleep(RETRY).await;
        let mut mirror = bookmarks[fastrand::usize(..bookmarks.len())].clone();
        let was = mirror.position.revision;
        let forgotten = if fastrand::u8(..4) == 0 { forgotten(&control).await } else { 0 };
        let Ok(mut stream) = wire.try_subscribe(mirror.request()).await else { continue };
        for n in 0..fastrand::usize(1..8) {
            let Ok(delivery) = stream.try_next().await else { break };
            if n == 0 && was > 0 {
                judge(&scene, delivery.phase, was, forgotten).await;
            }
            mirror.apply(delivery);
            scene.truth.check(mirror.position.revision, mirror.values().into_iter()).await;
            if bookmarks.len() == BOOKMARKS {
                bookmarks.swap_remove(fastrand::usize(..BOOKMARKS));
            }
            bookmarks.push(mirror.clone());
        }
    }
}

/// How far the state of the server has forgotten.
async fn forgotten(control: &Control) -> u64 {
    let status = within("a status", control.0.clone().status(StatusRequest {})).await;
    status.expect("it is there").into_inner().compacted_to
}

/// Who stood at `was` is resumed from there, unless it is forgotten: by the compaction that is under way at the latest.
async fn judge(scene: &Scene, phase: Phase, was: u64, forgotten: u64) {
    if phase == Phase::Resume {
        assert!(was > forgotten, "resumed from {was}, though all up to {forgotten} was forgotten");
        scene.resumes.fetch_add(1, Ordering::Relaxed);
        return;
    }
    assert_eq!(phase, Phase::Reset);
    let mut compacted = scene.compacted.subscribe();
    let next = compacted.borrow().0 + 1;
    let (_, to) =
        *within("a compaction", compacted.wait_for(|(count, _)| *count >= next)).await.expect("kept");
    assert!(was <= to, "reset from {was}, though only what is up to {to} was forgotten");
    scene.resets.fetch_add(1, Ordering::Relaxed);
}

/// A client as applications have it: whatever it shows is what was committed.
async fn show(url: String, scene: Arc<Scene>) {
    let client = Client::connect(url);
    let _watched: Watch<Entries<String>> = client.watch_prefix("watched/");
    let mut shown = client.snapshot();
    while scene.goes_on() {
        tokio::time::sleep(RETRY).await;
        let now = client.snapshot();
        if let (false, Some(position)) = (Arc::ptr_eq(&now, &shown), now.position()) {
            let values = now.keys().map(|key| (key, &now.text(key).expect("it is there").0[..]));
            scene.truth.check(position.revision, values).await;
            scene.states.fetch_add(1, Ordering::Relaxed);
        }
        shown = now;
    }
}

async fn sample(folder: &Path, scene: &Scene, writers: &mut JoinSet<()>) -> Samples {
    let mut samples = Samples::of(folder);
    while scene.goes_on() {
        assert!(writers.try_join_next().is_none(), "a writer ended");
        samples.take(scene.written.load(Ordering::Relaxed));
        tokio::time::sleep(BETWEEN_SAMPLES).await;
    }
    samples.save();
    samples
}
