//! P6: pushes that are on disk when they are answered, by writers that each wait for their answer.

mod disk;

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;

use crate::board::Wrong;
use crate::grid::{Grid, percentile};
use crate::peer::{Peer, Publisher, Server};
use crate::peers::etcd::Etcd;
use crate::peers::naive::Naive;
use crate::peers::nats_kv::NatsKv;
use crate::peers::ours::Ours;
use crate::peers::postgres::Postgres;
use crate::peers::redis::Redis;
use crate::process::Cores;
use crate::report::Report;
use crate::rounds::{Effort, fail, folder, rounds};
use crate::value;

/// How many write at once, and how much more than etcd that should be.
const WRITERS: [(usize, f64); 4] = [(1, 0.9), (16, 1.2), (64, 1.2), (256, 1.2)];
/// At this many, against one transaction per push.
const BATCHED: (usize, f64) = (64, 5.0);
const ROWS: usize = 1000;
const WARM_UP: Duration = Duration::from_millis(300);
const DISK: &str = "raw fdatasync, all that wait at once";

pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let peers: [&dyn Peer; 6] = [&Ours::Sqlite, &Etcd, &NatsKv, &Redis::Keeps, &Postgres, &Naive::Sqlite];
    // As an application would find it: nothing is pinned.
    Cores::All.take()?;
    for (writers, limit) in WRITERS {
        let title = format!("{writers} writers (NATS KV does not sync each write)");
        let mut grid = Grid::new(title, &["pushes/s", "p50, ms", "p99, ms", "server CPU per push, µs"]);
        rounds(effort, Cores::All, &peers, &mut grid, report, async |server| {
            push(server, writers, effort.window()).await
        })
        .await?;
        for _ in 0..effort.rounds() {
            let folder = folder()?;
            match disk::syncs_per_second(folder.path(), writers, effort.window()) {
                Ok(rate) => grid.add(DISK, &[rate]),
                Err(error) => fail(report, DISK, &error),
            }
        }
        let ours = Ours::Sqlite.name();
        let what = |other: &str| format!("{writers} writers: durable pushes/s, in those of {other}");
        report.at_least(limit, what("etcd"), grid.ratio(ours, "etcd", 0));
        if writers == BATCHED.0 {
            let other = Naive::Sqlite.name();
            report.at_least(BATCHED.1, what(other), grid.ratio(ours, other, 0));
        }
        report.drawn(&grid, &[0]);
    }
    Cores::Load.take()
}

async fn push(server: &dyn Server, writers: usize, window: Duration) -> Result<Vec<f64>> {
    let mut team = Team::gather(server, writers).await?;
    team.write(WARM_UP).await?;
    let process = server.process();
    let (used, began) = (process.processor_time()?, Instant::now());
    let mut took = team.write(window).await?;
    let (used, elapsed) = (process.processor_time()? - used, began.elapsed());
    team.check().await?;
    took.sort_unstable();
    let pushes = took.len() as f64;
    let rate = pushes / elapsed.as_secs_f64();
    Ok(vec![rate, percentile(&took, 50), percentile(&took, 99), used.as_secs_f64() * 1e6 / pushes])
}

/// Those who write, each to rows of their own.
struct Team {
    writers: Vec<Writer>,
}

struct Writer {
    publisher: Box<dyn Publisher>,
    /// Its rows, and the last value of each that was answered.
    rows: Vec<(String, u64)>,
    written: u64,
}

impl Team {
    async fn gather(server: &dyn Server, count: usize) -> Result<Self> {
        let mut writers: Vec<Writer> = Vec::new();
        let together = server.writers_on_a_connection();
        for n in 0..count {
            let publisher = match writers.last() {
                Some(last) if n % together != 0 => last.publisher.share(),
                _ => server.publisher().await?,
            };
            let rows = (n..ROWS.max(count)).step_by(count).map(|row| (format!("row-{row:04}"), 0)).collect();
            writers.push(Writer { publisher, rows, written: 0 });
        }
        Ok(Self { writers })
    }

    /// Lets all of them write. Returns how long each push took.
    async fn write(&mut self, window: Duration) -> Result<Vec<Duration>> {
        let end = Instant::now() + window;
        let mut tasks = JoinSet::new();
        for mut writer in self.writers.drain(..) {
            tasks.spawn_local(async move {
                let took = writer.write_until(end).await;
                (writer, took)
            });
        }
        let mut all = Vec::new();
        for (writer, took) in tasks.join_all().await {
            self.writers.push(writer);
            all.extend(took?);
        }
        Ok(all)
    }

    /// Reads back what was written.
    async fn check(&mut self) -> Result<()> {
        for writer in &mut self.writers {
            for (row, last) in writer.rows.iter().filter(|(_, last)| *last > 0) {
                let held = writer.publisher.get(row).await.context("it cannot be read")?;
                if held.as_deref() != Some(&value::encode(*last)[..]) {
                    bail!(Wrong(format!("{row} does not hold the last value that was acknowledged")));
                }
            }
        }
        Ok(())
    }
}

thread_local! {
    /// No two values are alike: a page that an update leaves as it was is not written.
    static NEXT: Cell<u64> = const { Cell::new(1) };
}

impl Writer {
    async fn write_until(&mut self, end: Instant) -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        while Instant::now() < end {
            let at = self.written as usize % self.rows.len();
            let (row, last) = &mut self.rows[at];
            let next = NEXT.replace(NEXT.get() + 1);
            let began = Instant::now();
            self.publisher.put(row, value::encode(next)).await?;
            took.push(began.elapsed());
            (*last, self.written) = (next, self.written + 1);
        }
        Ok(took)
    }
}
