//! A bucket of NATS with JetStream: in files, with one value of history.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use async_nats::jetstream::kv::{Config, Store};
use async_nats::jetstream::{self, stream::StorageType};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;

use super::nats;
use crate::board::Board;
use crate::peer::{Crowd, KEY, Peer, Publisher, Server};
use crate::process::{Cores, Process};

const BUCKET: &str = "settings";

pub struct NatsKv;

#[async_trait(?Send)]
impl Peer for NatsKv {
    fn name(&self) -> &'static str {
        "NATS KV"
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        let kept = folder.join("jetstream").display().to_string();
        let (process, address) = nats::start(folder, cores, &["-js", "-sd", &kept])?;
        let context = jetstream::new(nats::connect(address).await?);
        let config =
            Config { bucket: BUCKET.to_owned(), history: 1, storage: StorageType::File, ..Config::default() };
        context.create_key_value(config).await.context("it makes no bucket")?;
        Ok(Box::new(Running { process, address }))
    }
}

struct Running {
    process: Process,
    address: SocketAddr,
}

impl Running {
    async fn bucket(&self) -> Result<Store> {
        let context = jetstream::new(nats::connect(self.address).await?);
        context.get_key_value(BUCKET).await.context("it has no bucket")
    }
}

#[async_trait(?Send)]
impl Server for Running {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Putter(self.bucket().await?)))
    }

    async fn subscribe(&self, crowd: &Crowd) -> Result<()> {
        crowd
            .connect(async |subscribers| {
                let bucket = self.bucket().await?;
                for subscriber in subscribers {
                    let (watches, is_watching) = oneshot::channel();
                    crowd.receive(watch(bucket.clone(), subscriber, crowd.board.clone(), watches));
                    is_watching.await.context("it lets nobody watch")?;
                }
                Ok(())
            })
            .await
    }
}

/// Receives, and says when it has begun to.
async fn watch(bucket: Store, subscriber: usize, board: Rc<Board>, watches: oneshot::Sender<()>) {
    let mut entries = match bucket.watch(KEY).await {
        Ok(entries) => entries,
        Err(error) => return board.end(subscriber, error),
    };
    // Whoever waits for it may have given up.
    let _ = watches.send(());
    loop {
        match entries.next().await {
            Some(Ok(entry)) => board.deliver(subscriber, &entry.value),
            Some(Err(error)) => return board.end(subscriber, error),
            None => return board.end(subscriber, "the client gave up"),
        }
    }
}

struct Putter(Store);

#[async_trait(?Send)]
impl Publisher for Putter {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.0.put(key, value).await?;
        Ok(())
    }

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).await?)
    }

    fn share(&self) -> Box<dyn Publisher> {
        Box::new(Self(self.0.clone()))
    }
}
