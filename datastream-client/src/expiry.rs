//! Handles that would rather have no value than an old one.
//!
//! Reads know no clock: a bit says that a value is too old, and the worker turns it when the time has come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::cell::Cell;
use crate::shared::Shared;

/// How old what a handle reads may be, and whether it is older.
#[derive(Debug)]
pub(crate) struct Expiry {
    /// The name of what may not be older: of the handle, or of a part of it.
    pub(crate) name: Arc<str>,
    /// The keys and prefixes that it is read from.
    followed: Vec<Arc<str>>,
    pub(crate) max_age: Duration,
    /// Since when it is older, in milliseconds after the client began, plus one; 0: it is not.
    over: AtomicU64,
    /// To tell cached readers.
    turns: Arc<AtomicU64>,
}

impl Expiry {
    pub(crate) fn new<T>(cell: &Cell<T>, max_age: Duration) -> Self {
        let (name, followed, turns) = (cell.key.clone(), cell.followed(), cell.turns.clone());
        Self { name, followed, max_age, over: AtomicU64::new(0), turns }
    }

    /// The limit of a part, for `cell`, which is made of it.
    pub(crate) fn of_part<T>(&self, cell: &Cell<T>) -> Self {
        let (name, followed, turns) = (self.name.clone(), self.followed.clone(), cell.turns.clone());
        Self { name, followed, max_age: self.max_age, over: AtomicU64::new(0), turns }
    }

    /// Since when what is read is too old, as time since the client began.
    pub(crate) fn over(&self) -> Option<Duration> {
        self.over.load(Ordering::Acquire).checked_sub(1).map(Duration::from_millis)
    }

    /// What is read will not be confirmed any more.
    pub(crate) fn end(&self, now: Duration) {
        self.turn(Some(now));
    }

    fn turn(&self, over: Option<Duration>) {
        let millis = |over: Duration| u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        let over = over.map_or(0, |over| millis(over).saturating_add(1));
        if self.over.swap(over, Ordering::AcqRel) != over {
            self.turns.fetch_add(1, Ordering::Release);
        }
    }
}

/// The limits of all handles of a client: the worker's side.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    all: Vec<Weak<Expiry>>,
    /// When the next one may be over, at the earliest.
    due: Option<Duration>,
    /// How many are over.
    over: usize,
    /// When the server had confirmed what is shown, when this was looked at last.
    confirmed: u64,
}

impl Expiries {
    /// Adds one, to be looked at together with all others that are added now.
    pub(crate) fn add(&mut self, expiry: Weak<Expiry>, now: Duration) {
        self.all.push(expiry);
        self.due = Some(now);
    }

    /// When to look again, at the latest.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        self.due
    }

    /// Turns what has to be turned. While everything is confirmed in time, that is nothing, and costs no more than a
    /// comparison.
    pub(crate) fn look(&mut self, shared: &Shared, now: Duration) {
        let confirmed = shared.confirmation();
        let goes_on = self.confirmed > 0 && confirmed >= self.confirmed;
        self.confirmed = confirmed;
        if !goes_on || self.over > 0 || self.due.is_some_and(|due| due <= now) {
            self.turn_all(shared, now);
        }
    }

    /// Nothing will be confirmed any more.
    pub(crate) fn end(&self, now: Duration) {
        self.all.iter().filter_map(Weak::upgrade).for_each(|expiry| expiry.end(now));
    }

    fn turn_all(&mut self, shared: &Shared, now: Duration) {
        let (mut due, mut over) = (None, 0);
        self.all.retain(|expiry| {
            let Some(expiry) = expiry.upgrade() else { return false };
            let until =
                expiry.followed.iter().filter_map(|key| shared.expires_at(key, expiry.max_age, now)).min();
            expiry.turn(until.filter(|until| *until <= now));
            match until {
                Some(until) if until <= now => over += 1,
                Some(until) => due = Some(due.map_or(until, |due: Duration| due.min(until))),
                None => {}
            }
            true
        });
        match (self.over, over) {
            (0, 1..) => tracing::warn!(handles = over, "what these handles read is older than they allow"),
            (1.., 0) => tracing::info!("what all handles read is as young as they ask for"),
            _ => {}
        }
        (self.due, self.over) = (due, over);
    }
}
