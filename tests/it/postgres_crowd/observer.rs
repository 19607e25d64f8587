//! A client that hops between servers, and notes all that it is sent.

use std::sync::Arc;
use std::time::Duration;

use datastream::proto::Phase;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::RETRY;
use super::tally::Tally;
use crate::mirror::Mirror;
use crate::wire::{DEADLINE, Delivery, Wire};

/// A stream lives for at most so long, however much of a delivery has come by then.
const LIFE_MILLIS: u64 = 300;

/// An observer of all that is written, which ends where it is told to.
pub(super) struct Observer {
    mirror: Mirror,
    servers: [Wire; 2],
    rng: Rng,
    tally: Arc<Tally>,
    until: watch::Receiver<Option<u64>>,
}

impl Observer {
    pub(super) fn of(
        urls: [&str; 2],
        rng: Rng,
        tally: Arc<Tally>,
        until: watch::Receiver<Option<u64>>,
    ) -> Self {
        Self { mirror: Mirror::of(&["own/", "shared/"]), servers: urls.map(Wire::lazy), rng, tally, until }
    }

    /// Follows one server after the other until it is at the revision that it is told in the end. Returns what it holds
    /// then.
    pub(super) async fn run(mut self) -> Mirror {
        let mut at = self.rng.usize(..2);
        while !self.has_arrived() {
            let is_told = self.until.borrow().is_some();
            let life = if is_told { DEADLINE } else { Duration::from_millis(self.rng.u64(..LIFE_MILLIS)) };
            // Whether its life is over, or the server has ended it.
            let _ = timeout(life, self.follow(at)).await;
            at = 1 - at;
            self.tally.hops.add(1);
        }
        self.mirror
    }

    async fn follow(&mut self, at: usize) {
        let request = self.mirror.request();
        let Ok(mut stream) = self.servers[at].try_subscribe(request).await else {
            return sleep(RETRY).await;
        };
        while !self.has_arrived()
            && let Ok(delivery) = stream.try_next().await
        {
            self.apply(delivery);
        }
    }

    fn apply(&mut self, delivery: Delivery) {
        let before = self.mirror.position.revision;
        if matches!(delivery.phase, Phase::Resume | Phase::Change) {
            let mut revisions = delivery.data.values().map(|data| data.revision);
            let is_new = |revision: u64| before < revision && revision <= delivery.revision();
            assert!(revisions.all(is_new), "after {before}, up to {}: {delivery}", delivery.revision());
        }
        self.tally.resumes.add((delivery.phase == Phase::Resume).into());
        self.tally.resets.add((delivery.phase == Phase::Reset).into());
        self.mirror.apply(delivery);
    }

    fn has_arrived(&self) -> bool {
        self.until.borrow().is_some_and(|until| self.mirror.position.revision >= until)
    }
}
