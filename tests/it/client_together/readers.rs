//! Threads that read two keys in every way, and find a tear.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use datastream_client::{Client, Entries, Watch, combine};
use serde::Deserialize;

use crate::wire::within;

const READERS: usize = 2;

/// How many states each reader sees, at least.
const STATES: u64 = 20;

/// Reads by each reader between two looks at what else there is. One in so many is a costly one, which decodes or walks.
const BATCH: u64 = 512;
const COSTLY: u64 = 16;

/// How long a million reads may take, on a machine that is busy, and what any number of them may take beside that.
const PATIENCE_PER_MILLION: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Deserialize)]
pub(super) struct Pair {
    a: u64,
    b: u64,
}

/// Every way to read both keys.
#[derive(Clone)]
pub(super) struct Ways {
    pub(super) client: Client,
    pub(super) pair: Watch<Pair>,
    pub(super) both: Watch<(u64, u64)>,
    pub(super) map: Watch<Entries<u64>>,
}

impl Ways {
    pub(super) fn of(client: &Client) -> Self {
        let (a, b) = (client.watch::<u64>("p/a"), client.watch::<u64>("p/b"));
        Self {
            client: client.clone(),
            pair: client.bind("p/"),
            both: combine((&a, &b)),
            map: client.watch_prefix("p/"),
        }
    }

    pub(super) async fn ready(&self) {
        within("the struct", self.pair.ready()).await.expect("it is there");
        within("the combination", self.both.ready()).await.expect("it is there");
        within("the map", self.map.ready()).await.expect("it is there");
    }

    /// Whether a value, or a newer one, is shown in each way.
    pub(super) fn show(&self, value: u64) -> bool {
        self.both.get().is_some_and(|(a, _)| a >= value)
            && self.pair.load().as_ref().is_some_and(|pair| pair.a >= value)
            && self.map.load().as_ref().is_some_and(|map| map.get("p/a").is_some_and(|a| *a >= value))
    }

    /// Reads a batch; returns how many of the reads found both keys. Counts the states that were seen.
    fn read(&self, last: &mut u64, states: &AtomicU64) -> u64 {
        let mut found = 0;
        for read in 0..BATCH {
            match read % COSTLY {
                0 => found += self.read_costly(),
                odd if odd % 2 == 1 => {
                    let pair = self.pair.load();
                    let Some(pair) = pair.as_ref() else { continue };
                    assert_eq!(pair.a, pair.b, "a struct is torn");
                    found += 1;
                }
                _ => {
                    let Some((a, b)) = self.both.get() else { continue };
                    assert_eq!(a, b, "a combination is torn");
                    states.fetch_add(u64::from(std::mem::replace(last, a) != a), Ordering::Relaxed);
                    found += 1;
                }
            }
        }
        found
    }

    fn read_costly(&self) -> u64 {
        let map = self.map.load();
        let map = map.as_ref().map_or((None, None), |map| (map.get("p/a"), map.get("p/b")));
        assert_eq!(map.0, map.1, "a map is torn");
        let snapshot = self.client.snapshot();
        // A key that is still to be joined is not in the snapshot, which says so.
        if !snapshot.covers("p/a") || !snapshot.covers("p/b") {
            return 0;
        }
        let (a, b) = (snapshot.get::<u64>("p/a"), snapshot.get::<u64>("p/b"));
        assert_eq!(a, b, "a snapshot is torn");
        u64::from(matches!(a, Ok(Some(_))))
    }
}

/// What the readers and the writer share.
pub(super) struct Reading {
    /// What is read: a writer that makes newer handles has them read.
    ways: ArcSwap<Ways>,
    wanted: u64,
    found: AtomicU64,
    states: [AtomicU64; READERS],
    has_failed: AtomicBool,
    is_over: AtomicBool,
    began: Instant,
}

impl Reading {
    pub(super) fn show(&self, ways: &Ways) {
        self.ways.store(ways.clone().into());
    }

    /// Whether the readers have read enough, and seen enough states; or one of them has found a tear.
    pub(super) fn is_enough(&self) -> bool {
        let patience = PATIENCE + PATIENCE_PER_MILLION.mul_f64(self.wanted as f64 / 1e6);
        assert!(self.began.elapsed() < patience, "the readers do not see enough");
        let has_seen_enough = |states: &AtomicU64| states.load(Ordering::Relaxed) > STATES;
        let has_read_enough = self.found.load(Ordering::Relaxed) >= self.wanted;
        self.has_failed.load(Ordering::Relaxed) || has_read_enough && self.states.iter().all(has_seen_enough)
    }

    fn read(&self, states: &AtomicU64) {
        let failing = Failing(&self.has_failed);
        let mut last = u64::MAX;
        while !self.is_over.load(Ordering::Relaxed) {
            let ways = self.ways.load_full();
            self.found.fetch_add(ways.read(&mut last, states), Ordering::Relaxed);
            thread::yield_now(); // Other tests run beside this one, perhaps on few cores.
        }
        std::mem::forget(failing);
    }
}

/// Says that a reader panicked.
struct Failing<'a>(&'a AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads on threads of their own while `write` runs, which has to go on until it [is enough](Reading::is_enough).
pub(super) fn read_while(ways: &Ways, wanted: u64, write: impl FnOnce(&Reading)) {
    let reading = Reading {
        ways: ArcSwap::from_pointee(ways.clone()),
        wanted,
        found: AtomicU64::new(0),
        states: Default::default(),
        has_failed: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        began: Instant::now(),
    };
    thread::scope(|scope| {
        let reading = &reading;
        let readers = reading.states.each_ref().map(|states| scope.spawn(move || reading.read(states)));
        let over = Failing(&reading.is_over); // Also when the writer fails.
        write(reading);
        drop(over);
        readers.into_iter().for_each(|reader| reader.join().expect("nothing is torn"));
    });
    let states: u64 = reading.states.iter().map(|states| states.load(Ordering::Relaxed)).sum();
    let (found, took) = (reading.found.load(Ordering::Relaxed), reading.began.elapsed());
    println!(
        "{found} reads of both keys by {READERS} threads in {took:.1?}, none torn; {states} states seen"
    );
}
