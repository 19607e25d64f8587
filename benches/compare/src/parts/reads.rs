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
    let mut grid = Grid::new("an i64 (of LaunchDarkly, a bool)", &["ns"]);
    Cores::All.take()?;
    for _ in 0..effort.rounds() {
        let output = Command::new(&program).output().context("the reads do not start")?;
        ensure!(output.status.success(), "the reads: {}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let [group, name, ns] = line.split('\t').collect::<Vec<_>>()[..] {
                grid.add(&row(group, name), &[ns.parse()?]);
            }
        }
    }
    Cores::Load.take()?;
    for group in GROUPS {
        let ratio = |name: &str, unit: &str| grid.ratio(&row(group, name), &row(group, unit), 0);
        report.at_most(1.3, format!("{group}: get, in an ArcSwap load"), ratio("get", "ArcSwap load"));
        report.at_most(
            2.0,
            format!("{group}: cached get, in an atomic load"),
            ratio("cached get", "atomic load"),
        );
    }
    let two = GROUPS[3];
    for other in [LOCKED, FLAG] {
        report.at_least(
            5.0,
            format!("{two}: {other}, in a get"),
            grid.ratio(&row(two, other), &row(two, "get"), 0),
        );
    }
    if grid.median(&row(two, FLAG), 0).is_none() {
        report.missing(format!("{FLAG}: its client was not built"));
    }
    report.table(&grid);
    Ok(())
}

fn row(group: &str, name: &str) -> String {
    format!("{group}: {name}")
}
