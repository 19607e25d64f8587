//! P4: how long a value is under way, at a pace that a server keeps up with.

use std::time::Duration;

use anyhow::Result;

use crate::grid::{Grid, percentile};
use crate::load::Load;
use crate::peer::Peer;
use crate::peers::etcd::Etcd;
use crate::peers::nats::Nats;
use crate::peers::ours::Ours;
use crate::peers::raw::Raw;
use crate::peers::redis::Redis;
use crate::process::Cores;
use crate::report::Report;
use crate::rounds::{Effort, rounds};

/// How many subscribers, and how often a value is published: some thousand deliveries in a second.
const CROWDS: [(usize, Duration); 3] =
    [(1, Duration::from_millis(2)), (1000, Duration::from_millis(100)), (5000, Duration::from_millis(500))];

pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let peers: [&dyn Peer; 6] = [&Raw, &Ours::Memory, &Ours::Sqlite, &Nats, &Etcd, &Redis::Publishes];
    for (subscribers, interval) in CROWDS {
        let title = format!("{subscribers} subscribers, a connection for each, a value each {interval:?}");
        let mut grid = Grid::new(title, &["p50, ms", "p99, ms"]);
        // A percentile needs some values, however seldom they come.
        let window = (effort.window() * 2).max(interval * if effort.quick { 6 } else { 20 });
        rounds(effort, Cores::Server, &peers, &mut grid, report, async |server| {
            let latencies = Load::join(server, subscribers, 1).await?.paced(interval, window).await?;
            Ok(vec![percentile(&latencies, 50), percentile(&latencies, 99)])
        })
        .await?;
        let what = format!("{subscribers} subscribers: p99, in that of NATS core");
        report.at_most(1.0, what, grid.ratio("datastream", "NATS core", 1));
        if subscribers == 1 {
            let ratio = grid.ratio("datastream, durable", "etcd", 0);
            report.at_most(0.8, "1 subscriber, durable: p50 from push to delivery, in that of etcd", ratio);
        }
        report.drawn(&grid, &[0, 1]);
    }
    Ok(())
}
