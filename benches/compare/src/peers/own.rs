//! The servers that this program is itself, with other arguments.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{Cores, Process};

pub fn start(arguments: &[&str], address: SocketAddr, folder: &Path, cores: Cores) -> Result<Process> {
    let this = std::env::current_exe().context("this program does not know where it is")?;
    let mut process = Process::start(Command::new(this).args(arguments), cores, folder)?;
    process.listens(address)?;
    Ok(process)
}
