//! What a crowd did, and what came in its way.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one test.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many commits are known to be made.
    commits: watch::Sender<u64>,
    /// Those of them that went through a server.
    pub(super) pushes: Count,
    /// Pushes of which nobody was told what became of them.
    pub(super) unanswered: Count,
    /// Transactions that their writers rolled back.
    pub(super) rollbacks: Count,
    /// Transactions that were ended because others waited for them in a circle.
    pub(super) deadlocks: Count,
    /// Transactions that could not be serialized.
    pub(super) serializations: Count,
    /// Sessions of writers that ended.
    pub(super) lost: Count,
    /// Streams that an observer left for the other server.
    pub(super) hops: Count,
    /// Deliveries with which an observer went on where it was.
    pub(super) resumes: Count,
    /// Deliveries with which an observer had to begin anew.
    pub(super) resets: Count,
}

impl Tally {
    pub(super) fn count_commit(&self) {
        self.commits.send_modify(|commits| *commits += 1);
    }

    /// Waits until so many commits are made.
    pub(super) async fn reaches(&self, commits: u64) {
        let mut counted = self.commits.subscribe();
        let reached = counted.wait_for(|counted| *counted >= commits).await;
        reached.expect("the sender is here");
    }

    pub(super) fn commits(&self) -> u64 {
        *self.commits.borrow()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("of them pushes", &self.pushes),
            ("pushes without an answer", &self.unanswered),
            ("rolled back", &self.rollbacks),
            ("deadlocks among writers", &self.deadlocks),
            ("serialization failures", &self.serializations),
            ("sessions of writers lost", &self.lost),
            ("hops", &self.hops),
            ("resumes", &self.resumes),
            ("resets", &self.resets),
        ];
        write!(f, "{} commits", self.commits())?;
        counts.iter().try_for_each(|(what, count)| write!(f, ", {} {what}", count.get()))
    }
}
