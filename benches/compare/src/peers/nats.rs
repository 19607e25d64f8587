//! NATS without JetStream: it passes on, and keeps nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, ConnectOptions};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::peer::{Crowd, KEY, Peer, Publisher, Server};
use crate::process::{Cores, Process, free_address, program};

pub struct Nats;

#[async_trait(?Send)]
impl Peer for Nats {
    fn name(&self) -> &'static str {
        "NATS core"
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        let (process, address) = start(folder, cores, &[])?;
        Ok(Box::new(Running { process, address }))
    }
}

/// Starts a server with these arguments beside the usual ones.
pub fn start(folder: &Path, cores: Cores, arguments: &[&str]) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(program("nats-server")?);
    command.args(["-a", &address.ip().to_string(), "-p", &address.port().to_string()]).args(arguments);
    let mut process = Process::start(&mut command, cores, folder)?;
    process.listens(address)?;
    Ok((process, address))
}

pub async fn connect(address: SocketAddr) -> Result<Client> {
    ConnectOptions::new().connect(address.to_string()).await.context("cannot connect")
}

struct Running {
    process: Process,
    address: SocketAddr,
}

#[async_trait(?Send)]
impl Server for Running {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Sender(connect(self.address).await?)))
    }

    async fn subscribe(&self, crowd: &Crowd) -> Result<()> {
        crowd
            .connect(async |subscribers| {
                let client = connect(self.address).await?;
                for subscriber in subscribers {
                    let mut messages = client.subscribe(KEY).await?;
                    let board = crowd.board.clone();
                    crowd.receive(async move {
                        while let Some(message) = messages.next().await {
                            board.deliver(subscriber, &message.payload);
                        }
                        board.end(subscriber, "the client gave up");
                    });
                }
                Ok(client.flush().await?)
            })
            .await
    }
}

struct Sender(Client);

#[async_trait(?Send)]
impl Publisher for Sender {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.0.publish(key.to_owned(), value).await?;
        Ok(self.0.flush().await?)
    }

    async fn get(&mut self, _: &str) -> Result<Option<Bytes>> {
        bail!("it keeps nothing")
    }

    fn share(&self) -> Box<dyn Publisher> {
        Box::new(Self(self.0.clone()))
    }
}
