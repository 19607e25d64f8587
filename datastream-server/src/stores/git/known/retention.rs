//! What is known of a branch and may be forgotten. The repository itself keeps all of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Content, Known};
use crate::store::Retention;

/// How many positions are remembered at start, as many as a retention keeps by default.
const REMEMBERED: u64 = 100_000;

impl Known {
    /// Lets go of what a server that starts does not need: of a long history, the positions far back.
    pub(in crate::stores::git) fn trim(&mut self) {
        let floor = self.chain.revision().saturating_sub(REMEMBERED - 1).max(1);
        self.forget_to(floor);
    }

    pub(in crate::stores::git) fn compact(&mut self, retention: Retention) -> u64 {
        let now = SystemTime::now();
        let newest = self.chain.revision();
        let mut floor = self.chain.floor;
        while floor < newest {
            let excess = newest - floor + 1 > retention.max_positions.max(1);
            // A position grows old from when the next one came: until then it was the newest.
            if !excess && !is_older(self.chain.time_of(floor + 1), retention.positions, now) {
                break;
            }
            floor += 1;
        }
        self.forget_to(floor);
        self.requests.compact(&retention, now);
        self.compacted_to
    }

    fn forget_to(&mut self, floor: u64) {
        if floor <= self.chain.floor {
            return;
        }
        (self.chain.floor, self.compacted_to) = (floor, floor - 1);
        let dead = self.order.range(..(floor, Arc::from(""))).filter(|(_, key)| {
            self.latest.get(key).is_some_and(|latest| matches!(latest.content, Content::Gone))
        });
        for place in dead.cloned().collect::<Vec<_>>() {
            self.latest.remove(&place.1);
            self.order.remove(&place);
        }
    }
}

/// Whether a time is so long ago that it may be forgotten.
pub(in crate::stores::git) fn is_older(time: SystemTime, than: Duration, now: SystemTime) -> bool {
    now.duration_since(time).unwrap_or_default() >= than
}
