//! P5: the memory that a server has for a subscriber to whom nothing happens.

use std::time::Duration;

use anyhow::Result;

use crate::grid::Grid;
use crate::load::Load;
use crate::peer::Peer;
use crate::peers::etcd::Etcd;
use crate::peers::naive::Naive;
use crate::peers::nats::Nats;
use crate::peers::ours::Ours;
use crate::peers::redis::Redis;
use crate::process::Cores;
use crate::report::Report;
use crate::rounds::{Effort, rounds};

/// Streams on a connection, subscribers, and the goal in kilobytes for each.
const CROWDS: [(usize, usize, f64); 2] = [(1, 2000, 22.0), (100, 5000, 3.0)];
/// Until what joining needed is let go of.
const REST: Duration = Duration::from_secs(2);

pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let all: [&dyn Peer; 5] = [&Ours::Memory, &Nats, &Naive::Memory, &Etcd, &Redis::Publishes];
    for (streams, subscribers, limit) in CROWDS {
        // Nobody subscribes to one channel of Redis a hundred times on a connection.
        let peers = if streams == 1 { &all[..] } else { &all[..4] };
        let title = format!(
            "{subscribers} subscribers, {streams} on a connection; what the kernel holds is not counted"
        );
        let mut grid = Grid::new(title, &["memory per subscriber, kB"]);
        rounds(effort, Cores::Server, peers, &mut grid, report, async |server| {
            // What a first subscriber needs is needed once.
            let first = Load::join(server, 1, 1).await?;
            let before = server.process().memory()?;
            let _crowd = Load::join(server, subscribers, streams).await?;
            tokio::time::sleep(REST).await;
            let grown = server.process().memory()? - before;
            drop(first);
            Ok(vec![grown / 1024.0 / subscribers as f64])
        })
        .await?;
        let what = format!("kB for each subscriber, {streams} on a connection");
        report.at_most(limit, what, grid.median("datastream", 0));
        report.drawn(&grid, &[0]);
    }
    Ok(())
}
