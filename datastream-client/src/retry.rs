//! How long to wait before trying again: the one policy of the client, and the one file that names `backoff`.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::error::Disconnect;

/// The first wait.
const BASE: Duration = Duration::from_millis(500);
/// The longest wait.
const CAP: Duration = Duration::from_secs(30);
/// The longest wait for a server that does not let this client in, or says more than there is room for: asking more often
/// changes nothing. It is not longer, because what an operator puts right should be well again in minutes.
const REFUSED_CAP: Duration = Duration::from_secs(300);
/// How long a server may keep a client away.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// The first and the longest wait of those who want to write the same key: the time of a commit, and of a few dozen.
const CONTENDED: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// For how long a stream must have been healthy, after its state was complete, to begin anew.
pub(crate) const HEALTHY: Duration = Duration::from_secs(60);

/// Waits that double, by default from half a second to half a minute: half of each is fixed and half is random, so that
/// the clients of a server that comes back do not come all at once.
///
/// The randomness is the caller's, which makes it a pure value. `backoff` would add its own after the cap and
/// so exceed it.
#[derive(Debug)]
pub(crate) struct Retry {
    intervals: ExponentialBackoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self::between(BASE, CAP)
    }
}

impl Retry {
    /// Waits from some milliseconds up to a second, for those who were too slow and not without a server.
    pub(crate) fn contended() -> Self {
        Self::between(CONTENDED.0, CONTENDED.1)
    }

    fn between(base: Duration, cap: Duration) -> Self {
        let intervals = ExponentialBackoff {
            current_interval: base,
            initial_interval: base,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: cap,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { intervals }
    }

    /// The next wait. `random` is from 0 to 1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        // Without a maximal elapsed time there is always a next interval.
        let cap = self.intervals.max_interval;
        let interval = self.intervals.next_backoff().unwrap_or(cap).min(cap);
        interval / 2 + (interval / 2).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Begins anew with the first wait.
    pub(crate) fn reset(&mut self) {
        self.intervals.reset();
    }
}

/// When a server is tried again, by why it was lost.
#[derive(Debug)]
pub(crate) struct Pace {
    failures: Retry,
    refusals: Retry,
}

impl Default for Pace {
    fn default() -> Self {
        Self { failures: Retry::default(), refusals: Retry::between(BASE, REFUSED_CAP) }
    }
}

impl Pace {
    /// The next wait. `random` is from 0 to 1. A server that says when to come back says it to many: what is added to that
    /// is random.
    pub(crate) fn next(&mut self, why: &Disconnect, random: f64) -> Duration {
        let retry = if why.is_refusal() || matches!(why, Disconnect::TooLarge { .. }) {
            &mut self.refusals
        } else {
            &mut self.failures
        };
        why.retry_after().min(LONGEST_DELAY) + retry.next(random)
    }

    /// Begins anew with the first wait.
    pub(crate) fn reset(&mut self) {
        self.failures.reset();
        self.refusals.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_exceed_it() {
        let mut retry = Retry::default();
        let longest: Vec<_> = (0..9).map(|_| retry.next(1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    }

    #[test]
    fn half_of_a_wait_is_fixed() {
        assert_eq!(Retry::default().next(0.0), BASE / 2);
    }

    #[test]
    fn a_refusal_is_asked_again_at_the_same_pace_and_then_ever_more_slowly_and_never_given_up() {
        let refused = Disconnect::Refused { code: "UNAUTHENTICATED", text: String::new(), retry_after: None };
        let mut pace = Pace::default();
        let waits: Vec<_> = (0..12).map(|_| pace.next(&refused, 1.0).as_millis()).collect();
        assert_eq!(waits[..3], [500, 1000, 2000]);
        assert_eq!(waits[8..], [128_000, 256_000, 300_000, 300_000]);
        assert_eq!(pace.next(&Disconnect::Ended, 1.0), BASE, "another failure has a count of its own");
    }

    #[test]
    fn a_server_says_when_to_come_back_but_not_for_ever() {
        let after = |seconds| Disconnect::Refused {
            code: "UNAVAILABLE",
            text: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(Pace::default().next(&after(7), 0.0), Duration::from_secs(7) + BASE / 2);
        assert_eq!(Pace::default().next(&after(1 << 40), 1.0), LONGEST_DELAY + BASE);
    }

    #[test]
    fn a_reset_begins_with_the_first_wait() {
        let mut retry = Retry::default();
        (0..5).for_each(|_| _ = retry.next(0.5));
        retry.reset();
        assert_eq!(retry.next(1.0), BASE);
    }
}
