//! The load: values are published to a crowd in one of three ways.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::board::{Rule, Wrong};
use crate::peer::{Crowd, KEY, Publisher, Server};
use crate::value;

/// By when everybody who subscribed receives.
const JOIN: Duration = Duration::from_secs(60);
/// After what is lazy on both sides has happened.
const WARM_UP: Duration = Duration::from_millis(300);

/// A crowd of one server, and who publishes to it.
pub struct Load<'a> {
    server: &'a dyn Server,
    crowd: Crowd,
    publisher: Box<dyn Publisher>,
}

/// What a delivery costs and how many there were.
pub struct Lockstep {
    pub deliveries_per_second: f64,
    /// Of the server, in microseconds.
    pub processor_per_delivery: f64,
}

impl<'a> Load<'a> {
    /// Subscribes a crowd, and returns when all of them have received something.
    pub async fn join(server: &'a dyn Server, subscribers: usize, streams: usize) -> Result<Self> {
        let crowd = Crowd::new(subscribers, streams);
        let publisher = server.publisher().await?;
        server.subscribe(&crowd).await?;
        let mut load = Self { server, crowd, publisher };
        let began = Instant::now();
        loop {
            let sequence = load.put().await?;
            if load.crowd.board.reached_within(sequence, Duration::from_secs(2)).await? {
                return Ok(load);
            }
            if began.elapsed() > JOIN {
                bail!(Wrong(format!("not all of {subscribers} subscribers receive after {JOIN:?}")));
            }
        }
    }

    /// Publishes the next value.
    async fn put(&mut self) -> Result<u64> {
        let sequence = self.crowd.board.publish();
        self.publisher.put(KEY, value::encode(sequence)).await?;
        Ok(sequence)
    }

    /// Publishes each value when everybody has the last one, so nothing can be joined or left out.
    pub async fn lockstep(&mut self, window: Duration) -> Result<Lockstep> {
        self.crowd.board.set_rule(Rule::Each);
        self.steps(WARM_UP).await?;
        let (process, board) = (self.server.process(), self.crowd.board.clone());
        let (used, delivered, began) = (process.processor_time()?, board.deliveries(), Instant::now());
        self.steps(window).await?;
        let (took, used) = (began.elapsed(), process.processor_time()? - used);
        let delivered = (board.deliveries() - delivered) as f64;
        Ok(Lockstep {
            deliveries_per_second: delivered / took.as_secs_f64(),
            processor_per_delivery: used.as_secs_f64() * 1e6 / delivered,
        })
    }

    async fn steps(&mut self, window: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < window {
            let sequence = self.put().await?;
            self.crowd.board.reached(sequence).await?;
        }
        Ok(())
    }

    /// Publishes at a pace. Returns how long each delivery took from just before its value was published, the shortest
    /// first.
    pub async fn paced(&mut self, interval: Duration, window: Duration) -> Result<Vec<Duration>> {
        self.crowd.board.set_rule(Rule::Newest);
        self.steps(WARM_UP).await?;
        self.crowd.board.collect(true);
        let mut clock = tokio::time::interval(interval);
        let (began, mut sequence) = (Instant::now(), 0);
        while began.elapsed() < window {
            clock.tick().await;
            sequence = self.put().await?;
        }
        self.crowd.board.reached(sequence).await?;
        Ok(self.crowd.board.collect(false))
    }

    /// Publishes at a pace that does not wait for answers. Returns the latencies of what was delivered until the last value
    /// was everywhere.
    pub async fn flood(&mut self, interval: Duration, window: Duration) -> Result<Vec<Duration>> {
        let board = self.crowd.board.clone();
        board.set_rule(Rule::Any);
        board.collect(true);
        let (began, mut values) = (Instant::now(), 0);
        let mut calls = tokio::task::JoinSet::new();
        while began.elapsed() < window {
            while began.elapsed() > interval * values {
                let mut publisher = self.publisher.share();
                let value = value::encode(board.publish());
                calls.spawn_local(async move { publisher.put(KEY, value).await });
                values += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for call in calls.join_all().await {
            call?;
        }
        // Of those under way together any may have come last; this one did.
        let sequence = self.put().await?;
        board.reached(sequence).await?;
        Ok(board.collect(false))
    }
}
