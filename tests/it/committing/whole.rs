//! A commit of many keys is seen whole, in however many messages it comes, and wherever they are cut.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datastream::proto::Operation;
use datastream_client::{Client, Entries, Watch};
use datastream_server::testing::TestServer;
use tokio::task::JoinSet;

use super::{RETRY, size};
use crate::control::{Control, delete, put};
use crate::cutting_proxy::{Cuts, CuttingProxy};
use crate::mirror::Mirror;
use crate::wire::{Wire, unannounced};

/// How many keys a commit has, and how many of them the gate makes: 2, some hundred kilobytes, four messages.
const SIZES: [(usize, usize); 3] = [(2, 60), (1_000, 10), (10_000, 3)];
/// At how many keys one message holds them all; so an original client gets them together, too.
const IN_ONE_MESSAGE: usize = 1_000;
const VALUE_BYTES: u64 = 300;
/// Clients of each kind.
const CLIENTS: usize = 2;
/// Above the longest pause of a client, which is half a minute.
const CONVERGENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_many_keys_is_seen_whole_by_every_client() {
    let factor = size("DATASTREAM_DELIVERIES", 1);
    for (keys, rounds) in SIZES {
        Scene::new(keys).play(rounds * factor).await;
    }
}

/// One server, those who commit, and those who watch.
struct Scene {
    keys: Arc<[String]>,
    server: TestServer,
    /// Where every commit ended; the genesis is among them.
    ends: Arc<Mutex<HashSet<u64>>>,
    done: Arc<AtomicBool>,
}

/// What a watcher saw: the newest round, and all positions.
#[derive(Clone, Default)]
struct Seen {
    round: Arc<AtomicUsize>,
    ends: Arc<Mutex<HashSet<u64>>>,
}

impl Scene {
    fn new(keys: usize) -> Self {
        Self {
            keys: (0..keys).map(|n| format!("all/{n}")).collect(),
            server: TestServer::start(),
            ends: Arc::new(Mutex::new(HashSet::from([1]))),
            done: Arc::default(),
        }
    }

    async fn play(self, rounds: usize) {
        let began = Instant::now();
        let bytes = self.keys.len() as u64 * VALUE_BYTES;
        let [proxy, rarer] = [5, 20].map(|states| Cuts::of_answers(0..states * (bytes + 2_000)));
        let proxy = CuttingProxy::start(&self.server.url(), proxy).await;
        // Each cut makes such a client wait longer.
        let rarer = CuttingProxy::start(&self.server.url(), rarer).await;
        let mut tasks = JoinSet::new();
        let mut watchers = Vec::new();
        for n in 0..CLIENTS {
            let [near, far, raw] = [Seen::default(), Seen::default(), Seen::default()];
            tasks.spawn(watch(self.server.url(), self.keys.clone(), near.clone(), self.done.clone()));
            tasks.spawn(watch(rarer.url(), self.keys.clone(), far.clone(), self.done.clone()));
            tasks.spawn(follow(proxy.url(), self.keys.clone(), raw.clone(), self.done.clone()));
            watchers.extend([near, far, raw]);
            tasks.spawn(commit_others(n, self.server.url(), self.ends.clone(), self.done.clone()));
        }
        if self.keys.len() <= IN_ONE_MESSAGE {
            let original = Seen::default();
            tasks.spawn(receive(self.server.url(), self.keys.clone(), original.clone(), self.done.clone()));
            watchers.push(original);
        }
        self.commit(rounds, &watchers[0], &mut tasks).await;
        for (n, watcher) in watchers.iter().enumerate() {
            watcher.reaches(rounds, &format!("watcher {n}"), &mut tasks).await;
        }
        self.done.store(true, Ordering::Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended.expect("the laws hold");
        }
        let positions = self.check_positions(&watchers);
        println!(
            "{} keys, {rounds} rounds, {positions} positions seen, {} connections cut, {:.1?}",
            self.keys.len(),
            proxy.cut() + rarer.cut(),
            began.elapsed()
        );
    }

    /// Each commit writes all keys, or deletes every other one. Somebody sees it before the next is made.
    async fn commit(&self, rounds: usize, somebody: &Seen, tasks: &mut JoinSet<()>) {
        let control = Control::of(&Wire::to(&self.server.url()).await);
        for round in 1..=rounds {
            let operations: Vec<Operation> = self
                .keys
                .iter()
                .enumerate()
                .map(|(n, key)| match exists(round, n) {
                    true => put(key, "string", value(round)),
                    false => delete(key),
                })
                .collect();
            let end = control.commit(operations).await.expect("it is taken");
            self.ends.lock().expect("nobody panics with it").insert(end.revision);
            somebody.reaches(round, "the nearest watcher", tasks).await;
        }
    }

    fn check_positions(&self, watchers: &[Seen]) -> usize {
        let ends = self.ends.lock().expect("nobody panics with it");
        let seen = watchers.iter().map(|watcher| watcher.ends.lock().expect("nobody panics with it"));
        seen.map(|seen| {
            let inside: Vec<_> = seen.difference(&ends).collect();
            assert!(inside.is_empty(), "positions at which no commit ended: {inside:?}");
            seen.len()
        })
        .sum()
    }
}

fn exists(round: usize, key: usize) -> bool {
    round > 0 && (round % 3 != 2 || key.is_multiple_of(2))
}

fn value(round: usize) -> String {
    format!("{round:0>width$}", width = VALUE_BYTES as usize)
}

/// The round that all keys are of; the first key is in each.
fn round_of<'a>(keys: &[String], value_of: impl Fn(&str) -> Option<&'a [u8]>) -> usize {
    let first = value_of(&keys[0]);
    let round = first.map_or(0, |text| String::from_utf8_lossy(text).parse().expect("a number"));
    for (n, key) in keys.iter().enumerate() {
        let expected = first.filter(|_| exists(round, n));
        assert!(value_of(key) == expected, "{key} is not of round {round}, as the first key is");
    }
    round
}

impl Seen {
    fn note(&self, round: usize, revision: Option<u64>) {
        self.ends.lock().expect("nobody panics with it").extend(revision);
        assert!(self.round.swap(round, Ordering::Relaxed) <= round, "it went back");
    }

    async fn reaches(&self, round: usize, who: &str, tasks: &mut JoinSet<()>) {
        let poll = async {
            while self.round.load(Ordering::Relaxed) < round {
                // None of them ends by itself.
                assert!(tasks.try_join_next().is_none(), "a check failed");
                tokio::time::sleep(RETRY).await;
            }
        };
        let reached = tokio::time::timeout(CONVERGENCE, poll).await;
        reached.unwrap_or_else(|_| panic!("{who} does not see round {round}"));
    }
}

/// A client as applications have it: whatever it shows is of one round, and so is a map of it.
async fn watch(url: String, keys: Arc<[String]>, seen: Seen, done: Arc<AtomicBool>) {
    let client = Client::connect(url);
    let map: Watch<Entries<String>> = client.watch_prefix("all/");
    let _others: Watch<Entries<i64>> = client.watch_prefix("other/");
    let mut shown = client.snapshot();
    let mut mapped = None;
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(RETRY).await;
        let now = client.snapshot();
        if !Arc::ptr_eq(&now, &shown) {
            let round = round_of(&keys, |key| now.text(key).map(|(text, _)| &text[..]));
            seen.note(round, now.position().map(|position| position.revision));
            shown = now;
        }
        let entries = map.load().into_arc();
        if let Some(entries) = entries.filter(|new| mapped.as_ref().is_none_or(|old| !Arc::ptr_eq(old, new)))
        {
            round_of(&keys, |key| entries.get(key).map(|text| text.as_bytes()));
            mapped = Some(entries);
        }
    }
}

/// A raw client, which resumes at once whenever it was cut, often inside a delivery.
async fn follow(url: String, keys: Arc<[String]>, seen: Seen, done: Arc<AtomicBool>) {
    let wire = Wire::lazy(&url);
    let mut mirror = Mirror::of(&["all/", "other/"]);
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(RETRY).await;
        let Ok(mut stream) = wire.try_subscribe(mirror.request()).await else { continue };
        while let Ok(delivery) = stream.try_next().await {
            mirror.apply(delivery);
            let round = round_of(&keys, |key| mirror.data.get(key).map(|data| &data.value[..]));
            seen.note(round, Some(mirror.position.revision));
            if done.load(Ordering::Relaxed) {
                return;
            }
        }
    }
    assert_eq!(mirror.resets, 0);
}

/// A client of the original, for which every message stands by itself.
async fn receive(url: String, keys: Arc<[String]>, seen: Seen, done: Arc<AtomicBool>) {
    let wire = Wire::to(&url).await;
    let mut stream = wire.subscribe(unannounced(keys.iter())).await;
    while !done.load(Ordering::Relaxed) {
        let Ok(message) = tokio::time::timeout(RETRY, stream.next()).await else { continue };
        assert_eq!(message.sizes.len(), 1, "one message holds it all");
        let live = |key: &str| message.data.get(key).filter(|data| !data.deleted);
        let round = round_of(&keys, |key| live(key).map(|data| &data.value[..]));
        seen.note(round, Some(message.revision()));
    }
}

/// Somebody who commits other keys, one and two at a time.
async fn commit_others(n: usize, url: String, ends: Arc<Mutex<HashSet<u64>>>, done: Arc<AtomicBool>) {
    let control = Control::of(&Wire::to(&url).await);
    for round in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let text = round.to_string();
        let mut operations = vec![put(&format!("other/{n}"), "int", text.clone())];
        if round % 2 == 0 {
            operations.push(put(&format!("elsewhere/{n}"), "int", text));
        }
        let end = control.commit(operations).await.expect("it is taken");
        ends.lock().expect("nobody panics with it").insert(end.revision);
        tokio::time::sleep(RETRY).await;
    }
}
