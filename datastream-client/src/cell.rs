//! One setting, decoded: what the handles of one key and one type share.

mod mapped;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use datastream::key::shown;
use datastream::value::{self, Value, ValueError};
use tokio::sync::{mpsc, watch};

use crate::error::Unavailable;
use crate::snapshot::{Held, Snapshot};
use crate::status::{Origin, Refusal};
use crate::telemetry;
use crate::worker::Command;

/// The latest good value of a key as a `T`, and what is known beside it.
///
/// Readers take no lock. Only the worker writes.
pub(crate) struct Cell<T> {
    pub(crate) key: Arc<str>,
    pub(crate) value: ArcSwapOption<T>,
    pub(crate) report: ArcSwap<Report>,
    pub(crate) versions: watch::Sender<Versions>,
    /// To say that the last handle is gone; `None` for a fixed handle.
    commands: Option<mpsc::UnboundedSender<Command>>,
    /// What computes the value of this cell, where that is another cell.
    source: Option<Arc<dyn AnyCell>>,
}

/// How often something was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// The value, or its absence.
    pub(crate) value: u64,
    /// Anything.
    pub(crate) report: u64,
}

/// What is known of a key, beside its value.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Why there is no value; `None` if there is one.
    pub(crate) unavailable: Option<Unavailable>,
    /// Whether anything is known: a value, or that there is none.
    pub(crate) is_known: bool,
    pub(crate) since: Instant,
    pub(crate) origin: Origin,
    /// The revision of the value that is shown.
    pub(crate) revision: Option<u64>,
    pub(crate) refusal: Option<Refusal>,
    /// What was decoded last, well or not.
    seen: Option<Arc<Held>>,
}

impl Report {
    /// Whether what is known of the key is the server's word, which the state of the link makes fresh or stale.
    pub(crate) fn is_followed(&self) -> bool {
        self.is_known && self.is_asked_for()
    }

    /// Whether the key is one that the server is asked for.
    pub(crate) fn is_asked_for(&self) -> bool {
        !matches!(self.unavailable, Some(Unavailable::NotAKey { .. } | Unavailable::TooMany { .. }))
    }
}

/// A cell of whatever type, for the worker.
pub(crate) trait AnyCell: Send + Sync {
    /// Shows what `snapshot` says of the key of this cell.
    fn offer(&self, snapshot: &Snapshot);
    /// Shows that there will be no value.
    fn fail(&self, why: Unavailable);
    fn key(&self) -> &Arc<str>;
    fn report(&self) -> Arc<Report>;
    fn versions(&self) -> watch::Receiver<Versions>;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T> Cell<T> {
    pub(crate) fn new(key: Arc<str>, commands: Option<mpsc::UnboundedSender<Command>>) -> Self {
        Self::with_source(key, commands, None)
    }

    fn with_source(
        key: Arc<str>,
        commands: Option<mpsc::UnboundedSender<Command>>,
        source: Option<Arc<dyn AnyCell>>,
    ) -> Self {
        let report = Report {
            unavailable: Some(not_ready(&key)),
            is_known: false,
            since: now(),
            origin: Origin::None,
            revision: None,
            refusal: None,
            seen: None,
        };
        Self {
            key,
            value: ArcSwapOption::empty(),
            report: ArcSwap::from_pointee(report),
            versions: watch::Sender::default(),
            commands,
            source,
        }
    }

    /// A cell that holds `value` for ever.
    pub(crate) fn fixed(value: T) -> Self {
        let cell = Self::new(Arc::from("(fixed)"), None);
        cell.value.store(Some(Arc::new(value)));
        let report = cell.report.load();
        let fixed =
            Report { unavailable: None, is_known: true, origin: Origin::Fixed, ..Report::clone(&report) };
        cell.report.store(Arc::new(fixed));
        cell
    }

    /// Shows a new report, after the value that it speaks of.
    fn publish(&self, mut report: Report, value_changed: bool) {
        let before = self.report.load();
        let is_refused = |report: &Report| report.refusal.is_some();
        if report.unavailable != before.unavailable || is_refused(&report) != is_refused(&before) {
            report.since = now();
        }
        self.report.store(Arc::new(report));
        self.versions.send_modify(|versions| {
            versions.report += 1;
            versions.value += u64::from(value_changed);
        });
    }

    /// Shows that there is no value.
    fn absent(&self, why: Unavailable) {
        let report = self.report.load_full();
        if report.unavailable.as_ref() == Some(&why) {
            return;
        }
        let old = self.value.swap(None);
        let absent = Report {
            is_known: !matches!(why, Unavailable::NotReady { .. }),
            unavailable: Some(why),
            origin: Origin::None,
            revision: None,
            refusal: None,
            seen: None,
            ..Report::clone(&report)
        };
        self.publish(absent, old.is_some());
        discard(old);
    }
}

/// Drops a value that is no longer shown, if no reader holds it. How that goes is the application's affair.
fn discard<T>(old: Option<Arc<T>>) {
    if catch_unwind(AssertUnwindSafe(|| drop(old))).is_err() {
        tracing::error!("a value panicked when it was dropped");
    }
}

/// The time, by the clock of the worker.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Why there is no value until the client says something better.
pub(crate) fn not_ready(key: &str) -> Unavailable {
    let waiting_for = "waiting for the first state".to_owned();
    Unavailable::NotReady { key: shown(key).to_string(), waiting_for }
}

impl<T: Value> Cell<T> {
    /// Shows a value. One that cannot be used is refused, and the last good one stays.
    fn present(&self, held: &Arc<Held>) {
        let report = self.report.load_full();
        if report.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, held) || seen == held) {
            return;
        }
        let seen = Some(held.clone());
        if report.seen.as_ref().is_some_and(|seen| seen.has_text_of(held)) && report.refusal.is_none() {
            // The same value at another revision: after a reset, or put again.
            let revision = held.known_revision();
            return self.publish(Report { revision, seen, ..Report::clone(&report) }, false);
        }
        match self.decode(held) {
            Ok(value) => {
                let old = self.value.swap(Some(Arc::new(value)));
                let good = Report {
                    unavailable: None,
                    is_known: true,
                    origin: Origin::Live,
                    revision: held.known_revision(),
                    refusal: None,
                    seen,
                    ..Report::clone(&report)
                };
                self.publish(good, true);
                discard(old);
            }
            Err(error) => {
                let key = shown(&self.key).to_string();
                tracing::warn!(key, revision = held.revision, %error, "a value is refused; the last good one stays");
                telemetry::refused();
                let refusal =
                    Refusal { revision: held.revision, error: error.clone(), at: SystemTime::now() };
                let unusable = Unavailable::Unusable { key, source: error };
                let kept = self.value.load().is_some();
                let bad = Report {
                    unavailable: (!kept).then_some(unusable),
                    is_known: true,
                    refusal: Some(refusal),
                    seen,
                    ..Report::clone(&report)
                };
                self.publish(bad, false);
            }
        }
    }

    /// Decoding is the application's code where `T` is: a panic in it refuses the value, and that is all.
    fn decode(&self, held: &Held) -> Result<T, ValueError> {
        catch_unwind(AssertUnwindSafe(|| value::decode(&held.value_type, &held.value)))
            .unwrap_or_else(|_| Err(ValueError::refused::<T>("its decoding panicked")))
    }
}

impl<T: Value> AnyCell for Cell<T> {
    fn offer(&self, snapshot: &Snapshot) {
        let key = || shown(&self.key).to_string();
        if !snapshot.covers(&self.key) {
            return; // Nothing is known yet: the key is still to be joined.
        }
        match snapshot.held(&self.key) {
            Some(held) => self.present(held),
            None if snapshot.denies(&self.key) => self.absent(Unavailable::Denied { key: key() }),
            None => self.absent(Unavailable::Missing { key: key() }),
        }
    }

    fn fail(&self, why: Unavailable) {
        self.absent(why);
    }

    fn key(&self) -> &Arc<str> {
        &self.key
    }

    fn report(&self) -> Arc<Report> {
        self.report.load_full()
    }

    fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T> Drop for Cell<T> {
    fn drop(&mut self) {
        // A source says its own farewell.
        if let (Some(commands), None) = (&self.commands, &self.source) {
            // Without a worker there is nobody to tell.
            let _ = commands.send(Command::Unwatch(self.key.clone()));
        }
    }
}
