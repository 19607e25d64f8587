//! A cell whose value is that of one key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use datastream::key::shown;
use datastream::value::{self, Value, ValueError};

use super::{Cell, Report, Source};
use crate::error::Unavailable;
use crate::session::Changed;
use crate::snapshot::{Held, Snapshot};
use crate::status::{Origin, Refusal};
use crate::telemetry;

/// A value that is read from one key.
pub(crate) struct OneKey;

impl<T: Value> Source<T> for OneKey {
    fn offer(&self, cell: &Cell<T>, snapshot: &Snapshot, _: &Changed) {
        let key = || shown(&cell.key).to_string();
        if !snapshot.covers(&cell.key) {
            cell.unknown(); // The key is still to be joined.
            return;
        }
        match snapshot.held(&cell.key) {
            Some(held) => cell.present(held),
            None if snapshot.denies(&cell.key) => cell.absent(Unavailable::Denied { key: key() }),
            None => cell.absent(Unavailable::Missing { key: key() }),
        }
    }
}

impl<T: Value> Cell<T> {
    /// Shows a value. One that cannot be used is refused, and the last good one stays.
    fn present(&self, held: &Arc<Held>) {
        let report = self.report.load_full();
        if report.seen.as_ref() == Some(held) {
            return;
        }
        match report.seen.as_ref().filter(|seen| seen.has_text_of(held)) {
            // The same value at another revision, after a reset or put again; or of another origin.
            Some(_) if report.refusal.is_none() => return self.restamp(|report| report.note(held, held)),
            Some(seen) if seen.revision == held.revision && seen.below == held.below => {
                return self.restamp(|report| report.seen = Some(held.clone()));
            }
            _ => {}
        }
        match decode(held) {
            Ok(value) => self.accept(value, |report| report.note(held, held)),
            Err(error) => self.reject(held, &report, Refusal::log(&self.key, held.revision, error)),
        }
    }

    /// Refuses what came, and shows the best that is known instead, if there is anything.
    fn reject(&self, held: &Arc<Held>, report: &Report, refusal: Refusal) {
        let Some((good, value)) = self.instead_of(held, report) else {
            return self.empty(refusal.unusable(), |report| {
                (report.refusal, report.seen) = (Some(refusal), Some(held.clone()));
            });
        };
        let note = |report: &mut Report| {
            report.note(held, &good);
            report.refusal = Some(refusal);
        };
        match value {
            Some(value) => self.accept(value, note),
            None => self.restamp(note),
        }
    }

    /// The best that is known instead of a value that is refused: what lies below it, or what was good before. Without
    /// a value it is what is shown already, which is not decoded again.
    fn instead_of(&self, held: &Held, report: &Report) -> Option<(Arc<Held>, Option<T>)> {
        if held.origin == Origin::Override && held.below.is_none() {
            return None; // What it hides is that there is no value: no older one comes back.
        }
        let shows_good = report.unavailable.is_none() && report.origin != Origin::Override;
        let below = std::iter::successors(held.below.as_ref(), |held| held.below.as_ref());
        below.chain(&report.good).find_map(|good| {
            let is_shown = shows_good && report.good.as_ref() == Some(good);
            let value = if is_shown { None } else { Some(decode(good).ok()?) };
            Some((good.clone(), value))
        })
    }
}

impl Report {
    /// Says that `good` is shown, because `seen` came.
    fn note(&mut self, seen: &Arc<Held>, good: &Arc<Held>) {
        (self.origin, self.revision) = (good.origin, good.known_revision());
        self.seen = Some(seen.clone());
        if good.origin != Origin::Override {
            self.good = Some(good.clone());
        }
    }
}

/// Decoding is the application's code where `T` is: a panic in it refuses the value, and that is all.
pub(crate) fn decode<T: Value>(held: &Held) -> Result<T, ValueError> {
    catch_unwind(AssertUnwindSafe(|| value::decode(&held.value_type, &held.value)))
        .unwrap_or_else(|_| Err(ValueError::refused::<T>("its decoding panicked")))
}

impl Refusal {
    /// A refusal of what `key` came with, which a line of the log tells as well.
    pub(crate) fn log(key: &str, revision: u64, error: ValueError) -> Self {
        let key = shown(key).to_string();
        tracing::warn!(key, revision, %error, "a value is refused; the last good one stays");
        telemetry::refused();
        Self { key, revision, error, at: SystemTime::now() }
    }

    /// Why there is no value, if no other is known.
    pub(super) fn unusable(&self) -> Unavailable {
        Unavailable::Unusable { key: self.key.clone(), source: self.error.clone() }
    }
}
