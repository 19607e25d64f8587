//! What the worker shows and the handles read.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use datastream::value::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cell::{AnyCell, Cell};
use crate::session::Link;
use crate::snapshot::Snapshot;
use crate::status::State;
use crate::worker::Command;

/// The shared side of a client. Reads of it never wait for the worker.
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) link: ArcSwap<(Link, Instant)>,
    /// Rings when the link changes.
    pub(crate) link_changed: watch::Sender<()>,
    pub(crate) started: Instant,
    /// When the server last confirmed that there is nothing newer, in milliseconds after `started`, plus one;
    /// 0: never.
    confirmed: AtomicU64,
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
            link_changed: watch::Sender::default(),
            started,
            confirmed: AtomicU64::new(0),
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
        // Sent under the lock, so that it comes after the farewell of the cell that it replaces. The worker
        // lives as long as this sender.
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

    /// Notes that the server, when it was heard, could confirm what it had `source_age` before.
    pub(crate) fn confirm(&self, heard: Duration, source_age: Duration) {
        let millis = u64::try_from(heard.saturating_sub(source_age).as_millis()).unwrap_or(u64::MAX - 1);
        self.confirmed.store(millis + 1, Ordering::Release);
    }

    /// How long ago the server last confirmed that there is nothing newer.
    pub(crate) fn age(&self) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.started.elapsed().saturating_sub(Duration::from_millis(confirmed)))
    }

    /// What the link makes of values that are known.
    pub(crate) fn link_state(&self) -> (State, Instant) {
        let link = self.link.load();
        let state = match link.0 {
            Link::Live => State::Ready,
            Link::Lost(_) => State::Stale,
            Link::Idle | Link::Connecting => State::NotReady,
        };
        (state, link.1)
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        // Nothing under this lock runs code of the application, and nothing leaves the map half-changed.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
