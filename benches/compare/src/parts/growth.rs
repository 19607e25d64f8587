//! P9: what one update costs when there are many of whatever it does not concern. Two of the project's own benches say it.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::client_keys;
use crate::grid::Grid;
use crate::process::program;
use crate::report::Report;
use crate::rounds::{Effort, fail, folder};

const CROWD: &str = "10000";
const FEW: &str = "1000";
const MANY: &str = "1000000";
/// What callgrind counts in.
const COUNTED: &str = "*update_cost::counted*";

pub fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let crowded = crowd(report);
    let what = "server: instructions of an update with 10,000 subscribers of other keys, in those with none";
    let found = or_fail(report, "10,000 subscribers of other keys", crowded);
    report.at_most(1.05, what, found);
    let keys = server(effort, report);
    let what = "server: time of an update among 10^6 keys, in that among 10^3";
    let found = or_fail(report, "10^6 keys in a server", keys);
    report.at_most(1.5, what, found);
    let keys = client_keys::measure().map(|found| found.update);
    let what = "client: time of an update among 10^6 keys, in that among 100";
    let found = or_fail(report, "10^6 keys in a client", keys);
    report.at_most(5.0, what, found);
    Ok(())
}

fn or_fail<T>(report: &mut Report, what: &str, found: Result<T>) -> Option<T> {
    found.map_err(|error| fail(report, what, &error)).ok()
}

fn bench(name: &str) -> Result<OsString> {
    std::env::var_os(name)
        .filter(|path| !path.is_empty())
        .with_context(|| format!("{name} does not say where the bench is"))
}

/// How many times as many instructions.
fn crowd(report: &mut Report) -> Result<f64> {
    let (few, many) = (instructions("0")?, instructions(CROWD)?);
    let mut grid = Grid::new("an update of one of 10,000 keys", &["instructions of all updates"]);
    grid.add("nobody watches the others", &[few]);
    grid.add("each other key is watched", &[many]);
    report.table(&grid);
    Ok(many / few)
}

fn instructions(others: &str) -> Result<f64> {
    let folder = folder()?;
    let counts = folder.path().join("counts");
    let mut valgrind = Command::new(program("valgrind")?);
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", &format!("--toggle-collect={COUNTED}")]);
    valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
    let output = valgrind.arg(bench("COMPARE_UPDATE_COST")?).args([others, CROWD]).output()?;
    ensure!(output.status.success(), "callgrind: {}", String::from_utf8_lossy(&output.stderr));
    let counts = fs::read_to_string(counts)?;
    let summary = counts.lines().find_map(|line| line.strip_prefix("summary: "));
    summary.and_then(|count| count.trim().parse().ok()).context("callgrind counted nothing")
}

/// How many times as much time.
fn server(effort: Effort, report: &mut Report) -> Result<f64> {
    let mut grid = Grid::new("an update of one key", &["ns"]);
    for _ in 0..effort.rounds() {
        for keys in [FEW, MANY] {
            let output = Command::new(bench("COMPARE_UPDATE_COST")?).args(["0", keys]).output()?;
            ensure!(output.status.success(), "update_cost: {}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let words = text.split_whitespace().collect::<Vec<_>>();
            let each = words
                .windows(2)
                .find(|words| words[1].starts_with("each"))
                .and_then(|words| nanoseconds(words[0]));
            grid.add(&format!("among {keys} keys"), &[each.context("update_cost says nothing")?]);
        }
    }
    report.table(&grid);
    let of = |keys: &str| format!("among {keys} keys");
    grid.ratio(&of(MANY), &of(FEW), 0).context("nothing was measured")
}

fn nanoseconds(text: &str) -> Option<f64> {
    let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}
