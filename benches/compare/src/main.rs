//! Measures this project's server and its peers under one load; `run` builds and starts it.
//!
//! The program is the load generator, on a core of its own with one clock. It starts the servers on another, each round
//! anew and by turns, and checks whatever arrives. With other arguments it is one of the servers that stand for what
//! nobody else wrote: a server as it is quickly made, and the limit of a bare socket.

#![forbid(unsafe_code)]

mod board;
mod grid;
mod load;
mod page;
mod parts;
mod peer;
mod peers;
mod plot;
mod process;
mod report;
mod rounds;
mod serve;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::page::Page;
use crate::parts::{ALL, Part};
use crate::process::Cores;
use crate::rounds::Effort;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures these parts, or all of them, and brings a page up to date.
    Measure {
        parts: Vec<String>,
        /// Fewer rounds, each shorter.
        #[arg(long)]
        quick: bool,
        /// How long each figure is taken.
        #[arg(long)]
        seconds: Option<u64>,
        #[arg(long)]
        page: PathBuf,
    },
    /// A server of the contract as it is quickly written.
    ServeNaive {
        #[arg(long)]
        listen: SocketAddr,
        /// How many keys it holds from the start.
        #[arg(long)]
        keys: u32,
        /// Whether its runtime has no workers.
        #[arg(long)]
        one_thread: bool,
        /// Where it writes each push, if it does.
        #[arg(long)]
        database: Option<PathBuf>,
    },
    /// A server that passes on frames.
    ServeRaw {
        #[arg(long)]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Measure { parts, quick, seconds, page } => measure(&parts, Effort { quick, seconds }, page),
        Command::ServeNaive { listen, keys, one_thread, database } => {
            serve::naive::run(listen, keys, one_thread, database).map(|()| true)
        }

        Command::ServeRaw { listen } => serve::raw::run(listen).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all that arrived was right.
fn measure(names: &[String], effort: Effort, page: PathBuf) -> Result<bool> {
    let parts = chosen(names)?;
    Cores::Load.take()?;
    let mut page = Page::open(page)?;
    let runtime = Builder::new_current_thread().enable_all().build().context("there is no runtime")?;
    let (mut right, mut counted) = (true, [0; 3]);
    for part in parts {
        println!("\n## {}: {}\n", part.name, part.title);
        // The tasks of one part end with it.
        let local = LocalSet::new();
        match local.block_on(&runtime, part.measure(effort)) {
            Ok(report) => {
                println!("{}", report.markdown());
                right &= report.is_right();
                counted.iter_mut().zip(report.count()).for_each(|(sum, count)| *sum += count);
                page.put(part, effort, &report)?;
            }
            Err(error) => println!("Not measured: {}: {error:#}", part.name),
        }
    }
    let [reached, missed, not_measured] = counted;
    println!("{reached} goals reached, {missed} missed, {not_measured} not measured");
    if !right {
        println!("FAILED: a delivery was lost or corrupted; see above");
    }
    Ok(right)
}

fn chosen(names: &[String]) -> Result<Vec<Part>> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let part = |name: &String| ALL.iter().find(|part| part.name.eq_ignore_ascii_case(name)).copied();
    match names.iter().find(|name| part(name).is_none()) {
        Some(unknown) => bail!("there is no part {unknown}; there are P1 to P{}", ALL.len()),
        None => Ok(names.iter().filter_map(part).collect()),
    }
}
