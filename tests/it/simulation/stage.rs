//! What all parts of a run have in common: the truth, what is noted, and what comes about.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::counts::Happening;
use crate::model::store::{World, lock};

pub(super) struct Stage {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) has_replica: bool,
    notes: Mutex<Notes>,
    bells: Mutex<Vec<Weak<Notify>>>,
    /// How often they were rung.
    pub(super) rings: AtomicU64,
    /// For how many milliseconds the store takes to answer, at most.
    pub(super) slowness: AtomicU64,
    /// Of how many commits one is made and its answer lost; 0: of none.
    pub(super) forgetfulness: AtomicU64,
    /// Whether its doorbell rings at all.
    pub(super) is_deaf: std::sync::atomic::AtomicBool,
}

struct Notes {
    now: Duration,
    /// When each state was committed.
    committed: Vec<Duration>,
    hash: DefaultHasher,
    counts: BTreeMap<String, u64>,
    is_shown: bool,
}

impl Stage {
    pub(super) fn new(world: World, has_replica: bool, is_shown: bool) -> Arc<Self> {
        let committed = vec![Duration::ZERO; world.oracle.len()];
        let notes = Notes {
            now: Duration::ZERO,
            committed,
            hash: DefaultHasher::new(),
            counts: BTreeMap::new(),
            is_shown,
        };
        Arc::new(Self {
            world: Arc::new(Mutex::new(world)),
            has_replica,
            notes: Mutex::new(notes),
            bells: Mutex::default(),
            rings: AtomicU64::new(0),
            slowness: AtomicU64::new(1),
            forgetfulness: AtomicU64::new(0),
            is_deaf: false.into(),
        })
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// The virtual time; inside of a host that of the host.
    pub(super) fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.notes().now)
    }

    pub(super) fn set_now(&self, now: Duration) {
        let states = self.world().oracle.len();
        let mut notes = self.notes();
        notes.now = now;
        notes.committed.resize(states, now);
    }

    /// When this state was committed.
    pub(super) fn committed(&self, id: usize) -> Duration {
        self.notes().committed[id]
    }

    /// Notes an event: in two runs of a seed all of them are the same.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        let (now, text) = (self.now(), text());
        let mut notes = self.notes();
        (now, &text).hash(&mut notes.hash);
        if notes.is_shown {
            println!("{:>9.3} {text}", now.as_secs_f64());
        }
    }

    pub(super) fn count(&self, happening: Happening) {
        *self.notes().counts.entry(happening.to_string()).or_default() += 1;
    }

    /// What everything that was noted comes to, and how often what came about.
    pub(super) fn result(&self) -> (u64, BTreeMap<String, u64>) {
        let notes = self.notes();
        (notes.hash.finish(), notes.counts.clone())
    }

    /// A doorbell of the store.
    pub(super) fn bell(&self) -> Arc<Notify> {
        let bell = Arc::new(Notify::new());
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&bell));
        bell
    }

    /// Rings all doorbells, if they can be heard.
    pub(super) fn ring(&self) {
        if self.is_deaf.load(Ordering::Relaxed) {
            return self.count(Happening::BellLost);
        }
        self.rings.fetch_add(1, Ordering::Relaxed);
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| bell.upgrade().is_some());
        bells.iter().filter_map(Weak::upgrade).for_each(|bell| bell.notify_one());
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
