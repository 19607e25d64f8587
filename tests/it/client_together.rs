//! Keys that are always committed together are read together: by a snapshot, a struct, a combination and a map.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use datastream_client::{Client, Entries, Watch, combine};
use datastream_server::Config;
use datastream_server::store::{Commit, Operation, Store as _};
use datastream_server::stores::MemoryStore;
use datastream_server::testing::TestServer;
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::scripted::{self, Entry, Subscribed, change, reset, state};
use crate::wire::{eventually, within};

const READERS: usize = 2;

/// How many states each reader sees, at least.
const STATES: usize = 20;

/// How long readers may take to see them, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many reads each kind of handle has to survive in each reader: `DATASTREAM_READS`, or the size of the gate.
fn reads() -> usize {
    std::env::var("DATASTREAM_READS")
        .map_or(5_000, |reads| reads.parse().expect("DATASTREAM_READS is a number"))
}

#[derive(Clone, Deserialize)]
struct Pair {
    a: u64,
    b: u64,
}

/// Every way to read both keys.
#[derive(Clone)]
struct Ways {
    client: Client,
    pair: Watch<Pair>,
    both: Watch<(u64, u64)>,
    map: Watch<Entries<u64>>,
}

impl Ways {
    fn of(client: &Client) -> Self {
        let (a, b) = (client.watch::<u64>("p/a"), client.watch::<u64>("p/b"));
        Self {
            client: client.clone(),
            pair: client.bind("p/"),
            both: combine((&a, &b)),
            map: client.watch_prefix("p/"),
        }
    }

    async fn ready(&self) {
        within("the struct", self.pair.ready()).await.expect("it is there");
        within("the combination", self.both.ready()).await.expect("it is there");
        within("the map", self.map.ready()).await.expect("it is there");
    }

    /// Reads in each way until `reads` are made and `is_over`; counts the states that were seen.
    fn read(&self, reads: usize, is_over: &AtomicBool, states: &AtomicUsize) {
        let mut last = None;
        let mut made = 0;
        while made < reads || !is_over.load(Ordering::Relaxed) {
            made += 1;
            let (a, b) = self.both.get().expect("both are there");
            assert_eq!(a, b, "a combination is torn");
            if last.replace(a) != Some(a) {
                states.fetch_add(1, Ordering::Relaxed);
            }
            let pair = self.pair.load();
            let pair = pair.as_ref().expect("the struct is there");
            assert_eq!(pair.a, pair.b, "a struct is torn");
            let map = self.map.load();
            let map = map.as_ref().expect("the map is there");
            assert_eq!(map.get("p/a"), map.get("p/b"), "a map is torn");
            let snapshot = self.client.snapshot();
            assert_eq!(snapshot.get::<u64>("p/a"), snapshot.get::<u64>("p/b"), "a snapshot is torn");
            thread::yield_now(); // Other tests run beside this one, perhaps on few cores.
        }
    }
}

/// Reads on threads of their own while `write` runs, which is told when each reader has seen enough states. A reader whose
/// assertion failed has seen enough as well.
fn read_while(ways: &Ways, write: impl FnOnce(&dyn Fn() -> bool)) {
    let is_over = AtomicBool::new(false);
    let states: [AtomicUsize; READERS] = Default::default();
    thread::scope(|scope| {
        let is_over = &is_over;
        let read = |states| scope.spawn(move || ways.clone().read(reads(), is_over, states));
        let readers: Vec<_> = states.iter().map(read).collect();
        let has_seen_enough = |states: &AtomicUsize| states.load(Ordering::Relaxed) > STATES;
        write(&|| states.iter().all(has_seen_enough) || readers.iter().any(|reader| reader.is_finished()));
        is_over.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("nothing is torn"));
    });
}

fn both(revision: u64, text: &str) -> [Entry<'_>; 2] {
    [("p/a", revision, "int", text), ("p/b", revision, "int", text)]
}

/// Writes both keys at once, mostly by changes, and by a reset every now and then.
async fn write(stream: &Subscribed, ways: &mut Ways, rounds: u64, is_enough: &dyn Fn() -> bool) {
    let began = Instant::now();
    for round in 6.. {
        let text = round.to_string();
        match round % 16 {
            0 => stream.say(reset(round, both(round, &text))),
            _ => stream.say(change(round, both(round, &text))),
        }
        within("it arrives", ways.both.changed()).await;
        if round > rounds && is_enough() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the readers do not see enough");
    }
}

#[test]
fn what_is_committed_together_is_read_together_through_changes_and_resets() {
    let runtime = Runtime::new().expect("a runtime");
    let (stream, mut ways, _script) = runtime.block_on(async {
        let (client, mut script) = scripted::client();
        let ways = Ways::of(&client);
        let stream = script.accept(state(5, both(5, "5"))).await;
        ways.ready().await;
        (stream, ways, script)
    });
    let rounds = reads() as u64 / 10;
    read_while(&ways.clone(), |is_enough| {
        runtime.block_on(write(&stream, &mut ways, rounds, is_enough));
    });
}

#[test]
fn what_is_committed_together_is_read_together_through_restarts_and_late_handles() {
    let store = Arc::new(MemoryStore::new());
    let commit = async |value: u64| {
        let operations =
            ["p/a", "p/b"].map(|key| Operation::put(key, "int", value.to_string())).into_iter().collect();
        store.commit(Commit { operations, ..Commit::default() }).await.expect("it is committed");
    };
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(commit(0));
    let mut server = TestServer::start_with(store.clone(), Config::default());
    let _entered = runtime.enter();
    let client = Client::connect(server.url());
    let ways = Ways::of(&client);
    runtime.block_on(ways.ready());
    let mut late = Vec::new();
    read_while(&ways, |is_enough| {
        let began = Instant::now();
        let last = (1..).find(|value| {
            assert!(began.elapsed() < PATIENCE, "the readers do not see enough");
            runtime.block_on(commit(*value));
            runtime.block_on(eventually("it arrives", || ways.both.get() == Some((*value, *value))));
            if value % 20 == 0 && late.len() < 3 {
                late.push((client.watch::<i64>(format!("late/{value}")), Ways::of(&client)));
                server.kill();
                server.restart();
            }
            late.len() == 3 && is_enough()
        });
        let is_last = |ways: &Ways| ways.pair.load().as_ref().map(|pair| pair.a) == last;
        runtime.block_on(eventually("the last", || late.iter().all(|(_, ways)| is_last(ways))));
    });
    assert_eq!(late[0].1.map.get().expect("a map").iter().count(), 2);
}
