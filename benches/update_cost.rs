//! What one update costs the server while others watch other keys; `tests/cost/run` counts the instructions.
//!
//! `update_cost OTHERS [KEYS]`: a feed on the store `memory`, one subscriber of the key that is updated, and OTHERS that
//! watch another key each. The store holds so many keys, 1,000 unless given, however many of them are watched.
//! Everything runs on one thread, without sockets and without heartbeats: what is
//! counted is the work of the feed, of the state and of the subscribers, whoever of them is woken.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastream::key::{KeySet, Selector};
use datastream_server::feed::{Feed, Registration};
use datastream_server::frame;
use datastream_server::frame::Frame;
use datastream_server::store::{Commit, Operation, Retention};
use datastream_server::stores::MemoryStore;
use datastream_server::subscription::{Input, Output, Pace, Request, Subscription};
use tokio::runtime::{Builder, Runtime};

/// How many keys there are beside the one that is updated, and watchers of them.
const KEYS: usize = 1000;
const UPDATES: u64 = 2000;
/// What is lazy in a runtime, an allocator or a map has happened after so many.
const WARM_UP: u64 = 100;

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let (others, keys) = (numbers.next().unwrap_or(KEYS), numbers.next().unwrap_or(KEYS));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut bench = runtime.block_on(Bench::start(others, keys));
    runtime.block_on(bench.update(WARM_UP));
    let began = Instant::now();
    counted(&runtime, &mut bench);
    let each = began.elapsed() / UPDATES as u32;
    println!(
        "{others} others among {keys} keys: {UPDATES} updates, {each:?} each, {} woken",
        bench.feed.woken()
    );
}

/// The part whose instructions count: callgrind collects while it is in this function.
#[inline(never)]
fn counted(runtime: &Runtime, bench: &mut Bench) {
    runtime.block_on(bench.update(UPDATES));
    black_box(());
}

struct Bench {
    feed: Arc<Feed>,
    own: Line,
    written: u64,
}

impl Bench {
    async fn start(others: usize, keys: usize) -> Self {
        let store = Arc::new(MemoryStore::new());
        let feed = Feed::start(store, Retention::default()).await.expect("memory can be read");
        let mut bench = Self { own: Line::open(&feed, "the/key"), feed, written: 0 };
        tokio::spawn(bench.feed.clone().run());
        for n in 0..keys {
            let key = format!("other/{n}");
            bench.put(&key).await;
            if n < others {
                tokio::spawn(Line::open(&bench.feed, &key).follow());
            }
        }
        let revision = bench.put("the/key").await;
        bench.own.reach(revision).await;
        bench
    }

    async fn put(&mut self, key: &str) -> u64 {
        self.written += 1;
        let operation = Operation::put(key, "int", self.written.to_string());
        let position = self.feed.store().commit(Commit::one(operation)).await;
        position.expect("memory takes the commit").revision
    }

    /// Makes so many updates, each after the last one was delivered.
    async fn update(&mut self, updates: u64) {
        for _ in 0..updates {
            let revision = self.put("the/key").await;
            self.own.reach(revision).await;
        }
    }
}

/// A subscriber, as the service drives it, that sends into the void.
struct Line {
    registration: Registration,
    subscription: Subscription,
}

impl Line {
    fn open(feed: &Arc<Feed>, key: &str) -> Self {
        let keys: Arc<KeySet> = Arc::new([Selector::parse(key).expect("a key")].into_iter().collect());
        let registration = feed.register(keys.clone());
        let request = Request { keys, fresh: Arc::default(), resume: None, announced: true };
        let pace = Pace { heartbeat: Duration::MAX / 2, join_bytes: frame::JOIN_BYTES };
        Self { registration, subscription: Subscription::new(request, pace) }
    }

    /// Takes what is owed now, and then what is owed each time that it is rung.
    async fn follow(mut self) {
        loop {
            self.drain();
            self.registration.touch().rung().await;
        }
    }

    async fn reach(&mut self, revision: u64) {
        while self.drain() < revision {
            self.registration.touch().rung().await;
        }
    }

    /// Takes what is owed. Returns the revision up to which everything was.
    fn drain(&mut self) -> u64 {
        loop {
            let feed = self.registration.feed();
            let state = feed.state();
            let touched = self.registration.touch().revision();
            let source_age = feed.source_age();
            let input =
                Input { now: Duration::ZERO, state: &state, touched, source_age, authoritative: true };
            match self.subscription.step(input) {
                Output::Send(frame) => drop(black_box::<Frame>(frame)),
                Output::Wait(_) => return state.position().revision,
                Output::Behind => unreachable!("a store in memory does not lag"),
            }
        }
    }
}
