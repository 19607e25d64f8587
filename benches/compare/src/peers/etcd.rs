//! etcd as Debian has it, with what it does by default.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::Client;

use crate::peer::{Crowd, KEY, Peer, Publisher, Server};
use crate::process::{Cores, Process, free_address, program};

pub struct Etcd;

#[async_trait(?Send)]
impl Peer for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        let (address, peers) = (free_address()?, format!("http://{}", free_address()?));
        let url = format!("http://{address}");
        let mut command = Command::new(program("etcd")?);
        command.arg("--data-dir").arg(folder.join("data"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        let mut process = Process::start(&mut command, cores, folder)?;
        process.listens(address)?;
        let server = Running { process, address };
        // It listens before it has elected itself.
        server.publisher().await?.put("started", Bytes::new()).await.context("it elects no leader")?;
        Ok(Box::new(server))
    }
}

struct Running {
    process: Process,
    address: SocketAddr,
}

impl Running {
    async fn connect(&self) -> Result<Client> {
        Client::connect([self.address.to_string()], None).await.context("cannot connect")
    }
}

#[async_trait(?Send)]
impl Server for Running {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Putter(self.connect().await?)))
    }

    async fn subscribe(&self, crowd: &Crowd) -> Result<()> {
        crowd
            .connect(async |subscribers| {
                let mut client = self.connect().await?;
                for subscriber in subscribers {
                    let mut watch = client.watch(KEY, None).await?;
                    let board = crowd.board.clone();
                    crowd.receive(async move {
                        loop {
                            match watch.message().await {
                                Ok(Some(message)) => {
                                    let values = message.events().iter().filter_map(|event| event.kv());
                                    values.for_each(|entry| board.deliver(subscriber, entry.value()));
                                }
                                Ok(None) => return board.end(subscriber, "OK"),
                                Err(error) => return board.end(subscriber, error),
                            }
                        }
                    });
                }
                Ok(())
            })
            .await
    }
}

struct Putter(Client);

#[async_trait(?Send)]
impl Publisher for Putter {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.0.put(key, value, None).await?;
        Ok(())
    }

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>> {
        let answer = self.0.get(key, None).await?;
        Ok(answer.kvs().first().map(|entry| Bytes::copy_from_slice(entry.value())))
    }

    fn share(&self) -> Box<dyn Publisher> {
        Box::new(Self(self.0.clone()))
    }
}
