//! How often what the histories are about came about.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// The client was told to forget what it held.
    Reset,
    /// A position was honoured.
    Resume,
    /// A delivery of several messages was applied.
    MultiPart,
    /// A key joined beside others that were followed already.
    LateWatch,
    /// Something that was known left the set that is watched.
    Narrowing,
    /// A deletion was forgotten.
    Compaction,
    /// A server did not have yet what the client had.
    Lag,
    /// The store went back to before what the client had.
    Restore,
    /// The client began anew, with what it had kept.
    Restart,
}

use Happening::{Compaction, Lag, LateWatch, MultiPart, Narrowing, Reset, Restart, Restore, Resume};

const ALL: [Happening; 9] =
    [Reset, Resume, MultiPart, LateWatch, Narrowing, Compaction, Lag, Restore, Restart];

/// Below this share of histories a happening proves nothing.
const LEAST_PERCENT: f64 = 2.0;

/// What happened in one history.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen([bool; ALL.len()]);

impl Seen {
    pub(super) fn note(&mut self, happening: Happening) {
        self.0[happening as usize] = true;
    }
}

/// In how many histories each happened.
#[derive(Default)]
pub(super) struct Counts {
    histories: u64,
    totals: [u64; ALL.len()],
}

impl Counts {
    pub(super) fn add(&mut self, seen: Seen) {
        self.histories += 1;
        self.totals.iter_mut().zip(seen.0).for_each(|(total, seen)| *total += u64::from(seen));
    }

    /// # Panics
    ///
    /// If something came about too seldom.
    pub(super) fn check(&self) {
        for happening in ALL {
            assert!(
                self.percent(happening) >= LEAST_PERCENT,
                "{happening:?} is too rare to be tested: {self}"
            );
        }
    }

    fn percent(&self, happening: Happening) -> f64 {
        100.0 * self.totals[happening as usize] as f64 / self.histories as f64
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} histories", self.histories)?;
        ALL.iter().try_for_each(|&happening| write!(f, ", {happening:?} {:.1} %", self.percent(happening)))
    }
}
