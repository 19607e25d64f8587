//! P11: what has to be installed and built.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::grid::Grid;
use crate::peer::Server as _;
use crate::peers::ours::{Running, program};
use crate::process::{Cores, free_address};
use crate::report::Report;
use crate::rounds::folder;

/// After which a server that just started has become quiet.
const REST: Duration = Duration::from_secs(2);
const CLIENT: &str = "datastream-client";

pub fn measure(report: &mut Report) -> Result<()> {
    let folder = folder()?;
    let binary = stripped(folder.path())?;
    let store = format!("sqlite:{}", folder.path().join("settings.db").display());
    let server = Running::start(&store, free_address()?, folder.path(), Cores::Server)?;
    thread::sleep(REST);
    let memory = server.process().memory()? / 1e6;
    let crates = crates_of_the_client()?;
    let mut grid =
        Grid::new("as it is built by default", &["MB on disk, stripped", "MB in memory, idle", "crates"]);
    grid.add("server", &[binary, memory]);
    grid.add("client, without TLS", &[f64::NAN, f64::NAN, crates]);
    report.at_most(8.0, "the server, stripped, in MB", Some(binary));
    report.at_most(12.0, "the idle server's memory, in MB", Some(memory));
    report.at_most(89.0, "crates of the client without TLS, itself included", Some(crates));
    report.table(&grid);
    Ok(())
}

fn stripped(folder: &Path) -> Result<f64> {
    let copy = folder.join("server");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(program()?).status();
    ensure!(status.context("strip is not installed")?.success(), "strip failed");
    Ok(std::fs::metadata(copy)?.len() as f64 / 1e6)
}

/// How many crates an application compiles for it, on this machine.
fn crates_of_the_client() -> Result<f64> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let mut command = Command::new("cargo");
    command.args([
        "tree",
        "--locked",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}",
    ]);
    let tree = command.args(["--package", CLIENT, "--manifest-path"]).arg(manifest).output()?;
    ensure!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8_lossy(&tree.stdout);
    Ok(text.lines().filter(|line| !line.is_empty()).collect::<BTreeSet<_>>().len() as f64)
}
