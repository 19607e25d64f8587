//! Very many clients lose their server at once. When it is there again, all of them are, and none of them hurries.
//!
//! `DATASTREAM_CLIENTS` says how many they are; without it, as many as the gate has.

use std::time::{Duration, Instant};

use datastream_client::{Client, Entries, State, Watch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::counted::{self, Attempts};
use crate::file_writer::FileWriter;
use crate::process::Server;

/// How many settings there are.
const KEYS: usize = 100;
/// For how long, and how often at most, a client tries in vain after its server is gone, and after it is back.
const CALM: (Duration, usize) = (Duration::from_secs(10), 5);
/// How often each client has tried in vain before the server comes back.
const IN_VAIN: usize = 4;
/// How many join at a time.
const GROUP: usize = 50;
/// How soon all are fresh: four of the longest waits of a client, for a machine that is busy otherwise.
const FRESH: Duration = Duration::from_secs(120);
/// What this process and the server have open beside the connections.
const OTHER_DESCRIPTORS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_of_a_killed_server_are_fresh_when_it_is_back_and_none_of_them_hurries() {
    let count = std::env::var("DATASTREAM_CLIENTS")
        .map_or(1000, |count| count.parse().expect("DATASTREAM_CLIENTS is a number"));
    allow_descriptors(count as u64 + OTHER_DESCRIPTORS);
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("settings.db");
    let server = start(&file, "127.0.0.1:0");
    let url = server.url();
    let mut writer = FileWriter::open(&file);
    (0..KEYS).for_each(|n| writer.put(&key(n)));
    let (herd, joined) = gather(&url, count, &writer).await;
    let steady = quiet(&server).await;

    let killed = Instant::now();
    server.kill();
    let mut writer = tokio::task::spawn_blocking(move || {
        (0..KEYS).for_each(|n| writer.put(&key(n)));
        writer
    })
    .await
    .expect("it writes");
    for member in &herd {
        until("refused", || member.attempts.since(killed) >= IN_VAIN).await;
    }
    let back = Instant::now();
    let server = start(&file, url.strip_prefix("http://").expect("it is an address"));
    (0..KEYS).step_by(2).for_each(|n| writer.put(&key(n)));
    let returned = fresh(&herd, &writer, "again").await;
    until("the time is over in which they are counted", || back.elapsed() > CALM.0).await;

    let most = [killed, back].map(|from| most_attempts(&herd, from));
    let (peak, again) = (server.peak_bytes(), quiet(&server).await);
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    println!(
        "{count} clients, fresh after {joined:.1?}; the server was gone for {:.1?}, and {returned:.1?} after it was \
         back all were fresh again; in {:?} after its end at most {} attempts of one client, after its return {}, \
         busiest 100 ms: {}; the server holds {:.1} MiB, then {:.1} MiB, at most {:.1} MiB",
        back - killed,
        CALM.0,
        most[0],
        most[1],
        busiest(&herd, killed),
        mib(steady),
        mib(again),
        mib(peak),
    );
    assert!(most.iter().all(|most| *most <= CALM.1), "a client tried too often: {most:?}");
    assert!(
        peak <= 2 * steady,
        "the server took {peak} bytes to take them in, and holds {steady} with all of them"
    );
}

fn key(n: usize) -> String {
    format!("herd/{n}")
}

fn start(file: &std::path::Path, listen: &str) -> Server {
    let store = format!("sqlite:{}", file.display());
    let log = "warn,datastream_server=info,datastream_server::access=off";
    Server::start(&["--store", &store, "--listen", listen, "--log", log])
}

/// Lets this process, and those that it starts, have so many descriptors.
fn allow_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if is_enough(limit.current) {
        return;
    }
    let most = limit.maximum;
    assert!(is_enough(most), "it takes {wanted} descriptors, and {most:?} are allowed: raise `ulimit -Hn`");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: most })
        .expect("up to the hard limit");
}

/// One of the clients: every second one follows all settings, the others three each.
struct Member {
    attempts: Attempts,
    all: Option<Watch<Entries<i64>>>,
    some: Vec<(String, Watch<i64>)>,
}

impl Member {
    fn join(url: &str, number: usize) -> Self {
        let (client, attempts) = counted::connect(Client::builder(url));
        let all = number.is_multiple_of(2).then(|| client.watch_prefix("herd/"));
        let keys = (0..3).map(|n| key((number + 7 * n) % KEYS)).filter(|_| all.is_none());
        let some = keys.map(|key| (key.clone(), client.watch::<i64>(key))).collect();
        Self { attempts, all, some }
    }

    fn is_fresh(&self, writer: &FileWriter) -> bool {
        let last = writer.last();
        let shows_all = |all: &Watch<Entries<i64>>| {
            all.status().state == State::Ready
                && all.load().as_ref().is_some_and(|all| last.iter().all(|(key, n)| all.get(key) == Some(n)))
        };
        let shows = |(key, n): &(String, Watch<i64>)| {
            n.status().state == State::Ready && n.get().as_ref() == last.get(key)
        };
        self.all.iter().all(shows_all) && self.some.iter().all(shows)
    }
}

/// So many clients, all of them fresh, and how long that took. They come in small groups, so that none has failed before and
/// waits longer for that afterwards.
async fn gather(url: &str, count: usize, writer: &FileWriter) -> (Vec<Member>, Duration) {
    let (began, mut herd) = (Instant::now(), Vec::new());
    while herd.len() < count {
        let group = herd.len()..count.min(herd.len() + GROUP);
        herd.extend(group.clone().map(|number| Member::join(url, number)));
        fresh(&herd[group], writer, "at first").await;
    }
    (herd, began.elapsed())
}

/// Waits until all are fresh, and returns how long it took.
async fn fresh(herd: &[Member], writer: &FileWriter, when: &str) -> Duration {
    let began = Instant::now();
    // Nothing happens any more that could make one stale whose turn is over.
    for (number, member) in herd.iter().enumerate() {
        until(&format!("{number} is fresh {when}"), || member.is_fresh(writer)).await;
        assert!(began.elapsed() < FRESH, "{number} is fresh {when} after {:.1?}", began.elapsed());
    }
    began.elapsed()
}

/// Waits until the server holds what it held a second ago, but for a hundredth: there are heartbeats all the time. Returns how
/// much that is.
async fn quiet(server: &Server) -> usize {
    let (began, mut before) = (Instant::now(), 0);
    loop {
        let now = server.resident_bytes();
        if now.abs_diff(before) <= now / 100 {
            return now;
        }
        assert!(began.elapsed() < FRESH, "the server is never quiet: it holds {before} bytes, then {now}");
        before = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(FRESH, poll).await.unwrap_or_else(|_| panic!("not within {FRESH:?}: {what}"));
}

/// How often the busiest client tried, from then on.
fn most_attempts(herd: &[Member], from: Instant) -> usize {
    let attempts = herd.iter().map(|member| member.attempts.between(from, Some(from + CALM.0)));
    attempts.max().expect("there are clients")
}

/// How many attempts of all clients there were in the busiest tenth of a second.
fn busiest(herd: &[Member], from: Instant) -> usize {
    let tenths = (0..200).map(|tenth| from + Duration::from_millis(100) * tenth);
    let in_tenth = |at: Instant| {
        herd.iter().map(|one| one.attempts.between(at, Some(at + Duration::from_millis(100)))).sum()
    };
    tenths.map(in_tenth).max().expect("there are tenths")
}
