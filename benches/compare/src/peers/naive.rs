//! A server of our contract as it is quickly written with tonic; it is in `serve/naive.rs`.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;

use super::{contract, own};
use crate::peer::{Crowd, Peer, Publisher, Server};
use crate::process::{Cores, Process, free_address};

#[derive(Clone, Copy, PartialEq)]
pub enum Naive {
    /// It keeps nothing.
    Memory,
    /// The same on one thread, on which what is woken runs in the order in which it was.
    OneThread,
    /// It makes a transaction of SQLite for each push.
    Sqlite,
}

#[async_trait(?Send)]
impl Peer for Naive {
    fn name(&self) -> &'static str {
        match self {
            Self::Memory => "naive tonic",
            Self::OneThread => "naive tonic, one thread",
            Self::Sqlite => "a transaction per push",
        }
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        Ok(Box::new(Running::start(*self, 0, free_address()?, folder, cores)?))
    }
}

pub struct Running {
    process: Process,
    pub url: String,
}

impl Running {
    /// Starts one that holds so many keys.
    pub fn start(naive: Naive, keys: u32, address: SocketAddr, folder: &Path, cores: Cores) -> Result<Self> {
        let (listen, keys) = (address.to_string(), keys.to_string());
        let mut arguments = vec!["serve-naive", "--listen", &listen, "--keys", &keys];
        let database = folder.join("settings.db").display().to_string();
        if naive == Naive::Sqlite {
            arguments.extend(["--database", &database]);
        }
        if naive == Naive::OneThread {
            arguments.push("--one-thread");
        }
        let process = own::start(&arguments, address, folder, cores)?;
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
