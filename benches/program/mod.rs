//! The real programs, as processes that a bench starts, watches and ends.
#![allow(dead_code, reason = "each bench uses its part of this")]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use datastream_client::Watch;

/// By when a server listens, a write arrives, and a program comes to rest.
const DEADLINE: Duration = Duration::from_secs(60);

/// A process, killed when dropped.
pub(crate) struct Program(pub(crate) Child);

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program())))
    }

    /// The time that the threads of the process ran. The scheduler counts it in nanoseconds; `/proc/PID/stat`
    /// shows hundredths of a second, and the limit of an idle process is one of them in ten seconds.
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("the process lives");
        let nanos = threads.filter_map(|thread| {
            let thread = thread.expect("a thread").path();
            let Ok(text) = std::fs::read_to_string(thread.join("schedstat")) else {
                assert!(!thread.exists(), "this kernel counts");
                return None; // It has ended since it was listed.
            };
            let ran = text.split_whitespace().next().and_then(|ran| ran.parse().ok());
            Some(Duration::from_nanos(ran.expect("nanoseconds")))
        });
        nanos.sum()
    }
}

impl Program {
    /// What it uses during `window` while it is idle, in percent of one core. It is busy with its start until it used
    /// less than `limit` for a second; one that never does is measured as it is.
    pub(crate) fn idle_share_of_a_core(&self, limit: f64, window: Duration) -> f64 {
        let began = Instant::now();
        while self.share_of_a_core(Duration::from_secs(1)) >= limit && began.elapsed() < DEADLINE {}
        self.share_of_a_core(window)
    }

    /// The processor time that it uses during `window`, in percent of one core.
    pub(crate) fn share_of_a_core(&self, window: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.processor_time());
        std::thread::sleep(window);
        let used = self.processor_time().saturating_sub(before);
        used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many values are written where a write takes a few milliseconds.
pub(crate) const WRITES: i64 = 200;

/// Lets `write` write so many values, each after the handle showed the last one. Returns how long each took, the quickest first.
pub(crate) async fn propagation(
    mut watch: Watch<i64>,
    writes: i64,
    mut write: impl FnMut(i64),
) -> Vec<Duration> {
    watch.ready().await.expect("the sample setting is there");
    let mut took = Vec::new();
    for value in 1000..1000 + writes {
        let began = Instant::now();
        write(value);
        let shown = async {
            while watch.get() != Some(value) {
                watch.changed().await;
            }
        };
        tokio::time::timeout(DEADLINE, shown).await.expect("the write arrives");
        took.push(began.elapsed());
    }
    took.sort();
    took
}

/// The same, up to three times until 99 of 100 keep `limit`: what else the machine does passes, and what a write takes
/// stays.
pub(crate) async fn propagation_within(
    limit: Duration,
    watch: Watch<i64>,
    writes: i64,
    mut write: impl FnMut(i64),
) -> Vec<Duration> {
    for _ in 0..2 {
        let took = propagation(watch.clone(), writes, &mut write).await;
        if took[took.len() * 99 / 100] <= limit {
            return took;
        }
    }
    propagation(watch, writes, write).await
}

/// Starts a server on `store`, with the sample settings; it logs into `folder`. Returns it, listening, with its
/// address.
pub(crate) fn serve(folder: &Path, store: &str) -> (Program, String) {
    let this = std::env::current_exe().expect("a program has an executable");
    let server = this.ancestors().nth(2).expect("it lies two folders deep").join("datastream-server");
    assert!(server.exists(), "{} is missing: cargo build --release -p datastream-server", server.display());
    let log = folder.join("server.log");
    let mut command = Command::new(server);
    command.args(["--demo", "--listen", "127.0.0.1:0", "--store", store]);
    let server = Program::start(command.stderr(File::create(&log).expect("a log")));
    let began = Instant::now();
    loop {
        let log = std::fs::read_to_string(&log).expect("a log");
        if let Some(address) = address_in(&log) {
            return (server, format!("http://{address}"));
        }
        assert!(began.elapsed() < DEADLINE, "the server does not listen: {log}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Where a server says that it listens.
fn address_in(log: &str) -> Option<&str> {
    let line = log.split_inclusive('\n').find(|line| line.contains("listening") && line.ends_with('\n'))?;
    line.split_once("address=")?.1.split_whitespace().next()
}
