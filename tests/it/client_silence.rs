//! The server is there and says nothing: its process stands still, or the network forwards nothing. Every handle says
//! so in time, keeps its value, and has the newest as soon as the silence is over.

use std::time::{Duration, Instant};

use datastream_client::{Client, Entries, Limits, State, Watch, combine};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};

use crate::file_server::{FileServer, store_of};
use crate::proxy::Proxy;
use crate::wire::{Wire, within};

/// Servers that fall silent side by side, so that the waits of their clients overlap.
const LANES: usize = 5;
const HEARTBEAT: &str = "200ms";
const IDLE: Duration = Duration::from_millis(600);
/// The longest wait of a client between two attempts, whatever it went through before.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The keys that are pushed to during a silence and after it; beside them one that another program writes.
const PUSHED: [&str; 3] = ["p/a", "p/b", "p/c"];
const FOREIGN: &str = "p/foreign";

/// How often each kind of silence begins: `DATASTREAM_ROUNDS`, or the size of the gate.
fn rounds() -> usize {
    std::env::var("DATASTREAM_ROUNDS")
        .map_or(10, |rounds| rounds.parse().expect("DATASTREAM_ROUNDS is a number"))
}

/// What makes a server silent.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// SIGSTOP.
    Process,
    /// Nothing is forwarded, in both directions, and nothing is closed.
    Network,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_makes_every_handle_stale_in_time_and_nothing_is_missed() {
    fall_silent(Cause::Process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_forwards_nothing_makes_every_handle_stale_in_time_and_nothing_is_missed() {
    fall_silent(Cause::Network).await;
}

async fn fall_silent(cause: Cause) {
    let rounds = rounds();
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        lanes.spawn(async move {
            let mut lane = Lane::start(lane).await;
            for _ in 0..(rounds + lane.number) / LANES {
                lane.round(cause).await;
            }
            lane.seen
        });
    }
    let mut seen = Seen::default();
    while let Some(lane) = lanes.join_next().await {
        seen.add(&lane.expect("the laws hold"));
    }
    println!(
        "{cause:?}: {rounds} silences: stale after {:.1?} at most, fresh {:.1?} after the end at most; {} foreign writes",
        seen.until_stale, seen.until_fresh, seen.foreign
    );
    assert!(seen.foreign > 0, "nobody wrote during a silence");
}

/// What was seen at worst, and how many writes there were past the server while it was silent.
#[derive(Debug, Default)]
struct Seen {
    until_stale: Duration,
    until_fresh: Duration,
    foreign: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.until_stale = self.until_stale.max(other.until_stale);
        self.until_fresh = self.until_fresh.max(other.until_fresh);
        self.foreign += other.foreign;
    }
}

#[derive(Clone, Deserialize)]
struct Bound {
    a: i64,
    b: i64,
    c: i64,
    foreign: i64,
}

/// One handle of each kind.
struct Handles {
    keys: Vec<Watch<i64>>,
    foreign: Watch<i64>,
    bound: Watch<Bound>,
    combined: Watch<(i64, i64)>,
    map: Watch<Entries<i64>>,
    mapped: Watch<String>,
}

impl Handles {
    fn of(client: &Client) -> Self {
        let keys: Vec<_> = PUSHED.iter().map(|key| client.watch::<i64>(*key)).collect();
        let foreign = client.watch::<i64>(FOREIGN);
        let (bound, combined) = (client.bind("p/"), combine((&keys[0], &foreign)));
        let (map, mapped) = (client.watch_prefix("p/"), keys[1].map(ToString::to_string));
        Self { keys, foreign, bound, combined, map, mapped }
    }

    fn all_are(&self, state: State) -> bool {
        self.keys.iter().all(|key| key.status().state == state)
            && [self.foreign.status(), self.bound.status(), self.combined.status()]
                .iter()
                .all(|of| of.state == state)
            && [self.map.status(), self.mapped.status()].iter().all(|of| of.state == state)
    }

    fn show(&self, pushed: i64, foreign: i64) -> bool {
        let bound = self.bound.get().map(|bound| [bound.a, bound.b, bound.c, bound.foreign]);
        let map = self.map.get();
        let entry = |key: &str| map.as_ref().and_then(|map| map.get(key).copied());
        self.keys.iter().all(|key| key.get() == Some(pushed))
            && self.foreign.get() == Some(foreign)
            && bound == Some([pushed, pushed, pushed, foreign])
            && self.combined.get() == Some((pushed, foreign))
            && PUSHED.iter().all(|key| entry(key) == Some(pushed))
            && entry(FOREIGN) == Some(foreign)
            && self.mapped.get() == Some(pushed.to_string())
    }
}

/// A server behind a proxy, and a client of it through all of its silences, whose waits grow.
struct Lane {
    number: usize,
    server: FileServer,
    proxy: Proxy,
    client: Client,
    handles: Handles,
    pushed: i64,
    foreign: i64,
    seen: Seen,
    folder: TempDir,
}

impl Lane {
    async fn start(number: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let server = FileServer::start_with(folder.path(), &["--heartbeat", HEARTBEAT]);
        let proxy = Proxy::to(&server.url()).await;
        let short = Duration::from_secs(1);
        let limits = Limits::default().idle(IDLE).connect(short).sync(short).first_message(short);
        let client = Client::builder(proxy.url()).limits(limits).connect();
        let handles = Handles::of(&client);
        let seen = Seen::default();
        let mut lane = Self { number, server, proxy, client, handles, pushed: 0, foreign: 0, seen, folder };
        lane.push().await.expect("the pushes are taken");
        assert!(lane.write_past_the_server());
        lane.until_fresh().await;
        lane
    }

    /// One silence and its end, and what must hold of both.
    async fn round(&mut self, cause: Cause) {
        let mut states = self.client.status_stream();
        let began = Instant::now();
        let silence: Box<dyn Send> = match cause {
            Cause::Process => Box::new(self.server.freeze()),
            Cause::Network => Box::new(self.proxy.silence()),
        };
        let pushes = self.push();
        let stale = async { while states.next().await.expect("it is not closed").state != State::Stale {} };
        tokio::time::timeout(IDLE + Duration::from_secs(1), stale)
            .await
            .expect("it says in time that it is stale");
        assert!(self.handles.all_are(State::Stale), "and so does each of its handles");
        self.seen.until_stale = self.seen.until_stale.max(began.elapsed());
        assert!(self.handles.keys.iter().all(|key| key.get().is_some()), "values stay");
        self.seen.foreign += usize::from(self.write_past_the_server());
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..1500))).await; // For so long it is silent still.
        drop(silence);
        let ended = Instant::now();
        within("the pushes", pushes).await.expect("the pushes of the silence are taken");
        self.push().await.expect("the pushes are taken");
        self.until_fresh().await;
        self.seen.until_fresh = self.seen.until_fresh.max(ended.elapsed());
    }

    /// Pushes the next value to each key, past the proxy.
    fn push(&mut self) -> JoinHandle<()> {
        self.pushed += 1;
        let (url, value) = (self.server.url(), self.pushed);
        tokio::spawn(async move {
            let wire = Wire::lazy(&url);
            for key in PUSHED {
                wire.push_int(key, value).await;
            }
        })
    }

    /// Writes the next value as another program does. A server that stands still may hold the file: returns whether it
    /// could be written.
    fn write_past_the_server(&mut self) -> bool {
        let file = rusqlite::Connection::open(store_of(self.folder.path())).expect("it opens");
        file.busy_timeout(Duration::from_millis(100)).expect("it can be set");
        let put = "INSERT INTO data (key, value, value_type) VALUES (?1, ?2, 'int')
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let is_written = file.execute(put, (FOREIGN, self.foreign + 1)).is_ok();
        self.foreign += i64::from(is_written);
        is_written
    }

    async fn until_fresh(&self) {
        let fresh = async {
            while !(self.handles.all_are(State::Ready) && self.handles.show(self.pushed, self.foreign)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = LONGEST_WAIT + Duration::from_secs(2);
        tokio::time::timeout(limit, fresh).await.expect("every handle is fresh in time, and has the newest");
    }
}
