//! P1: what a typed read costs, in the process of the application. The reads are in `reads/`, a program of its own.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::grid::Grid;
use crate::process::Cores;
use crate::report::Report;
use crate::rounds::Effort;

const GROUPS: [&str; 4] = ["alone", "among 10^6 keys", "while written", "on 2 threads"];
const FLAG: &str = "LaunchDarkly bool_variation";
const LOCKED: &str = "RwLock<HashMap> get";

pub fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let program = std::env::var_os("COMPARE_READS").context("the reads were not built; see above")?;
    let title = |group| format!("{group}: an i64 (of LaunchDarkly, a bool)");
    let mut grids = GROUPS.map(|group| (group, Grid::new(title(group), &["a read, ns"])));
    Cores::All.take()?;
    for _ in 0..effort.rounds() {
        let output = Command::new(&program).output().context("the reads do not start")?;
        ensure!(output.status.success(), "the reads: {}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let [group, name, ns] = line.split('\t').collect::<Vec<_>>()[..] {
                let grid = grids.iter_mut().find(|(known, _)| *known == group);
                let (_, grid) = grid.with_context(|| format!("the reads have a group {group}"))?;
                grid.add(name, &[ns.parse()?]);
            }
        }
    }
    Cores::Load.take()?;
    for (group, grid) in &grids {
        report.at_most(
            1.3,
            format!("{group}: get, in an ArcSwap load"),
            grid.ratio("get", "ArcSwap load", 0),
        );
        for cached in ["cached get", "cached get of a default"] {
            let ratio = grid.ratio(cached, "atomic load", 0);
            report.at_most(2.0, format!("{group}: {cached}, in an atomic load"), ratio);
        }
        report.drawn(grid, &[0]);
    }
    let [.., (two, grid)] = &grids;
    for other in [LOCKED, FLAG] {
        report.at_least(5.0, format!("{two}: {other}, in a get"), grid.ratio(other, "get", 0));
    }
    if grid.median(FLAG, 0).is_none() {
        report.missing(format!("{FLAG}: its client was not built"));
    }
    Ok(())
}
