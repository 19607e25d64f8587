//! The server of this project, as it is released.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use async_trait::async_trait;

use super::contract;
use crate::peer::{Crowd, Peer, Publisher, Server};
use crate::process::{Cores, Process, free_address};

/// Where its settings live.
#[derive(Clone, Copy, PartialEq)]
pub enum Ours {
    Memory,
    Sqlite,
}

/// The program, which `run` builds and names.
pub fn program() -> Result<PathBuf> {
    std::env::var_os("COMPARE_SERVER").map(PathBuf::from).context("COMPARE_SERVER does not say where it is")
}

#[async_trait(?Send)]
impl Peer for Ours {
    fn name(&self) -> &'static str {
        match self {
            Self::Memory => "datastream",
            Self::Sqlite => "datastream, durable",
        }
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        let store = match self {
            Self::Memory => "memory:".to_owned(),
            Self::Sqlite => format!("sqlite:{}", folder.join("settings.db").display()),
        };
        Ok(Box::new(Running::start(&store, free_address()?, folder, cores)?))
    }
}

pub struct Running {
    process: Process,
    pub url: String,
}

impl Running {
    pub fn start(store: &str, address: SocketAddr, folder: &Path, cores: Cores) -> Result<Self> {
        let mut command = Command::new(program()?);
        command.args(["--listen", &address.to_string(), "--store", store]);
        let mut process = Process::start(&mut command, cores, folder)?;
        process.listens(address)?;
        Ok(Self { process, url: format!("http://{address}") })
    }
}

#[async_trait(?Send)]
impl Server for Running {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>> {
        contract::publisher(&self.url).await
    }

    async fn subscribe(&self, crowd: &Crowd) -> Result<()> {
        contract::subscribe(&self.url, crowd).await
    }
}
