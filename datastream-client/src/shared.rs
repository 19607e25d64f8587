//! What the worker shows and the handles read.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use datastream::value::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::cell::{AnyCell, Cell};
use crate::error::Disconnect;
use crate::session::Link;
use crate::snapshot::Snapshot;
use crate::status::{Peer, State};
use crate::worker::Command;

/// The shared side of a client. Reads of it never wait for the worker.
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) link: ArcSwap<(Link, Instant)>,
    /// Why keys that are watched anew are not followed yet, although the others are.
    pub(crate) trouble: ArcSwapOption<Disconnect>,
    pub(crate) started: Instant,
    /// When a server confirmed what a file says, by the clock of the machine, while that is what is shown.
    pub(crate) kept: ArcSwapOption<SystemTime>,
    /// When the server last confirmed that there is nothing newer, in milliseconds after `started`, plus one;
    /// 0: never.
    confirmed: AtomicU64,
    /// Until when what is followed passes for alive, in milliseconds after `started`.
    alive_until: AtomicU64,
    cells: Mutex<Cells>,
}

/// The cells of a client, by key; those of one key by the type that they decode to.
type Cells = HashMap<Arc<str>, Vec<(TypeId, Weak<dyn AnyCell>)>>;

impl Shared {
    pub(crate) fn new() -> Self {
        let started = Instant::now();
        Self {
            snapshot: ArcSwap::default(),
            link: ArcSwap::from_pointee((Link::Idle, started)),
            trouble: ArcSwapOption::empty(),
            started,
            kept: ArcSwapOption::empty(),
            confirmed: AtomicU64::new(0),
            alive_until: AtomicU64::new(u64::MAX),
            cells: Mutex::default(),
        }
    }

    /// The cell of `key` and `T`, made if there is none; then the worker hears of it.
    pub(crate) fn cell<T: Value>(&self, key: &str, commands: &UnboundedSender<Command>) -> Arc<Cell<T>> {
        let mut cells = self.cells();
        let slots = cells.entry(Arc::from(key)).or_default();
        let wanted = TypeId::of::<Cell<T>>();
        let found =
            slots.iter().filter(|(type_id, _)| *type_id == wanted).find_map(|(_, cell)| cell.upgrade());
        if let Some(cell) = found.and_then(|cell| cell.as_any().downcast().ok()) {
            return cell;
        }
        let cell = Arc::new(Cell::<T>::new(Arc::from(key), Some(commands.clone())));
        let any: Arc<dyn AnyCell> = cell.clone();
        slots.push((wanted, Arc::downgrade(&any)));
        // The farewell of a cell that this one replaces may come before or after: the worker counts who is left.
        // It lives as long as this sender.
        let _ = commands.send(Command::Watch(Arc::downgrade(&any)));
        cell
    }

    /// The cells of `key` that somebody holds.
    pub(crate) fn cells_of(&self, key: &str) -> Vec<Arc<dyn AnyCell>> {
        let cells = self.cells();
        cells.get(key).into_iter().flatten().filter_map(|(_, cell)| cell.upgrade()).collect()
    }

    /// All cells that somebody holds.
    pub(crate) fn all_cells(&self) -> Vec<Arc<dyn AnyCell>> {
        self.cells().values().flatten().filter_map(|(_, cell)| cell.upgrade()).collect()
    }

    /// Takes out the cells of `key` that nobody holds. Returns whether none is left.
    pub(crate) fn sweep(&self, key: &str) -> bool {
        let mut cells = self.cells();
        let Some(slots) = cells.get_mut(key) else { return true };
        slots.retain(|(_, cell)| cell.strong_count() > 0);
        if !slots.is_empty() {
            return false;
        }
        cells.remove(key);
        true
    }

    /// Notes when the server confirmed what is shown, with the age of its source then, and until when it passes
    /// for alive.
    pub(crate) fn confirm(&self, confirmed: Option<(Duration, Duration)>, alive_until: Option<Duration>) {
        let confirmed = confirmed.map_or(0, |(at, source_age)| millis(at.saturating_sub(source_age)) + 1);
        self.confirmed.store(confirmed, Ordering::Release);
        self.alive_until.store(alive_until.map_or(u64::MAX, millis), Ordering::Release);
    }

    /// Shows the state of the link. A state that goes on keeps its beginning.
    pub(crate) fn show(&self, link: Link) {
        let before = self.link.load();
        let goes_on = std::mem::discriminant(&before.0) == std::mem::discriminant(&link);
        let since = if goes_on { before.1 } else { Instant::now() };
        self.link.store(Arc::new((link, since)));
    }

    /// How long ago the server last confirmed that there is nothing newer.
    pub(crate) fn age(&self) -> Option<Duration> {
        let Some(confirmed) = self.confirmed.load(Ordering::Acquire).checked_sub(1) else {
            let kept = self.kept.load().as_deref().copied()?;
            return self.snapshot.load().knows_anything().then(|| kept.elapsed().unwrap_or_default());
        };
        Some(self.started.elapsed().saturating_sub(Duration::from_millis(confirmed)))
    }

    /// What the link makes of values that are known.
    ///
    /// A worker whose runtime does not run cannot say that the server fell silent: the time does.
    pub(crate) fn link_state(&self) -> (State, Instant) {
        let link = self.link.load();
        match link.0 {
            Link::Live(_) => match self.silent_since() {
                Some(silent) => (State::Stale, silent),
                None => (State::Ready, link.1),
            },
            Link::Lost(_) => (State::Stale, link.1),
            // From a file, or an override.
            Link::Idle | Link::Connecting if self.snapshot.load().knows_anything() => (State::Stale, link.1),
            Link::Idle | Link::Connecting => (State::NotReady, link.1),
        }
    }

    /// As [`link_state`](Self::link_state), for one key.
    pub(crate) fn key_state(&self, key: &str) -> (State, Instant) {
        let (state, since) = self.link_state();
        match self.snapshot.load().interrupted_at(key) {
            Some(at) if state == State::Ready => (State::Stale, since.max(self.started + at)),
            _ => (state, since),
        }
    }

    /// What kind of server is followed.
    pub(crate) fn peer(&self) -> Option<Peer> {
        match self.link.load().0 {
            Link::Live(peer) => Some(peer),
            Link::Idle | Link::Connecting | Link::Lost(_) => None,
        }
    }

    fn silent_since(&self) -> Option<Instant> {
        let until = Duration::from_millis(self.alive_until.load(Ordering::Acquire));
        self.started.checked_add(until).filter(|until| *until < Instant::now())
    }

    /// Why something that is watched is not followed; `None` if it all is.
    pub(crate) fn last_error(&self) -> Option<Arc<Disconnect>> {
        match &self.link.load().0 {
            Link::Lost(why) => Some(why.clone()),
            Link::Live(_) if self.silent_since().is_some() => Some(Arc::new(Disconnect::Silent)),
            _ => self.trouble.load_full(),
        }
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        // Nothing under this lock runs code of the application, and nothing leaves the map half-changed.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> u64 {
    // One less than the highest, for the sake of those who add one.
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(u64::MAX - 1)
}
