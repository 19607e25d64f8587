//! Redis: what it publishes, and what it keeps in a log that it syncs for each write.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};

use crate::peer::{Crowd, KEY, Peer, Publisher, Server};
use crate::process::{Cores, Process, free_address, program};

#[derive(Clone, Copy, PartialEq)]
pub enum Redis {
    Publishes,
    Keeps,
}

#[async_trait(?Send)]
impl Peer for Redis {
    fn name(&self) -> &'static str {
        match self {
            Self::Publishes => "Redis pub/sub",
            Self::Keeps => "Redis, appendfsync always",
        }
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        let address = free_address()?;
        let mut command = Command::new(program("redis-server")?);
        command.args([
            "--bind",
            &address.ip().to_string(),
            "--port",
            &address.port().to_string(),
            "--save",
            "",
        ]);
        if *self == Self::Keeps {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        let mut process = Process::start(&mut command, cores, folder)?;
        process.listens(address)?;
        Ok(Box::new(Running { process, address, redis: *self }))
    }
}

struct Running {
    process: Process,
    address: SocketAddr,
    redis: Redis,
}

impl Running {
    fn client(&self) -> Result<Client> {
        Ok(Client::open(format!("redis://{}", self.address))?)
    }
}

#[async_trait(?Send)]
impl Server for Running {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>> {
        // A sync may take longer than the half second that is its default.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = self.client()?.get_multiplexed_async_connection_with_config(&config).await;
        Ok(Box::new(Setter { connection: connection.context("cannot connect")?, redis: self.redis }))
    }

    async fn subscribe(&self, crowd: &Crowd) -> Result<()> {
        crowd
            .connect(async |subscribers| {
                let mut connection = self.client()?.get_async_pubsub().await.context("cannot connect")?;
                connection.subscribe(KEY).await?;
                let board = crowd.board.clone();
                crowd.receive(async move {
                    let mut messages = connection.into_on_message();
                    while let Some(message) = messages.next().await {
                        board.deliver(subscribers.start, message.get_payload_bytes());
                    }
                    board.end(subscribers.start, "the connection ended");
                });
                Ok(())
            })
            .await
    }

    fn writers_on_a_connection(&self) -> usize {
        1
    }
}

struct Setter {
    connection: MultiplexedConnection,
    redis: Redis,
}

#[async_trait(?Send)]
impl Publisher for Setter {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        let command = if self.redis == Redis::Keeps { "SET" } else { "PUBLISH" };
        let _: redis::Value =
            redis::cmd(command).arg(key).arg(&value[..]).query_async(&mut self.connection).await?;
        Ok(())
    }

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>> {
        let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query_async(&mut self.connection).await?;
        Ok(value.map(Bytes::from))
    }

    fn share(&self) -> Box<dyn Publisher> {
        Box::new(Self { connection: self.connection.clone(), redis: self.redis })
    }
}
