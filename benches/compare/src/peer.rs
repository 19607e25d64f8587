//! What a peer is to the load generator: a server that can be started, published to and followed.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::task::{JoinSet, spawn_local};

use crate::board::Board;
use crate::process::{Cores, Process};

/// What subscribers follow, where there is one key for all.
pub const KEY: &str = "compare";
/// How many connections are made at once: more than a listener holds back would be turned away.
const AT_ONCE: usize = 16;

/// A kind of server.
#[async_trait(?Send)]
pub trait Peer {
    fn name(&self) -> &'static str;

    /// Starts one that keeps what it keeps in `folder`. It answers when this returns.
    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>>;
}

/// One that runs. It ends when it is dropped.
#[async_trait(?Send)]
pub trait Server {
    fn process(&self) -> &Process;

    /// A publisher with a connection of its own.
    async fn publisher(&self) -> Result<Box<dyn Publisher>>;

    /// Lets a crowd follow [`KEY`]. What is published after everybody has received something reaches all.
    async fn subscribe(&self, crowd: &Crowd) -> Result<()>;

    /// How many writers share a connection, as an application with this client would have it.
    fn writers_on_a_connection(&self) -> usize {
        16
    }
}

/// Who writes.
#[async_trait(?Send)]
pub trait Publisher {
    /// Returns when the server says that it has the value; durable where that is what it promises.
    async fn put(&mut self, key: &str, value: Bytes) -> Result<()>;

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>>;

    /// Another publisher on the same connection.
    fn share(&self) -> Box<dyn Publisher>;
}

/// Those who follow a key of one server, and with how many streams on each connection.
pub struct Crowd {
    pub board: Rc<Board>,
    subscribers: usize,
    streams: usize,
    tasks: RefCell<JoinSet<()>>,
}

impl Crowd {
    pub fn new(subscribers: usize, streams: usize) -> Self {
        Self { board: Board::new(subscribers), subscribers, streams, tasks: RefCell::default() }
    }

    /// Makes each connection, for these subscribers.
    pub async fn connect<F: Future<Output = Result<()>>>(
        &self,
        mut connect: impl FnMut(std::ops::Range<usize>) -> F,
    ) -> Result<()> {
        let starts = (0..self.subscribers).step_by(self.streams);
        let ranges = starts.map(|start| start..(start + self.streams).min(self.subscribers));
        let mut made = stream::iter(ranges.map(&mut connect)).buffer_unordered(AT_ONCE);
        while let Some(connected) = made.next().await {
            connected?;
        }
        Ok(())
    }

    /// Has a task receive, until the crowd is dropped.
    pub fn receive(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn_local(task);
    }
}

/// Runs a task that ends by itself, when its connection does.
pub fn drive(task: impl Future<Output = ()> + 'static) {
    drop(spawn_local(task));
}
