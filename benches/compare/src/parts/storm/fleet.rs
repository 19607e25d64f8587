//! Clients that come back by themselves, and know when what they hold is fresh.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use datastream::proto::{DataRequest, DataResponse, Phase, Position};
use prost::Message as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::board::Wrong;
use crate::peer::Publisher;
use crate::peers::contract;
use crate::serve::naive::sample;

/// By when nobody may be missing.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a client waits before it tries again, at least, and how much longer at most.
const WAIT: Duration = Duration::from_millis(50);
const JITTER: u64 = 100;
/// What all are told in the end; no sample is like it.
const NEWS: &[u8] = b"the news";

pub struct Fleet {
    shared: Rc<Shared>,
    clients: usize,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    fresh: RefCell<Vec<Instant>>,
    bytes: Cell<usize>,
    told: Cell<usize>,
    wrong: RefCell<Option<String>>,
    changed: Notify,
}

impl Fleet {
    pub fn launch(url: &str, clients: usize, keys: u32, resumes: bool) -> Self {
        let (shared, mut tasks) = (Rc::<Shared>::default(), JoinSet::new());
        let keys: Rc<[String]> = (0..keys).map(|n| sample(n).key).collect();
        for number in 0..clients as u64 {
            let client = Client {
                url: url.to_owned(),
                keys: keys.clone(),
                resumes,
                position: Position::default(),
                held: 0,
                random: number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                shared: shared.clone(),
            };
            tasks.spawn_local(client.live());
        }
        Self { shared, clients, _tasks: tasks }
    }

    pub fn reset(&self) {
        self.shared.fresh.borrow_mut().clear();
        self.shared.bytes.set(0);
    }

    /// Waits until everybody holds the newest state.
    pub async fn all_fresh(&self) -> Result<()> {
        self.all("has a fresh state", || self.shared.fresh.borrow().len()).await
    }

    /// Changes a setting, and waits until everybody has that.
    pub async fn tell_all(&self, publisher: &mut dyn Publisher) -> Result<()> {
        publisher.put(&sample(0).key, Bytes::from_static(NEWS)).await?;
        self.all("was told the news", || self.shared.told.get()).await
    }

    async fn all(&self, what: &str, count: impl Fn() -> usize) -> Result<()> {
        let waits = async {
            while count() < self.clients && self.shared.wrong.borrow().is_none() {
                self.shared.changed.notified().await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, waits).await.is_ok();
        if let Some(wrong) = &*self.shared.wrong.borrow() {
            bail!(Wrong(wrong.clone()));
        }
        if !in_time {
            bail!(Wrong(format!("after {DEADLINE:?} only {} of {} {what}", count(), self.clients)));
        }
        Ok(())
    }

    /// When each became fresh, in milliseconds from then.
    pub fn times(&self, began: Instant) -> Vec<f64> {
        self.shared.fresh.borrow().iter().map(|at| (*at - began).as_secs_f64() * 1e3).collect()
    }

    /// How many bytes of messages the first deliveries had.
    pub fn bytes(&self) -> usize {
        self.shared.bytes.get()
    }
}

struct Client {
    url: String,
    keys: Rc<[String]>,
    resumes: bool,
    position: Position,
    /// How many of its keys it has.
    held: usize,
    random: u64,
    shared: Rc<Shared>,
}

impl Client {
    async fn live(mut self) {
        loop {
            if let Err(wrong) = self.visit().await {
                self.shared.wrong.borrow_mut().get_or_insert(format!("{wrong:#}"));
                self.shared.changed.notify_one();
                return;
            }
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            tokio::time::sleep(WAIT + Duration::from_millis((self.random >> 33) % JITTER)).await;
        }
    }

    /// Follows the server until it is gone. An error if it says something wrong.
    async fn visit(&mut self) -> Result<(), Wrong> {
        let Ok(mut stream) = self.subscribe().await else { return Ok(()) };
        while let Ok(Some(message)) = stream.message().await {
            let is_first = message.phase() != Phase::Change && message.phase() != Phase::Heartbeat;
            if !is_first && message.data.values().any(|data| data.value == NEWS) {
                self.shared.told.set(self.shared.told.get() + 1);
                self.shared.changed.notify_one();
            }
            if is_first {
                self.take(&message)?;
            }
        }
        Ok(())
    }

    async fn subscribe(&self) -> Result<Streaming<DataResponse>> {
        let mut client = contract::connect(&self.url).await?;
        let resume = Some(if self.resumes { self.position.clone() } else { Position::default() });
        let request = DataRequest { keys: self.keys.to_vec(), resume, ..DataRequest::default() };
        Ok(client.subscribe(request).await?.into_inner())
    }

    fn take(&mut self, message: &DataResponse) -> Result<(), Wrong> {
        if message.phase() != Phase::Resume && self.position.revision != 0 && self.resumes {
            return Err(Wrong("a position that the server gave is not honoured after a restart".to_owned()));
        }
        if let Some(strange) = message.data.values().find(|data| !contract::is_sample(data)) {
            return Err(Wrong(format!("{} has another value than was written", strange.key)));
        }
        self.shared.bytes.set(self.shared.bytes.get() + message.encoded_len());
        self.held += message.data.len();
        if message.more {
            return Ok(());
        }
        if self.held != self.keys.len() {
            return Err(Wrong(format!("a state has {} keys", self.held)));
        }
        self.position = message.position.clone().unwrap_or_default();
        if !self.resumes {
            self.held = 0;
        }
        self.shared.fresh.borrow_mut().push(Instant::now());
        self.shared.changed.notify_one();
        Ok(())
    }
}
