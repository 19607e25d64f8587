//! A cell whose value is computed from that of another.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use datastream::key::shown;
use datastream::value::ValueError;
use tokio::sync::{mpsc, watch};

use super::{AnyCell, Cell, Report, Versions, discard};
use crate::error::Unavailable;
use crate::snapshot::Snapshot;
use crate::status::Refusal;
use crate::telemetry;
use crate::worker::Command;

/// What brings the value of one cell, through a function of the application, into another.
///
/// The target owns it, and it owns the source: they last as long as a handle of the target does.
struct Mapped<T, U> {
    source: Arc<Cell<T>>,
    target: Weak<Cell<U>>,
    map: Box<dyn Fn(&T) -> U + Send + Sync>,
    /// What was computed last. Only the worker computes, once the cell is known to it.
    last: Mutex<Last>,
    commands: Option<mpsc::UnboundedSender<Command>>,
}

/// From what of the source the target was computed last.
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
        let commands = self.commands.clone();
        let target = Arc::new_cyclic(|target| {
            let mapped = Mapped {
                source: self.clone(),
                target: target.clone(),
                map: Box::new(map),
                last: Mutex::default(),
                commands: commands.clone(),
            };
            Cell::with_source(self.key.clone(), commands, Some(Arc::new(mapped)))
        });
        if let Some(mapped) = &target.source {
            mapped.offer(&Snapshot::default());
        }
        target
    }

    /// What computes the value of this cell from that of another, if the worker has to hear of it.
    pub(crate) fn source(&self) -> Option<&Arc<dyn AnyCell>> {
        self.source.as_ref().filter(|_| self.commands.is_some())
    }
}

impl<T: Send + Sync + 'static, U: Send + Sync + 'static> Mapped<T, U> {
    /// Shows what the source shows. A value that was seen already is not computed again.
    fn refresh(&self, target: &Cell<U>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The version before the value: one that comes between the two is computed once more, not missed.
        let version = self.source.versions.borrow().value;
        let report = self.source.report.load_full();
        let seen = last.seen.replace((version, report.clone()));
        if seen.as_ref().is_some_and(|seen| seen.0 == version && Arc::ptr_eq(&seen.1, &report)) {
            return;
        }
        let mut old = None;
        let is_new = seen.is_none_or(|seen| seen.0 != version);
        if is_new {
            match self.source.value.load_full().map(|value| self.compute(&value)) {
                Some(Err(error)) => last.refusal = Some(self.refusal(&report, error)),
                computed => {
                    last.refusal = None;
                    old = target.value.swap(computed.and_then(Result::ok).map(Arc::new));
                }
            }
        }
        let value_changed = is_new && last.refusal.is_none();
        target.publish(self.report(&report, last.refusal.clone(), target), value_changed);
        discard(old);
    }

    /// The function is the application's code: a panic in it refuses the value, and that is all.
    fn compute(&self, value: &T) -> Result<U, ValueError> {
        catch_unwind(AssertUnwindSafe(|| (self.map)(value)))
            .map_err(|_| ValueError::refused::<U>("the function that maps it panicked"))
    }

    fn refusal(&self, report: &Report, error: ValueError) -> Refusal {
        let key = shown(&self.source.key).to_string();
        tracing::warn!(key, %error, "a value is refused; the last good one stays");
        telemetry::refused();
        Refusal { revision: report.revision.unwrap_or_default(), error, at: SystemTime::now() }
    }

    /// The report of the source, but for a refusal of the function: then the last good value stays.
    fn report(&self, source: &Report, refusal: Option<Refusal>, target: &Cell<U>) -> Report {
        let Some(refusal) = refusal else { return source.clone() };
        let shown_now = target.report.load();
        let unusable = || Unavailable::Unusable {
            key: shown(&self.source.key).to_string(),
            source: refusal.error.clone(),
        };
        Report {
            unavailable: target.value.load().is_none().then(unusable),
            origin: shown_now.origin,
            revision: shown_now.revision,
            refusal: Some(source.refusal.clone().unwrap_or_else(|| refusal.clone())),
            ..source.clone()
        }
    }
}

impl<T: Send + Sync + 'static, U: Send + Sync + 'static> AnyCell for Mapped<T, U> {
    /// The source was offered the snapshot before: it was there before.
    fn offer(&self, _: &Snapshot) {
        if let Some(target) = self.target.upgrade() {
            self.refresh(&target);
        }
    }

    fn fail(&self, _: Unavailable) {
        self.offer(&Snapshot::default());
    }

    fn key(&self) -> &Arc<str> {
        &self.source.key
    }

    fn report(&self) -> Arc<Report> {
        let target = self.target.upgrade();
        target.map_or_else(|| self.source.report.load_full(), |target| target.report.load_full())
    }

    fn versions(&self) -> watch::Receiver<Versions> {
        let target = self.target.upgrade();
        target.map_or_else(|| self.source.versions.subscribe(), |target| target.versions.subscribe())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T, U> Drop for Mapped<T, U> {
    fn drop(&mut self) {
        if let Some(commands) = &self.commands {
            // Without a worker there is nobody to tell.
            let _ = commands.send(Command::Unwatch(self.source.key.clone()));
        }
    }
}
