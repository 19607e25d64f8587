//! A cell whose value is computed from that of another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use datastream::value::ValueError;

use super::{AnyCell, Cell, Report, Source, discard};
use crate::error::Unavailable;
use crate::session::Changed;
use crate::snapshot::Snapshot;
use crate::status::Refusal;

/// How the value of a cell is made of that of another, through a function of the application.
struct Map<T, F> {
    from: Arc<Cell<T>>,
    parts: [Arc<dyn AnyCell>; 1],
    map: F,
    /// What was computed last. Only the worker computes, once the cell is known to it.
    last: Mutex<Last>,
}

/// From what it was computed last.
#[derive(Default)]
struct Last {
    /// The version of the value, and the report; `None` before the first.
    seen: Option<(u64, Arc<Report>)>,
    /// Why it could not be.
    refusal: Option<Refusal>,
}

impl<T: Send + Sync + 'static> Cell<T> {
    /// A cell that holds what `map` makes of the value of this one; the worker still has to hear of it.
    pub(crate) fn map<U: Send + Sync + 'static>(
        self: &Arc<Self>,
        map: impl Fn(&T) -> U + Send + Sync + 'static,
    ) -> Arc<Cell<U>> {
        let source = Map { from: self.clone(), parts: [self.clone()], map, last: Mutex::default() };
        let mut cell = Cell::new(self.key.clone(), source, self.commands.clone());
        cell.turns = self.turns.clone(); // A limit of age goes on to what is made of the value.
        let cell = Arc::new(cell);
        cell.offer(&Snapshot::default(), &Changed::All);
        cell
    }
}

impl<T, F> Map<T, F> {
    /// The function is the application's code: a panic in it refuses the value, and that is all.
    fn compute<U>(&self, value: &T) -> Result<U, ValueError>
    where
        F: Fn(&T) -> U,
    {
        catch_unwind(AssertUnwindSafe(|| (self.map)(value)))
            .map_err(|_| ValueError::refused::<U>("the function that maps it panicked"))
    }
}

impl<T, U, F> Source<U> for Map<T, F>
where
    T: Send + Sync,
    F: Fn(&T) -> U + Send + Sync,
{
    /// Shows what the other cell shows, which was offered the snapshot before. A value that was seen already is not
    /// computed again.
    fn offer(&self, cell: &Cell<U>, _: &Snapshot, _: &Changed) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The version before the value: one that comes between the two is computed once more, not missed.
        let version = self.from.versions.borrow().value;
        let report = self.from.report.load_full();
        let seen = last.seen.replace((version, report.clone()));
        // A value that is another one has another report.
        if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(&seen.1, &report)) {
            return;
        }
        let mut old = None;
        let is_new = seen.is_none_or(|seen| seen.0 != version);
        if is_new {
            match self.from.value.load_full().map(|value| self.compute(&value)) {
                Some(Err(error)) => {
                    let revision = report.revision.unwrap_or_default();
                    last.refusal = Some(Refusal::log(&self.from.key, revision, error));
                }
                computed => {
                    last.refusal = None;
                    old = cell.swap(computed.and_then(Result::ok).map(Arc::new));
                }
            }
        }
        let value_changed = is_new && last.refusal.is_none();
        cell.publish(reported(&report, last.refusal.clone(), cell), value_changed);
        discard(old);
    }

    fn parts(&self) -> &[Arc<dyn AnyCell>] {
        &self.parts
    }
}

/// The report of the other cell, but for a refusal of the function: then the last good value stays.
fn reported<U>(report: &Report, refusal: Option<Refusal>, cell: &Cell<U>) -> Report {
    let Some(refusal) = refusal else { return report.clone() };
    let shown_now = cell.report.load();
    let unusable = || Unavailable::Unusable { key: refusal.key.clone(), source: refusal.error.clone() };
    Report {
        unavailable: cell.value.load().is_none().then(unusable),
        origin: shown_now.origin,
        revision: shown_now.revision,
        refusal: Some(report.refusal.clone().unwrap_or_else(|| refusal.clone())),
        ..report.clone()
    }
}
