//! Faults without end, handles that come and go: at every quiet point the same handles cost the same tasks, descriptors
//! and memory.
//!
//! Descriptors and memory are those of the process, so they are looked at only where `DATASTREAM_SOAK_MINUTES` asks for
//! a long run, which is to run alone. The gate sees some faults, and counts the tasks.

use std::time::{Duration, Instant};

use datastream_client::{Callback, Client, Entries, Limits, Watch, WatchOr, combine};
use fastrand::Rng;
use futures_util::StreamExt as _;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;

use crate::file_server::{FileServer, store_of};
use crate::proxy::Proxy;

const KEYS: usize = 100;
/// Above the longest wait of a client.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// How many more tasks and descriptors there may be than at the first quiet point: connections that just end.
const FEW: usize = 8;
/// How much more memory the last third of a run may hold than the first: what an allocator keeps.
const SLACK_KIB: usize = 8 << 10;
/// So many quiet points come before the first that counts.
const WARM_UP: usize = 2;

/// How long the soak goes on; `None` in the gate.
fn duration() -> Option<Duration> {
    let minutes = std::env::var("DATASTREAM_SOAK_MINUTES").ok()?;
    Some(Duration::from_secs(60) * minutes.parse().expect("DATASTREAM_SOAK_MINUTES is a number"))
}

#[test]
fn tasks_descriptors_and_memory_are_flat_under_faults_and_changing_handles() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (began, duration) = (Instant::now(), duration());
        let mut scene = Scene::start().await;
        let mut samples = Vec::new();
        let mut said = Instant::now();
        while samples.len() < 3 || duration.is_some_and(|duration| began.elapsed() < duration) {
            scene.round(if duration.is_some() { 12 } else { 3 }).await;
            samples.push(scene.sample(samples.first(), duration.is_some()).await);
            if said.elapsed() > Duration::from_secs(60) {
                said = Instant::now();
                println!("{:.0?}: {} rounds, {:?}", began.elapsed(), samples.len(), samples.last());
            }
        }
        println!(
            "{} rounds in {:.0?}, from {:?} to {:?}",
            samples.len(),
            began.elapsed(),
            samples[0],
            samples.last()
        );
        if duration.is_some() {
            memory_is_flat(&samples);
        }
    });
}

/// What there is of the process at a quiet point.
#[derive(Clone, Copy, Debug)]
struct Sample {
    tasks: usize,
    descriptors: usize,
    resident_kib: usize,
}

impl Sample {
    fn take() -> Self {
        let resident = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident =
            resident.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            resident_kib: resident.map_or(0, |kib| kib.parse().expect("a number")),
        }
    }
}

/// Compares medians of the first and the last third.
fn memory_is_flat(samples: &[Sample]) {
    let mut resident: Vec<_> = samples.iter().skip(WARM_UP).map(|sample| sample.resident_kib).collect();
    let third = resident.len().div_ceil(3);
    let last_from = resident.len() - third;
    let (first, last) = resident.split_at_mut(last_from);
    let first = &mut first[..third.min(last_from)];
    let median = |part: &mut [usize]| {
        part.sort_unstable();
        part.get(part.len() / 2).copied()
    };
    let (Some(first), Some(last)) = (median(first), median(last)) else { return };
    println!(
        "resident: {first} KiB in the first third, {last} KiB in the last (limit {} KiB)",
        first + SLACK_KIB
    );
    assert!(last <= first + SLACK_KIB, "memory grows from {first} to {last} KiB");
}

/// Handles of all kinds on one client.
struct Handles {
    keys: Vec<Watch<i64>>,
    _fresh: Vec<WatchOr<i64>>,
    _mapped: Vec<Watch<String>>,
    _combined: Vec<Watch<(i64, i64)>>,
    map: Watch<Entries<i64>>,
    bound: Watch<std::collections::BTreeMap<String, i64>>,
    _callbacks: Vec<Callback>,
    _streams: JoinSet<()>,
}

impl Handles {
    fn of(client: &Client) -> Self {
        let keys: Vec<_> = (0..KEYS).map(|key| client.watch::<i64>(format!("k/{key}"))).collect();
        let max_age = Duration::from_millis(500);
        let mut streams = JoinSet::new();
        for key in &keys[..20] {
            let mut values = key.stream();
            streams.spawn(async move { while values.next().await.is_some() {} });
        }
        Self {
            _fresh: keys[..50].iter().map(|key| key.clone().or(0).max_age(max_age)).collect(),
            _mapped: keys[..50].iter().map(|key| key.map(ToString::to_string)).collect(),
            _combined: keys.windows(2).map(|keys| combine((&keys[0], &keys[1]))).collect(),
            map: client.watch_prefix("k/"),
            bound: client.bind("k/"),
            _callbacks: keys[..20].iter().map(|key| key.on_change(drop)).collect(),
            _streams: streams,
            keys,
        }
    }

    fn show(&self, value: i64) -> bool {
        let is_value = |shown: &i64| *shown == value;
        self.keys.iter().all(|key| key.get() == Some(value))
            && self
                .map
                .get()
                .is_some_and(|map| map.iter().filter(|(_, shown)| is_value(shown)).count() == KEYS)
            && self.bound.get().is_some_and(|bound| bound.len() == KEYS && bound.values().all(is_value))
    }
}

/// A server behind a proxy, a client that stays, and who writes past the server.
struct Scene {
    server: FileServer,
    proxy: Proxy,
    handles: Handles,
    rng: Rng,
    value: i64,
    folder: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let server = FileServer::start_with(folder.path(), &["--heartbeat", "100ms"]);
        let proxy = Proxy::to(&server.url()).await;
        let handles = Handles::of(&client(&proxy, &folder, "staying"));
        Self { server, proxy, handles, rng: Rng::new(), value: 0, folder }
    }

    /// Some faults, while another client and its handles come and go; then a quiet point, with the newest values.
    async fn round(&mut self, faults: usize) {
        let passing = client(&self.proxy, &self.folder, "passing");
        let mut sets = Vec::new();
        for _ in 0..faults {
            sets.push(Handles::of(&passing));
            if sets.len() > 2 {
                sets.swap_remove(self.rng.usize(..sets.len()));
            }
            self.fault().await;
        }
        drop((passing, sets));
        self.value += 1;
        while !self.write_all() {}
        let shown = async {
            while !self.handles.show(self.value) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(CONVERGENCE, shown).await.expect("the newest values are shown");
    }

    async fn fault(&mut self) {
        let pause = Duration::from_millis(self.rng.u64(..600));
        let key = format!("k/{}", self.rng.usize(..KEYS));
        match self.rng.u8(..6) {
            0 => {
                let _frozen = self.server.freeze();
                tokio::time::sleep(pause).await;
            }
            1 => {
                self.server.kill();
                tokio::time::sleep(pause).await;
                self.server.start_again();
            }
            2 => {
                let _silence = self.proxy.silence();
                tokio::time::sleep(pause).await;
            }
            3 => self.proxy.cut(),
            4 => _ = self.file().execute("DELETE FROM data WHERE key = ?1", [key]),
            _ => _ = self.file().execute("UPDATE data SET value = value + 1 WHERE key <> ?1", [key]),
        }
        tokio::time::sleep(pause / 2).await;
    }

    /// The file, as another program opens it.
    fn file(&self) -> Connection {
        let file = Connection::open(store_of(self.folder.path())).expect("it opens");
        file.busy_timeout(Duration::from_secs(1)).expect("it can be set");
        file
    }

    /// Gives every key the value, at once. Returns whether the file let it.
    fn write_all(&self) -> bool {
        let put = "INSERT INTO data (key, value, value_type) VALUES (?1, ?2, 'int')
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let write = || {
            let mut file = self.file();
            let transaction = file.transaction()?;
            for key in 0..KEYS {
                transaction.execute(put, (format!("k/{key}"), self.value))?;
            }
            transaction.commit()
        };
        write().is_ok()
    }

    /// What there is now, as soon as it is no more than at the first quiet point.
    async fn sample(&self, first: Option<&Sample>, is_alone: bool) -> Sample {
        let began = Instant::now();
        loop {
            let now = Sample::take();
            let is_flat = first.is_none_or(|first| {
                now.tasks <= first.tasks + FEW && (!is_alone || now.descriptors <= first.descriptors + FEW)
            });
            // The first is taken when what began before has ended, too.
            if is_flat && (first.is_some() || began.elapsed() > Duration::from_secs(1)) {
                return now;
            }
            assert!(began.elapsed() < CONVERGENCE, "from {first:?} to {now:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A client whose limits are short.
fn client(proxy: &Proxy, folder: &TempDir, name: &str) -> Client {
    let short = Duration::from_secs(1);
    let limits = Limits::default().idle(short / 2).connect(short).sync(short).first_message(short);
    Client::builder(proxy.url()).limits(limits).cache_file(folder.path().join(name)).connect()
}
