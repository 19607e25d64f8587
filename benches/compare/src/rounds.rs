//! Servers are measured in turns, each round with new processes, so that what the machine does meanwhile meets all alike.

use std::fs;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, ensure};
use tempfile::TempDir;

use crate::board::Wrong;
use crate::grid::Grid;
use crate::peer::{Peer, Server};
use crate::process::Cores;
use crate::report::Report;

/// How long one server may be measured in one round.
const LIMIT: Duration = Duration::from_secs(180);
/// What is left open of a server that runs, at most.
const SLACK: usize = 4;
const CLOSE: Duration = Duration::from_secs(20);
/// No fewer make a median.
const ROUNDS: usize = 3;
const MANY_ROUNDS: usize = 5;

/// How thoroughly to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    pub quick: bool,
    /// How long each figure is taken, if not as long as usual.
    pub seconds: Option<u64>,
}

impl Effort {
    pub fn rounds(self) -> usize {
        if self.quick { ROUNDS } else { MANY_ROUNDS }
    }

    /// How long a figure is taken.
    pub fn window(self) -> Duration {
        let usual = Duration::from_millis(if self.quick { 800 } else { 2000 });
        self.seconds.map_or(usual, Duration::from_secs)
    }
}

/// Measures each of the peers in each round with `measure`, which gives a figure for each column of the grid.
pub async fn rounds(
    effort: Effort,
    cores: Cores,
    peers: &[&dyn Peer],
    grid: &mut Grid,
    report: &mut Report,
    measure: impl AsyncFn(&dyn Server) -> Result<Vec<f64>>,
) -> Result<()> {
    let only = std::env::var("COMPARE_ONLY").ok();
    let mut peers = peers.to_vec();
    peers.retain(|peer| only.as_deref().is_none_or(|only| only == peer.name()));
    for round in 1..=effort.rounds() {
        let mut fit = Vec::new();
        for peer in peers {
            progress(&format!("round {round} of {}: {:<30}", effort.rounds(), peer.name()));
            match one(peer, cores, &measure).await {
                Ok(figures) => {
                    grid.add(peer.name(), &figures);
                    fit.push(peer);
                }
                Err(error) => fail(report, peer.name(), &error),
            }
        }
        peers = fit;
        // Who began ends the next round.
        let turn = usize::from(!peers.is_empty());
        peers.rotate_left(turn);
    }
    Ok(())
}

/// Notes why a server has no figures.
pub fn fail(report: &mut Report, name: &str, error: &Error) {
    if error.is::<Wrong>() {
        report.wrong(format!("{name}: {error:#}"));
    } else {
        report.missing(format!("{name}: {error:#}"));
    }
}

async fn one(
    peer: &dyn Peer,
    cores: Cores,
    measure: &impl AsyncFn(&dyn Server) -> Result<Vec<f64>>,
) -> Result<Vec<f64>> {
    let (folder, open) = (folder()?, open_files()?);
    let measured = async {
        let server = peer.start(folder.path(), cores).await?;
        let figures = measure(&*server).await;
        closed(open).await?;
        figures
    };
    tokio::time::timeout(LIMIT, measured).await.with_context(|| format!("it takes longer than {LIMIT:?}"))?
}

/// Waits until the connections that were made since are closed, while their server still runs: some clients would
/// look for it for ever.
pub async fn closed(open: usize) -> Result<()> {
    let began = Instant::now();
    while open_files()? > open + SLACK {
        ensure!(began.elapsed() < CLOSE, "connections stay open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// How many files and connections this process has.
pub fn open_files() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// A folder for what one server keeps, which it may enter as somebody else.
pub fn folder() -> Result<TempDir> {
    let folder = TempDir::with_prefix("compare-").context("there is no temporary folder")?;
    open(folder.path())?;
    Ok(folder)
}

fn open(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?)
}

/// Shows what is under way, to whoever looks.
pub fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("{what}\r");
    }
}
