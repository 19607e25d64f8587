//! How a store waits and tries again, and how it comes back to what it has lost: written once, for the feed and for every
//! store that is reached over a connection.

use std::time::Duration;

#[cfg(feature = "postgres")]
mod link;

#[cfg(feature = "postgres")]
pub(crate) use link::{Connection, Link};

/// Waits that double, from the first to the longest.
#[derive(Debug)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    pub(crate) const fn between(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// The next wait, half of it random: of those who collide, one comes first.
    #[cfg(any(feature = "directory", feature = "git", feature = "object", feature = "postgres"))]
    pub(crate) fn next_jittered(&mut self) -> Duration {
        let half = self.next() / 2;
        half + half.mul_f64(fastrand::f64())
    }

    /// Begins anew with the first.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut pauses = Pauses::between(Duration::from_millis(50), Duration::from_millis(300));
        let taken: Vec<_> = (0..5).map(|_| pauses.next().as_millis()).collect();
        assert_eq!(taken, [50, 100, 200, 300, 300]);
        pauses.reset();
        assert_eq!(pauses.next().as_millis(), 50);
    }
}
