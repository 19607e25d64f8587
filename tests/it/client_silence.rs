//! Nothing is heard any more and nothing breaks: the server is stopped, a proxy swallows what is sent, or
//! a router drops it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use datastream_client::{Client, Entries, Limits, State, Watch, combine};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::task::{JoinSet, spawn_blocking};

use crate::file_writer::FileWriter;
#[cfg(target_os = "linux")]
use crate::network::{self, Dropping};
use crate::process::Server;
use crate::proxy::Proxy;

const KEYS: [&str; 4] = ["s/a", "s/b", "s/c", "s/d"];

/// Servers that fall silent side by side, so that the clients' pauses before they reconnect overlap.
const LANES: usize = 5;

const HEARTBEAT: &str = "100ms";
const IDLE: Duration = Duration::from_millis(500);

/// How soon silence is noticed.
const NOTICED: Duration = IDLE.saturating_add(Duration::from_secs(1));

/// How soon everything is fresh again: the longest pause of a client, and two seconds.
const FRESH: Duration = Duration::from_secs(30 + 2);

/// How many writes there are during a silence, and how many after it.
const WRITES: usize = 10;

/// How often there is silence: `DATASTREAM_ROUNDS`, or the size of the gate.
fn rounds() -> usize {
    std::env::var("DATASTREAM_ROUNDS")
        .map_or(10, |rounds| rounds.parse().expect("DATASTREAM_ROUNDS is a number"))
}

#[derive(Clone, Copy)]
enum Fault {
    /// The server gets SIGSTOP, and SIGCONT at the end.
    Stop,
    /// A proxy forwards nothing, and at the end all of it.
    Swallow,
    /// The router drops all packets.
    #[cfg(target_os = "linux")]
    Drop,
}

impl Fault {
    /// Begins it; it ends when what this returns is dropped.
    fn begin(self, lane: &Lane) -> Box<dyn Send + '_> {
        match self {
            Self::Stop => Box::new(lane.server.pause()),
            Self::Swallow => Box::new(lane.proxy.silence()),
            #[cfg(target_os = "linux")]
            Self::Drop => Box::new(Dropping::begin(lane.number)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_is_noticed_and_caught_up_with() {
    silences(Fault::Stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_is_noticed_and_what_it_held_up_is_caught_up_with() {
    silences(Fault::Swallow).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_are_dropped_are_noticed_and_what_was_missed_is_caught_up_with() {
    let test = "client_silence::packets_that_are_dropped_are_noticed_and_what_was_missed_is_caught_up_with";
    if network::enter(test) {
        silences(Fault::Drop).await;
    }
}

async fn silences(fault: Fault) {
    let (began, rounds) = (Instant::now(), rounds());
    let mut lanes = JoinSet::new();
    for number in 0..LANES {
        let share = (rounds + number) / LANES;
        lanes.spawn(async move {
            let (mut lane, mut longest) =
                (Lane::start(fault, number).await, (Duration::ZERO, Duration::ZERO));
            for _ in 0..share {
                let (noticed, fresh) = lane.round(fault).await;
                longest = (longest.0.max(noticed), longest.1.max(fresh));
            }
            longest
        });
    }
    let longest = lanes.join_all().await;
    let noticed = longest.iter().map(|longest| longest.0).max().expect("there are lanes");
    let fresh = longest.iter().map(|longest| longest.1).max().expect("there are lanes");
    println!(
        "{rounds} silences in {:.1?}: stale after at most {noticed:.1?}, fresh after at most {fresh:.1?}",
        began.elapsed()
    );
}

/// A server, the network before it, a client, and somebody else who writes the file.
struct Lane {
    number: usize,
    server: Server,
    proxy: Proxy,
    handles: Handles,
    /// Away while it writes.
    writer: Option<FileWriter>,
    _folder: TempDir,
}

impl Lane {
    async fn start(fault: Fault, number: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("settings.db");
        let store = format!("sqlite:{}", file.display());
        let log = "warn,datastream_server=info,datastream_server::access=off";
        let flags = ["--store", &store, "--heartbeat", HEARTBEAT, "--log", log];
        let (server, url) = match fault {
            #[cfg(target_os = "linux")]
            Fault::Drop => network::start_server(number, &flags),
            Fault::Stop | Fault::Swallow => {
                let server = Server::start(&[&flags[..], &["--listen", "127.0.0.1:0"]].concat());
                let url = server.url();
                (server, url)
            }
        };
        let proxy = Proxy::to(&url).await;
        let url = if matches!(fault, Fault::Swallow) { proxy.url() } else { url };
        let limits = Limits::default().connect(IDLE).idle(IDLE).sync(IDLE).first_message(IDLE);
        let client = Client::builder(url).limits(limits).connect();
        let handles = Handles::of(&client);
        let mut writer = FileWriter::open(&file);
        KEYS.iter().for_each(|key| writer.put(key));
        let last = writer.last().clone();
        until(FRESH, "fresh", || handles.are_fresh(&last)).await;
        Self { number, server, proxy, handles, writer: Some(writer), _folder: folder }
    }

    /// One silence. Returns how long it took until it was noticed, and after it until all was fresh.
    async fn round(&mut self, fault: Fault) -> (Duration, Duration) {
        let writer = self.writer.take().expect("it came back");
        let before = writer.last().clone();
        let silence = fault.begin(self);
        // Not awaited in the silence: a server that was stopped while it had a lock has it until it goes on.
        let writing = spawn_blocking(move || write(writer));
        let noticed = until(NOTICED, "stale", || self.handles.are_stale()).await;
        assert!(self.handles.show(&before), "the last values stay");
        // Some attempts to reconnect fall into the silence, and some do not.
        tokio::time::sleep(IDLE.mul_f64(2.0 * fastrand::f64())).await;
        assert!(self.handles.are_stale(), "nothing was heard");
        drop(silence);
        let began = Instant::now();
        let writer = writing.await.expect("it writes");
        let writer = spawn_blocking(move || write(writer)).await.expect("it writes");
        let last = writer.last().clone();
        until(FRESH.saturating_sub(began.elapsed()), "fresh", || self.handles.are_fresh(&last)).await;
        self.writer = Some(writer);
        (noticed, began.elapsed())
    }
}

/// Puts some of the keys.
fn write(mut writer: FileWriter) -> FileWriter {
    (0..WRITES).for_each(|_| writer.put(KEYS[fastrand::usize(..KEYS.len())]));
    writer
}

/// Waits until `holds`, for at most `limit`, and returns how long it took.
async fn until(limit: Duration, what: &str, holds: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let over = tokio::time::timeout(limit, poll).await;
    over.unwrap_or_else(|_| panic!("not {what} within {limit:?}"));
    began.elapsed()
}

#[derive(Clone, Deserialize)]
struct Settings {
    a: i64,
    b: i64,
    c: i64,
    d: i64,
}

/// A handle of each kind.
struct Handles {
    each: Vec<Watch<i64>>,
    both: Watch<(i64, i64)>,
    settings: Watch<Settings>,
    map: Watch<Entries<i64>>,
}

impl Handles {
    fn of(client: &Client) -> Self {
        let each: Vec<_> = KEYS.iter().map(|key| client.watch::<i64>(*key)).collect();
        let both = combine((&each[0], &each[1]));
        Self { each, both, settings: client.bind("s/"), map: client.watch_prefix("s/") }
    }

    fn states(&self) -> impl Iterator<Item = State> {
        let made = [self.both.status(), self.settings.status(), self.map.status()];
        self.each.iter().map(Watch::status).chain(made).map(|status| status.state)
    }

    fn are_stale(&self) -> bool {
        self.states().all(|state| state == State::Stale)
    }

    fn are_fresh(&self, values: &BTreeMap<String, i64>) -> bool {
        self.states().all(|state| state == State::Ready) && self.show(values)
    }

    fn show(&self, values: &BTreeMap<String, i64>) -> bool {
        let [a, b, c, d] = KEYS.map(|key| values[key]);
        let map = self.map.load();
        let settings = self.settings.get().map(|settings| [settings.a, settings.b, settings.c, settings.d]);
        self.each.iter().map(Watch::get).eq([a, b, c, d].map(Some))
            && self.both.get() == Some((a, b))
            && settings == Some([a, b, c, d])
            && map.as_ref().is_some_and(|map| KEYS.iter().all(|key| map.get(key) == Some(&values[*key])))
    }
}
