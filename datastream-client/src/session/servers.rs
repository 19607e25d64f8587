//! Whose turn it is among several servers, and when.

use std::time::Duration;

use crate::error::Disconnect;
use crate::retry::{Pace, Retry};

/// The servers of the same settings, in the order in which they were named.
///
/// Each is asked at its own pace: what one refuses, or when it wants to be asked again, keeps nobody from another.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Server>,
    turn: usize,
    /// How often any of them is asked.
    failures: Retry,
}

#[derive(Debug, Default)]
struct Server {
    pace: Pace,
    not_before: Duration,
}

impl Servers {
    /// So many, but one at least.
    pub(super) fn new(count: usize) -> Self {
        let all = (0..count.max(1)).map(|_| Server::default()).collect();
        Self { all, turn: 0, failures: Retry::default() }
    }

    /// The number of the one that is followed, or asked next.
    pub(super) fn turn(&self) -> usize {
        self.turn
    }

    /// Goes on to the next at once, if there is another.
    pub(super) fn go_on(&mut self) -> bool {
        self.turn = (self.turn + 1) % self.all.len();
        self.all.len() > 1
    }

    /// When the one whose turn it is may be asked again, although it is not lost.
    pub(super) fn again(&mut self, now: Duration, why: &Disconnect, random: f64) -> Duration {
        let server = &mut self.all[self.turn];
        server.not_before = server.not_before.max(now + server.pace.next(why, random));
        server.not_before
    }

    /// The one whose turn it was is lost: when to ask, and from then on it is the turn of the one that may be asked first.
    pub(super) fn lost(&mut self, now: Duration, why: &Disconnect, random: f64) -> Duration {
        self.again(now, why, random);
        let earliest = now + self.failures.next(random);
        let count = self.all.len();
        let others = (1..=count).map(|step| (self.turn + step) % count);
        let next =
            others.map(|turn| (self.all[turn].not_before.max(earliest), turn)).min_by_key(|next| next.0);
        let (at, turn) = next.unwrap_or((earliest, self.turn));
        self.turn = turn;
        at
    }

    /// The one whose turn it is was healthy for long: that clears the record of failures.
    pub(super) fn credit(&mut self) {
        self.failures.reset();
        self.all[self.turn].pace.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Disconnect {
        Disconnect::Refused { code: "UNAUTHENTICATED", text: String::new(), retry_after: None }
    }

    fn later(seconds: u64) -> Disconnect {
        let retry_after = Some(Duration::from_secs(seconds));
        Disconnect::Refused { code: "UNAVAILABLE", text: String::new(), retry_after }
    }

    /// Loses whoever is asked, again and again: who is asked, and after which wait.
    fn turns(servers: &mut Servers, reasons: &[Disconnect], rounds: usize) -> Vec<(usize, Duration)> {
        let mut now = Duration::ZERO;
        let mut turns = Vec::new();
        for _ in 0..rounds {
            let at = servers.lost(now, &reasons[servers.turn()], 1.0);
            turns.push((servers.turn(), at - now));
            now = at;
        }
        turns
    }

    #[test]
    fn the_next_one_has_its_turn_after_the_ordinary_wait() {
        let waits = turns(&mut Servers::new(2), &[Disconnect::Ended, Disconnect::Ended], 4);
        let seconds = |n| Duration::from_secs(n);
        assert_eq!(waits, [(1, seconds(1) / 2), (0, seconds(1)), (1, seconds(2)), (0, seconds(4))]);
    }

    #[test]
    fn what_one_refuses_keeps_nobody_from_another() {
        let mut servers = Servers::new(2);
        let waits = turns(&mut servers, &[refused(), Disconnect::Ended], 40);
        let longest = waits.iter().filter(|(turn, _)| *turn == 1).map(|(_, wait)| *wait).max();
        assert!(longest <= Some(Duration::from_secs(30)), "{waits:?}");
        let asked = waits.iter().filter(|(turn, _)| *turn == 0).count();
        assert!(
            (9..15).contains(&asked),
            "the one that refuses is asked ever more seldom, not {asked} times"
        );
    }

    #[test]
    fn one_that_says_when_to_come_back_is_not_asked_before_and_the_others_are() {
        let waits = turns(&mut Servers::new(2), &[later(20), Disconnect::Ended], 6);
        let turns: Vec<_> = waits.iter().map(|(turn, _)| *turn).collect();
        assert_eq!(turns, [1, 1, 1, 1, 1, 0], "{waits:?}");
        let before: Duration = waits.iter().map(|(_, wait)| *wait).sum();
        assert!(before >= Duration::from_secs(20));
    }

    #[test]
    fn a_single_one_keeps_its_own_pace() {
        let waits = turns(&mut Servers::new(1), &[later(7)], 1);
        assert_eq!(waits, [(0, Duration::from_millis(7_500))]);
    }
}
