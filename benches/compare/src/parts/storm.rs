//! P8: a server is gone for a moment, and everybody comes back.

mod fleet;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::fleet::Fleet;
use crate::grid::Grid;
use crate::peer::{Publisher, Server};
use crate::peers::contract;
use crate::peers::naive::{self, Naive};
use crate::peers::ours;
use crate::process::{Cores, free_address};
use crate::report::Report;
use crate::rounds::{Effort, fail, folder};

const CLIENTS: usize = 5000;
const KEYS: u32 = 100;
const AWAY: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(180);

/// Who comes back to what.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Resuming,
    Anew,
    Bare,
}

impl Way {
    const ALL: [Self; 3] = [Self::Bare, Self::Resuming, Self::Anew];

    fn name(self) -> &'static str {
        match self {
            Self::Resuming => "datastream, durable, resuming",
            Self::Anew => "datastream, durable, anew",
            Self::Bare => "naive tonic",
        }
    }

    fn start(self, address: std::net::SocketAddr, folder: &Path) -> Result<Box<dyn Server>> {
        if self == Self::Bare {
            return Ok(Box::new(naive::Running::start(Naive::Memory, KEYS, address, folder, Cores::Server)?));
        }
        let store = format!("sqlite:{}", folder.join("settings.db").display());
        Ok(Box::new(ours::Running::start(&store, address, folder, Cores::Server)?))
    }
}

pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let title =
        format!("{CLIENTS} clients with a connection and {KEYS} keys each, {AWAY:?} without a server");
    let mut grid = Grid::new(title, &["all fresh after, ms", "p50, ms", "data, MB", "server CPU, s"]);
    for _ in 0..effort.rounds() {
        for way in Way::ALL {
            let stormed = tokio::time::timeout(LIMIT, storm(way)).await;
            match stormed.with_context(|| format!("it takes longer than {LIMIT:?}")).and_then(|it| it) {
                Ok(figures) => grid.add(way.name(), &figures),
                Err(error) => fail(report, way.name(), &error),
            }
        }
    }
    let of = |way: Way, other: Way, column| grid.ratio(way.name(), other.name(), column);
    report.at_most(
        1.2,
        "time until all who resume are fresh, in that of naive tonic",
        of(Way::Resuming, Way::Bare, 0),
    );
    report.at_most(
        1.2,
        "time until all who begin anew are fresh, in that of naive tonic",
        of(Way::Anew, Way::Bare, 0),
    );
    report.at_most(
        0.03,
        "data for those who resume, in that for those who begin anew",
        of(Way::Resuming, Way::Anew, 2),
    );
    report.drawn(&grid, &[0]);
    Ok(())
}

async fn storm(way: Way) -> Result<Vec<f64>> {
    let (folder, address) = (folder()?, free_address()?);
    let url = format!("http://{address}");
    let server = way.start(address, folder.path())?;
    if way != Way::Bare {
        contract::fill(&url, KEYS).await?;
    }
    let fleet = Fleet::launch(&url, CLIENTS, KEYS, way == Way::Resuming);
    fleet.all_fresh().await?;
    drop(server);
    tokio::time::sleep(AWAY).await;
    fleet.reset();
    let began = Instant::now();
    let server = way.start(address, folder.path())?;
    fleet.all_fresh().await?;
    let (times, used) = (fleet.times(began), server.process().processor_time()?);
    let bytes = fleet.bytes() as f64;
    // Whoever is fresh has to be live as well.
    let mut publisher = server.publisher().await?;
    fleet.tell_all(&mut *publisher as &mut dyn Publisher).await?;
    let last = times.last().copied().unwrap_or(f64::NAN);
    let middle = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    Ok(vec![last, middle, bytes / 1e6, used.as_secs_f64()])
}
