//! When superseded values are looked for, for which the whole log is walked.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Retention;

/// How long it may take until they are looked for again.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// When it was last done.
#[derive(Debug, Default)]
pub(super) struct Sweep(Mutex<Option<Instant>>);

impl Sweep {
    /// Whether it is time: a hundred times in the time for which values are kept, and once an hour. It then counts as
    /// done.
    pub(super) fn is_due(&self, retention: Retention) -> bool {
        let interval = (retention.history / 100).min(LONGEST);
        let mut swept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = swept.is_none_or(|swept| swept.elapsed() >= interval);
        if is_due {
            *swept = Some(Instant::now());
        }
        is_due
    }
}
