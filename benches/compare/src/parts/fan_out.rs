//! P2 and P3: what the server spends to deliver one value to one of many subscribers, one value at a time.

use anyhow::Result;

use crate::grid::Grid;
use crate::load::Load;
use crate::peer::Peer;
use crate::peers::etcd::Etcd;
use crate::peers::naive::Naive;
use crate::peers::nats::Nats;
use crate::peers::nats_kv::NatsKv;
use crate::peers::ours::Ours;
use crate::peers::raw::Raw;
use crate::peers::redis::Redis;
use crate::process::Cores;
use crate::report::Report;
use crate::rounds::{Effort, rounds};

const CROWDS: [usize; 2] = [1000, 5000];
/// Against whom, with which of ours, and at most how much of theirs: those that keep values have one that keeps them.
type Goals = [(&'static str, &'static str, f64)];

/// A connection for each subscriber.
pub async fn apart(effort: Effort, report: &mut Report) -> Result<()> {
    let peers: [&dyn Peer; 7] =
        [&Raw, &Ours::Memory, &Ours::Sqlite, &Nats, &NatsKv, &Etcd, &Redis::Publishes];
    let goals = [
        ("NATS core", "datastream", 1.0),
        ("NATS KV", "datastream, durable", 0.65),
        ("etcd", "datastream, durable", 0.55),
        ("raw TCP", "datastream", 2.0),
    ];
    measure(effort, report, &peers, 1, &goals).await
}

/// 100 streams on each connection.
pub async fn together(effort: Effort, report: &mut Report) -> Result<()> {
    let peers: [&dyn Peer; 8] =
        [&Raw, &Ours::Memory, &Ours::Sqlite, &Nats, &NatsKv, &Etcd, &Naive::Memory, &Naive::OneThread];
    let goals = [
        ("naive tonic", "datastream", 0.35),
        ("naive tonic, one thread", "datastream", 0.35),
        ("NATS KV", "datastream, durable", 0.15),
        ("etcd", "datastream, durable", 0.15),
        ("NATS core", "datastream", 3.0),
    ];
    measure(effort, report, &peers, 100, &goals).await
}

async fn measure(
    effort: Effort,
    report: &mut Report,
    peers: &[&dyn Peer],
    streams: usize,
    goals: &Goals,
) -> Result<()> {
    for subscribers in CROWDS {
        let title = format!("{subscribers} subscribers, {streams} on a connection");
        let mut grid = Grid::new(&title, &["server CPU per delivery, µs", "deliveries/s"]);
        rounds(effort, Cores::Server, peers, &mut grid, report, async |server| {
            let mut load = Load::join(server, subscribers, streams).await?;
            let lockstep = load.lockstep(effort.window()).await?;
            Ok(vec![lockstep.processor_per_delivery, lockstep.deliveries_per_second])
        })
        .await?;
        for (peer, ours, limit) in goals {
            let what = format!("{subscribers} subscribers: CPU per delivery of {ours}, in that of {peer}");
            report.at_most(*limit, what, grid.ratio(ours, peer, 0));
        }
        report.drawn(&grid, &[0]);
    }
    Ok(())
}
