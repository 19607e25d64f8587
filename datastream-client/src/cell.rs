//! One setting, decoded: what the handles of one key and one type share.

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
    /// What was decoded well last, but for overrides.
    good: Option<Arc<Held>>,
}

impl Report {
    /// Whether what is known of the key is the server's word, which the state of the link makes fresh or stale.
    pub(crate) fn is_followed(&self) -> bool {
        let is_asked_for =
            !matches!(self.unavailable, Some(Unavailable::NotAKey { .. } | Unavailable::TooMany { .. }));
        self.is_known && is_asked_for
    }
}

/// A cell of whatever type, for the worker.
pub(crate) trait AnyCell: Send + Sync {
    /// Shows what `snapshot` says of the key of this cell.
    fn offer(&self, snapshot: &Snapshot);
    /// Shows that there will be no value.
    fn fail(&self, why: Unavailable);
    fn key(&self) -> &Arc<str>;
    /// The last value that could be used, to be kept in a file beside one that cannot.
    fn last_good(&self) -> Option<Arc<Held>> {
        None
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T> Cell<T> {
    pub(crate) fn new(key: Arc<str>, commands: Option<mpsc::UnboundedSender<Command>>) -> Self {
        let report = Report {
            unavailable: Some(waiting(&key)),
            is_known: false,
            since: Instant::now(),
            origin: Origin::None,
            revision: None,
            refusal: None,
            seen: None,
            good: None,
        };
        Self {
            key,
            value: ArcSwapOption::empty(),
            report: ArcSwap::from_pointee(report),
            versions: watch::Sender::default(),
            commands,
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
        if report.unavailable != self.report.load().unavailable {
            report.since = Instant::now();
        }
        self.report.store(Arc::new(report));
        self.versions.send_modify(|versions| {
            versions.report += 1;
            versions.value += u64::from(value_changed);
        });
    }

    /// Shows that there is no value.
    fn absent(&self, why: Unavailable) {
        if self.report.load().unavailable.as_ref() != Some(&why) {
            self.empty(why, true);
        }
    }

    /// Forgets what only a file or an override said, and waits for the server.
    fn unknown(&self) {
        let report = self.report.load_full();
        if matches!(report.origin, Origin::Cache | Origin::Bootstrap | Origin::Override) {
            self.empty(waiting(&self.key), false);
        }
    }

    fn empty(&self, why: Unavailable, is_known: bool) {
        let old = self.value.swap(None);
        let absent = Report {
            unavailable: Some(why),
            is_known,
            since: self.report.load().since,
            origin: Origin::None,
            revision: None,
            refusal: None,
            seen: None,
            good: None,
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

/// What a handle waits for until the client says something better.
const WAITING: &str = "waiting for the first state";

fn waiting(key: &str) -> Unavailable {
    Unavailable::NotReady { key: shown(key).to_string(), waiting_for: WAITING.to_owned() }
}

impl<T: Value> Cell<T> {
    /// Shows a value. One that cannot be used is refused, and the last good one stays.
    fn present(&self, held: &Arc<Held>) {
        let report = self.report.load_full();
        if report.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, held) || seen == held) {
            return;
        }
        match report.seen.as_ref().filter(|seen| seen.has_text_of(held)) {
            // The same value at another revision, after a reset or put again; or of another origin.
            Some(_) if report.refusal.is_none() => return self.accept(held, held, None, None),
            Some(seen) if seen.revision == held.revision && seen.below == held.below => {
                let seen = Some(held.clone());
                return self.publish(Report { seen, ..Report::clone(&report) }, false);
            }
            _ => {}
        }
        match self.decode(held) {
            Ok(value) => self.accept(held, held, Some(value), None),
            Err(error) => self.refuse(held, error),
        }
    }

    /// Shows what `good` holds, because `seen` came. Without a value it is the one that is shown already.
    fn accept(&self, seen: &Arc<Held>, good: &Arc<Held>, value: Option<T>, refusal: Option<Refusal>) {
        let report = self.report.load_full();
        let is_override = good.origin == Origin::Override;
        let accepted = Report {
            unavailable: None,
            is_known: true,
            since: report.since,
            origin: good.origin,
            revision: good.known_revision(),
            refusal,
            seen: Some(seen.clone()),
            good: if is_override { report.good.clone() } else { Some(good.clone()) },
        };
        match value {
            None => self.publish(accepted, false),
            Some(value) => {
                let old = self.value.swap(Some(Arc::new(value)));
                self.publish(accepted, true);
                discard(old);
            }
        }
    }

    /// Refuses what came, and shows the last good value instead, if there is one.
    fn refuse(&self, held: &Arc<Held>, error: ValueError) {
        let key = shown(&self.key).to_string();
        let (revision, origin) = (held.revision, held.origin);
        tracing::warn!(key, revision, ?origin, %error, "a value is refused; the last good one stays");
        let refusal = Some(Refusal { revision, error: error.clone(), at: SystemTime::now() });
        let report = self.report.load_full();
        if let Some((good, value)) = self.instead_of(held, &report) {
            return self.accept(held, &good, value, refusal);
        }
        let bad = Report {
            unavailable: Some(Unavailable::Unusable { key, source: error }),
            is_known: true,
            since: report.since,
            origin: Origin::None,
            revision: None,
            refusal,
            seen: Some(held.clone()),
            good: None,
        };
        let old = self.value.swap(None);
        self.publish(bad, old.is_some());
        discard(old);
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
            let value = if is_shown { None } else { Some(self.decode(good).ok()?) };
            Some((good.clone(), value))
        })
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
            return self.unknown(); // The key is still to be joined.
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

    fn last_good(&self) -> Option<Arc<Held>> {
        self.report.load().good.clone()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T> Drop for Cell<T> {
    fn drop(&mut self) {
        if let Some(commands) = &self.commands {
            // Without a worker there is nobody to tell.
            let _ = commands.send(Command::Unwatch(self.key.clone()));
        }
    }
}
