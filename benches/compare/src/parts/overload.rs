//! P10: more values than can be delivered, beside a server that queues every one of them.

use std::time::Duration;

use anyhow::Result;

use crate::grid::{Grid, percentile};
use crate::load::Load;
use crate::peer::Peer;
use crate::peers::naive::Naive;
use crate::peers::ours::Ours;
use crate::process::Cores;
use crate::report::Report;
use crate::rounds::{Effort, rounds};

const SUBSCRIBERS: usize = 1000;
/// 2,000 pushes in a second, 2,000,000 deliveries.
const INTERVAL: Duration = Duration::from_micros(500);
/// By how much the memory of a server may grow and be called flat: what its buffers hold for each connection.
const FLAT: f64 = 1.5;

pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let peers: [&dyn Peer; 2] = [&Ours::Memory, &Naive::Memory];
    let title = format!("{SUBSCRIBERS} subscribers, a connection for each, 2,000 pushes/s");
    let mut grid = Grid::new(
        title,
        &["p50, ms", "p99, ms", "memory before, MB", "memory after, in that before", "delivered, %"],
    );
    rounds(effort, Cores::Server, &peers, &mut grid, report, async |server| {
        let mut load = Load::join(server, SUBSCRIBERS, 1).await?;
        // What the buffers of a busy connection take is not what piles up.
        load.lockstep(Duration::from_millis(500)).await?;
        let before = server.process().memory()?;
        let pushed = effort.window().as_secs_f64() / INTERVAL.as_secs_f64();
        let latencies = load.flood(INTERVAL, effort.window()).await?;
        let after = server.process().memory()?;
        let share = latencies.len() as f64 / (pushed * SUBSCRIBERS as f64) * 100.0;
        Ok(vec![percentile(&latencies, 50), percentile(&latencies, 99), before / 1e6, after / before, share])
    })
    .await?;
    let ratio = grid.ratio("datastream", "naive tonic", 1);
    report.at_most(0.2, "p99, in that of a server that queues every value", ratio);
    report.at_most(FLAT, "memory after, in that before", grid.median("datastream", 3));
    report.drawn(&grid, &[1, 3]);
    Ok(())
}
