//! The limit of a fan-out: a write of 64 bytes for each subscriber and value, and nothing else. See `serve/raw.rs`.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::own;
use crate::peer::{Crowd, Peer, Publisher, Server};
use crate::process::{Cores, Process, free_address};
use crate::serve::raw::{FRAME, Hello};
use crate::value;

pub struct Raw;

#[async_trait(?Send)]
impl Peer for Raw {
    fn name(&self) -> &'static str {
        "raw TCP"
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        let address = free_address()?;
        let process = own::start(&["serve-raw", "--listen", &address.to_string()], address, folder, cores)?;
        Ok(Box::new(Running { process, address }))
    }
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
        Ok(Box::new(Sender(connect(self.address, Hello::Publisher).await?)))
    }

    async fn subscribe(&self, crowd: &Crowd) -> Result<()> {
        crowd
            .connect(async |subscribers| {
                let mut stream = connect(self.address, Hello::Subscribers(subscribers.len() as u32)).await?;
                let board = crowd.board.clone();
                crowd.receive(async move {
                    let mut frames = vec![0; FRAME * subscribers.len()];
                    loop {
                        if let Err(error) = stream.read_exact(&mut frames).await {
                            return board.end(subscribers.start, error);
                        }
                        for (subscriber, frame) in subscribers.clone().zip(frames.chunks(FRAME)) {
                            board.deliver(subscriber, &frame[..value::BYTES]);
                        }
                    }
                });
                Ok(())
            })
            .await
    }
}

async fn connect(address: SocketAddr, hello: Hello) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    stream.write_all(&hello.encode()).await?;
    Ok(stream)
}

struct Sender(TcpStream);

#[async_trait(?Send)]
impl Publisher for Sender {
    async fn put(&mut self, _: &str, value: Bytes) -> Result<()> {
        let mut frame = [0; FRAME];
        frame[..value.len()].copy_from_slice(&value);
        Ok(self.0.write_all(&frame).await?)
    }

    async fn get(&mut self, _: &str) -> Result<Option<Bytes>> {
        bail!("it keeps nothing")
    }

    fn share(&self) -> Box<dyn Publisher> {
        unreachable!("one publisher is all that a raw server is measured with")
    }
}
