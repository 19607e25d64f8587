//! What the worker shows and the handles read.

use std::any::TypeId;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use datastream::key::ancestors;
use datastream::value::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cell::{AnyCell, Cell, OneKey, depth};
use crate::error::Disconnect;
use crate::session::{Changed, Link};
use crate::snapshot::Snapshot;
use crate::status::{Peer, State};
use crate::worker::Command;

/// The shared side of a client. Reads of it never wait for the worker.
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) link: ArcSwap<Shown>,
    /// The name of the server that is followed, or was asked last; empty if it has none.
    pub(crate) server: ArcSwap<String>,
    /// How often the state of the client was another one, or came to its end.
    pub(crate) states: watch::Sender<u64>,
    /// Why keys that are watched anew are not followed yet, although the others are.
    pub(crate) trouble: ArcSwapOption<Disconnect>,
    pub(crate) started: Instant,
    /// When a server confirmed what a file says, by the clock of the machine, while that is what is shown.
    pub(crate) kept: ArcSwapOption<SystemTime>,
    /// When the server last confirmed that there is nothing newer, in milliseconds, with `started` at [`BEGINNING`];
    /// 0: never.
    confirmed: AtomicU64,
    /// Until when what is followed passes for alive, in milliseconds after `started`.
    alive_until: AtomicU64,
    cells: Mutex<Cells>,
    unfollowed: Mutex<Vec<Weak<dyn AnyCell>>>,
}

/// What is shown of the link.
pub(crate) struct Shown {
    pub(crate) link: Link,
    /// What it makes of the client.
    state: State,
    since: Instant,
}

impl Shown {
    /// Why the server is not followed.
    fn lost(&self) -> Option<&Arc<Disconnect>> {
        match &self.link {
            Link::Lost(why) => Some(why),
            Link::Idle | Link::Connecting | Link::Live(_) => None,
        }
    }
}

/// What the start of the client counts as, so that what was before it has a time as well.
const BEGINNING: u64 = 1 << 62;

/// The cells of a client, by key or prefix; those of one key by the type that they decode to. A cell that is made of
/// others stands at the keys of all its parts.
type Cells = HashMap<Arc<str>, Vec<(TypeId, Weak<dyn AnyCell>)>>;

/// Stands for the type of a cell that is not looked up.
struct Unshared;

impl Shared {
    pub(crate) fn new() -> Self {
        let started = Instant::now();
        Self {
            snapshot: ArcSwap::default(),
            link: ArcSwap::from_pointee(Shown { link: Link::Idle, state: State::NotReady, since: started }),
            server: ArcSwap::default(),
            states: watch::Sender::default(),
            trouble: ArcSwapOption::empty(),
            started,
            kept: ArcSwapOption::empty(),
            confirmed: AtomicU64::new(0),
            alive_until: AtomicU64::new(u64::MAX),
            cells: Mutex::default(),
            unfollowed: Mutex::default(),
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
        let cell = Arc::new(Cell::<T>::new(Arc::from(key), OneKey, Some(commands.clone())));
        let any: Arc<dyn AnyCell> = cell.clone();
        slots.push((wanted, Arc::downgrade(&any)));
        // The farewell of a cell that this one replaces may come before or after: the worker counts who is left.
        // It lives as long as this sender.
        let _ = commands.send(Command::Watch(Arc::downgrade(&any)));
        cell
    }

    /// Follows what `cell` follows; the worker hears of it. It is not shared with others of its key and type.
    pub(crate) fn add<T>(&self, cell: &Arc<Cell<T>>, commands: &UnboundedSender<Command>)
    where
        T: Send + Sync + 'static,
    {
        let any: Arc<dyn AnyCell> = cell.clone();
        let mut cells = self.cells();
        for key in cell.followed() {
            cells.entry(key).or_default().push((TypeId::of::<Unshared>(), Arc::downgrade(&any)));
        }
        let _ = commands.send(Command::Watch(Arc::downgrade(&any)));
    }

    /// The cells that somebody holds and that `changed` concerns, parts before what is made of them.
    pub(crate) fn touched_by(&self, changed: &Changed) -> Vec<Arc<dyn AnyCell>> {
        let cells = self.cells();
        let held = |slots: &Vec<(TypeId, Weak<dyn AnyCell>)>| -> Vec<_> {
            slots.iter().filter_map(|(_, cell)| cell.upgrade()).collect()
        };
        let mut touched: Vec<_> = match changed {
            Changed::All => cells.values().flat_map(held).collect(),
            Changed::Keys(keys) => {
                let names: BTreeSet<&str> =
                    keys.iter().flat_map(|key| ancestors(key).chain([&**key])).collect();
                names.into_iter().filter_map(|name| cells.get(name)).flat_map(held).collect()
            }
        };
        drop(cells);
        touched.sort_by_cached_key(|cell| depth(cell.as_ref()));
        touched
    }

    /// Notes a cell that nobody will follow: of what is no key, or of keys of several clients.
    pub(crate) fn note_unfollowed<T: Send + Sync + 'static>(&self, cell: &Arc<Cell<T>>) {
        let any: Arc<dyn AnyCell> = cell.clone();
        let noted = Arc::downgrade(&any);
        let mut unfollowed = self.unfollowed.lock().unwrap_or_else(PoisonError::into_inner);
        unfollowed.retain(|cell| cell.strong_count() > 0 && !cell.ptr_eq(&noted));
        unfollowed.push(noted);
    }

    /// All cells that somebody holds, also those that nobody follows.
    pub(crate) fn every_cell(&self) -> Vec<Arc<dyn AnyCell>> {
        let unfollowed = self.unfollowed.lock().unwrap_or_else(PoisonError::into_inner);
        self.touched_by(&Changed::All)
            .into_iter()
            .chain(unfollowed.iter().filter_map(Weak::upgrade))
            .collect()
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
        let confirmed = confirmed
            .map_or(0, |(at, age)| BEGINNING.saturating_add(millis(at)).saturating_sub(millis(age)).max(1));
        self.confirmed.store(confirmed, Ordering::Release);
        self.alive_until.store(alive_until.map_or(u64::MAX, millis), Ordering::Release);
    }

    /// Shows the link. What it makes of the client is shown by [`settle`](Self::settle), after what came with it.
    pub(crate) fn show(&self, link: Link) {
        let before = self.link.load();
        self.link.store(Arc::new(Shown { link, state: before.state, since: before.since }));
    }

    /// Shows what the link and the snapshot make of the client. A state that goes on keeps its beginning. Returns the
    /// state before, if it was another one.
    pub(crate) fn settle(&self) -> Option<State> {
        let shown = self.link.load_full();
        let state = match &shown.link {
            Link::Live(_) => State::Ready,
            Link::Lost(why) if why.is_fatal() => State::Fatal,
            Link::Idle | Link::Connecting | Link::Lost(_) if self.snapshot.load().knows_anything() => {
                State::Stale
            }
            Link::Idle | Link::Connecting | Link::Lost(_) => State::NotReady,
        };
        let is_other = state != shown.state;
        if is_other {
            self.link.store(Arc::new(Shown { link: shown.link.clone(), state, since: Instant::now() }));
        }
        // Whoever waits for the next state of a client that was closed would wait for ever.
        if is_other || self.is_closed() {
            self.states.send_modify(|states| *states += 1);
        }
        is_other.then_some(shown.state)
    }

    /// How long ago the server last confirmed that there is nothing newer.
    pub(crate) fn age(&self) -> Option<Duration> {
        match self.confirmation() {
            0 => self.kept_for(),
            confirmed => {
                let now = Duration::from_millis(BEGINNING).saturating_add(self.started.elapsed());
                Some(now.saturating_sub(Duration::from_millis(confirmed)))
            }
        }
    }

    /// How long ago a server confirmed what a file says, while that is all that is known.
    fn kept_for(&self) -> Option<Duration> {
        let kept = self.kept.load().as_deref().copied()?;
        self.snapshot.load().knows_anything().then(|| kept.elapsed().unwrap_or_default())
    }

    /// When the server last confirmed that there is nothing newer, as time since the client began: zero, if that
    /// [was before](Self::confirmed_before).
    pub(crate) fn confirmed(&self) -> Option<Duration> {
        let confirmed = self.confirmation();
        (confirmed > 0).then(|| Duration::from_millis(confirmed.saturating_sub(BEGINNING)))
    }

    /// The same as a number that grows with the time, whenever that was; 0: never.
    pub(crate) fn confirmation(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// How long before the client began: a server may have lost its store long ago.
    fn confirmed_before(&self) -> Duration {
        let confirmed = self.confirmation();
        Duration::from_millis(if confirmed > 0 { BEGINNING.saturating_sub(confirmed) } else { 0 })
    }

    /// The state of the client, and since when.
    ///
    /// A worker whose runtime does not run cannot say that the server fell silent: the time does.
    pub(crate) fn state(&self) -> (State, Instant) {
        let shown = self.link.load();
        match self.silent_since() {
            Some(silent) if shown.state == State::Ready => (State::Stale, silent),
            _ => (shown.state, shown.since),
        }
    }

    /// As [`state`](Self::state), for some keys of which something is known: if one of them is not followed,
    /// or what follows the server now says nothing of it, they are stale.
    pub(crate) fn state_of(&self, keys: &[Arc<str>]) -> (State, Instant) {
        let (state, since) = self.state();
        let snapshot = self.snapshot.load();
        match keys.iter().filter_map(|key| snapshot.interrupted_at(key)).min() {
            Some(at) if state == State::Ready => (State::Stale, since.max(self.started + at)),
            None if state == State::Ready && !keys.iter().all(|key| snapshot.covers(key)) => {
                (State::Stale, since)
            }
            _ => (state, since),
        }
    }

    /// When what is read of `key` is older than `max_age`, as time since the client began. `None` if nothing is known.
    pub(crate) fn expires_at(&self, key: &str, max_age: Duration, now: Duration) -> Option<Duration> {
        let until = |right: Duration| right.saturating_add(max_age);
        match self.kept_for().filter(|_| self.confirmed().is_none()) {
            Some(kept) => Some(until(now).saturating_sub(kept)),
            None => Some(until(self.right_until(key, now)?).saturating_sub(self.confirmed_before())),
        }
    }

    /// Until when what is read of `key` is known to have been right, as time since the client began. With a server
    /// that confirms nothing it is right while it is followed. `None` if nothing is known.
    fn right_until(&self, key: &str, now: Duration) -> Option<Duration> {
        let interrupted = self.snapshot.load().interrupted_at(key);
        let unconfirmed = || {
            let shown = self.link.load();
            match shown.state {
                State::NotReady => None,
                State::Ready | State::Error => Some(now),
                State::Stale | State::Fatal => Some(shown.since.saturating_duration_since(self.started)),
            }
        };
        interrupted.or_else(|| self.confirmed()).or_else(unconfirmed)
    }

    /// What kind of server is followed.
    pub(crate) fn peer(&self) -> Option<Peer> {
        match self.link.load().link {
            Link::Live(peer) => Some(peer),
            Link::Idle | Link::Connecting | Link::Lost(_) => None,
        }
    }

    /// Whether the client was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.link.load().lost().is_some_and(|why| **why == Disconnect::Closed)
    }

    /// Whether nothing will ever be followed.
    pub(crate) fn is_final(&self) -> bool {
        self.link.load().lost().is_some_and(|why| why.is_final())
    }

    fn silent_since(&self) -> Option<Instant> {
        let until = Duration::from_millis(self.alive_until.load(Ordering::Acquire));
        self.started.checked_add(until).filter(|until| *until < Instant::now())
    }

    /// Why something that is watched is not followed; `None` if it all is.
    pub(crate) fn last_error(&self) -> Option<Arc<Disconnect>> {
        match &self.link.load().link {
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
