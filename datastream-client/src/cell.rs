//! What is shown, decoded: what the handles of one key and one type share.
//!
//! A cell of one key is the usual one. What is made of several keys, or of other cells, is a cell too: its [`Source`]
//! says what the value is made of, and everything that is read and waited for is the same.

mod mapped;
mod one_key;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use datastream::key::{Selector, shown};
use tokio::sync::{mpsc, watch};

use crate::error::Unavailable;
use crate::session::Changed;
use crate::snapshot::{Held, Snapshot};
use crate::status::{Origin, Refusal};
use crate::worker::Command;
pub(crate) use one_key::{OneKey, decode};

/// The latest good value of a key or a prefix as a `T`, and what is known beside it.
///
/// Readers take no lock. Only the worker writes.
pub(crate) struct Cell<T> {
    /// A key, or a prefix with its `/`; a mere name for people if the value is made of other cells.
    pub(crate) key: Arc<str>,
    pub(crate) value: ArcSwapOption<T>,
    pub(crate) report: ArcSwap<Report>,
    pub(crate) versions: watch::Sender<Versions>,
    /// How often what is read may have become another: all that a cached reader looks at. Shared with what else makes
    /// it another, and with the cells that are made of this one.
    pub(crate) turns: Arc<AtomicU64>,
    source: Box<dyn Source<T>>,
    /// To say that the last handle is gone; `None` for a fixed handle.
    commands: Option<mpsc::UnboundedSender<Command>>,
}

/// How often something was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// The value, or its absence. Whoever waits is woken for a report alone as well.
    pub(crate) value: u64,
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
    /// How many keys of a prefix were not read.
    pub(crate) unknown_keys: usize,
    /// What was decoded last, well or not, if that is one value.
    seen: Option<Arc<Held>>,
    /// What was decoded well last, but for overrides, if that is one value.
    good: Option<Arc<Held>>,
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

/// How a cell comes by its value. Only the worker calls it.
pub(crate) trait Source<T>: Send + Sync {
    /// Shows in `cell` what `snapshot` says, of which at most `changed` is different from what was shown before.
    fn offer(&self, cell: &Cell<T>, snapshot: &Snapshot, changed: &Changed);

    /// The cells that the value is made of, if it is made of others: they are offered a snapshot before it.
    fn parts(&self) -> &[Arc<dyn AnyCell>] {
        &[]
    }
}

/// A value that nobody replaces.
struct Fixed;

impl<T> Source<T> for Fixed {
    fn offer(&self, _: &Cell<T>, _: &Snapshot, _: &Changed) {}
}

/// A cell of whatever type, for the worker.
pub(crate) trait AnyCell: Send + Sync {
    /// Shows what `snapshot` says, of which at most `changed` is different from what was shown before.
    fn offer(&self, snapshot: &Snapshot, changed: &Changed);
    /// Shows that there will be no value.
    fn fail(&self, why: Unavailable);
    /// The key or prefix, or the name of a cell that is made of others.
    fn key(&self) -> &Arc<str>;
    fn versions(&self) -> watch::Receiver<Versions>;
    /// The last value of one key that could be used, to be kept in a file beside one that cannot.
    fn last_good(&self) -> Option<Arc<Held>>;
    /// The keys and prefixes that it follows: its own, or those of its parts.
    fn followed(&self) -> Vec<Arc<str>>;
    /// The cells that it is made of, if it is made of others.
    fn parts(&self) -> &[Arc<dyn AnyCell>];
    fn report(&self) -> Arc<Report>;
    /// How often the value was published.
    fn version(&self) -> u64;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// What asks a server for what a cell is named after.
pub(crate) fn selector(key: &Arc<str>) -> Selector {
    if key.ends_with('/') { Selector::Prefix(key.clone()) } else { Selector::Key(key.clone()) }
}

/// How many cells deep the parts of a cell lie: who is offered a snapshot in this order has up-to-date parts.
pub(crate) fn depth(cell: &dyn AnyCell) -> usize {
    cell.parts().iter().map(|part| 1 + depth(part.as_ref())).max().unwrap_or(0)
}

impl<T> Cell<T> {
    pub(crate) fn new(
        key: Arc<str>,
        source: impl Source<T> + 'static,
        commands: Option<mpsc::UnboundedSender<Command>>,
    ) -> Self {
        let report = Report {
            unavailable: Some(not_ready(&key)),
            is_known: false,
            since: now(),
            origin: Origin::None,
            revision: None,
            refusal: None,
            unknown_keys: 0,
            seen: None,
            good: None,
        };
        Self {
            key,
            value: ArcSwapOption::empty(),
            report: ArcSwap::from_pointee(report),
            versions: watch::Sender::default(),
            turns: Arc::default(),
            source: Box::new(source),
            commands,
        }
    }

    /// A cell that holds `value` for ever.
    pub(crate) fn fixed(value: T) -> Self {
        let cell = Self::new(Arc::from("(fixed)"), Fixed, None);
        cell.value.store(Some(Arc::new(value)));
        let report = cell.report.load();
        let fixed =
            Report { unavailable: None, is_known: true, origin: Origin::Fixed, ..Report::clone(&report) };
        cell.report.store(Arc::new(fixed));
        cell
    }

    /// Whether a worker shows it what comes.
    pub(crate) fn is_followed(&self) -> bool {
        self.commands.is_some()
    }

    /// The keys and prefixes that it follows: its own, or those of its parts. None if it was never to be asked for.
    pub(crate) fn followed(&self) -> Vec<Arc<str>> {
        match self.source.parts() {
            [] => self.commands.iter().map(|_| self.key.clone()).collect(),
            parts => parts.iter().flat_map(|part| part.followed()).collect(),
        }
    }

    /// Shows a new report, after the value that it speaks of.
    fn publish(&self, mut report: Report, value_changed: bool) {
        let before = self.report.load();
        let is_refused = |report: &Report| report.refusal.is_some();
        if report.unavailable != before.unavailable || is_refused(&report) != is_refused(&before) {
            report.since = now();
        }
        self.report.store(Arc::new(report));
        self.versions.send_modify(|versions| versions.value += u64::from(value_changed));
    }

    /// Shows another value. It is there before anybody is told.
    fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        let old = self.value.swap(value);
        self.turns.fetch_add(1, Ordering::Release);
        old
    }

    /// Shows a value, with what `note` has to say of it: at least its origin and revision.
    pub(crate) fn accept(&self, value: T, note: impl FnOnce(&mut Report)) {
        let mut good =
            Report { unavailable: None, is_known: true, refusal: None, ..Report::clone(&self.report.load()) };
        note(&mut good);
        let old = self.swap(Some(Arc::new(value)));
        self.publish(good, true);
        discard(old);
    }

    /// Refuses what came; the last good value stays.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let unusable = refusal.unusable();
        let kept = self.value.load().is_some();
        self.restamp(|report| {
            report.unavailable = (!kept).then_some(unusable);
            report.is_known = true;
            report.refusal = Some(refusal);
        });
    }

    /// Shows the same value, with what `note` has to say of it: another revision, after a reset or put again, or
    /// another origin.
    pub(crate) fn restamp(&self, note: impl FnOnce(&mut Report)) {
        let mut report = Report::clone(&self.report.load());
        note(&mut report);
        self.publish(report, false);
    }

    /// Shows that there is no value.
    pub(crate) fn absent(&self, why: Unavailable) {
        if self.report.load().unavailable.as_ref() != Some(&why) {
            self.empty(why, |_| {});
        }
    }

    /// Forgets what only a file or an override said, and waits for the server. Returns whether there was such.
    pub(crate) fn unknown(&self) -> bool {
        let origin = self.report.load().origin;
        let is_local = matches!(origin, Origin::Cache | Origin::Bootstrap | Origin::Override);
        if is_local {
            self.absent(not_ready(&self.key));
        }
        is_local
    }

    fn empty(&self, why: Unavailable, note: impl FnOnce(&mut Report)) {
        let old = self.swap(None);
        let mut empty = Report {
            is_known: !matches!(why, Unavailable::NotReady { .. }),
            unavailable: Some(why),
            since: self.report.load().since,
            origin: Origin::None,
            revision: None,
            refusal: None,
            unknown_keys: 0,
            seen: None,
            good: None,
        };
        note(&mut empty);
        self.publish(empty, old.is_some());
        discard(old);
    }
}

/// Drops a value that is no longer shown, if no reader holds it. How that goes is the application's affair.
pub(crate) fn discard<T>(old: Option<Arc<T>>) {
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

impl<T: Send + Sync + 'static> AnyCell for Cell<T> {
    fn offer(&self, snapshot: &Snapshot, changed: &Changed) {
        self.source.offer(self, snapshot, changed);
    }

    fn fail(&self, why: Unavailable) {
        self.absent(why);
    }

    fn key(&self) -> &Arc<str> {
        &self.key
    }

    fn followed(&self) -> Vec<Arc<str>> {
        Self::followed(self)
    }

    fn parts(&self) -> &[Arc<dyn AnyCell>] {
        self.source.parts()
    }

    fn report(&self) -> Arc<Report> {
        self.report.load_full()
    }

    fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    fn last_good(&self) -> Option<Arc<Held>> {
        self.report.load().good.clone()
    }

    fn version(&self) -> u64 {
        self.versions.borrow().value
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T> Drop for Cell<T> {
    fn drop(&mut self) {
        if let Some(commands) = &self.commands {
            // Without a worker there is nobody to tell.
            self.followed().into_iter().for_each(|key| _ = commands.send(Command::Unwatch(key)));
        }
    }
}
