//! The one task that advances the state.
//!
//! It waits for the store's doorbell, asks what changed unless the store told, marks the subscribers whom that touches,
//! publishes the next version of the state, and rings those whom it marked. It never waits for a subscriber.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use datastream::key::KeySet;
use datastream::position::Position;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::registry::{self, Registry, Touch};
use crate::retry::Pauses;
use crate::state::{Standing, State};
use crate::store::{Batch, News, Retention, Since, Snapshot, Store, StoreError};
use crate::unserved::Unserved;

/// How often the store is asked even though its doorbell did not ring.
const SAFETY_POLL: Duration = Duration::from_secs(5);
/// After how long without an answer a store counts as one that cannot be asked, although no call has failed: more
/// than the time between two looks.
const UNCONFIRMED: Duration = Duration::from_secs(6);
/// How long a push waits for the doorbell of its own commit before the feed is told to look.
const DOORBELL: Duration = Duration::from_millis(50);
/// How often the store is asked to forget what its retention lets go.
const COMPACTION: Duration = Duration::from_secs(60);
/// How long to wait after a failure of the store.
const RETRY: Pauses = Pauses::between(Duration::from_millis(50), Duration::from_secs(5));

/// The current state, and the way to hear of the next.
pub struct Feed {
    store: Arc<dyn Store>,
    retention: Retention,
    state: ArcSwap<State>,
    registry: Mutex<Registry>,
    unserved: Mutex<Unserved>,
    /// Asks the task to look at the store now.
    look: Notify,
    looks_begun: AtomicU64,
    /// The number of the last look that ended well. Whoever waits is also woken when the store told something.
    looked: watch::Sender<u64>,
    confirmed: Mutex<Confirmed>,
    woken: AtomicU64,
}

impl Feed {
    /// Loads the state from the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    pub async fn start(store: Arc<dyn Store>, retention: Retention) -> Result<Arc<Self>, StoreError> {
        let (snapshot, unserved) = served(store.load().await?);
        let state = State::new(snapshot, 0);
        Ok(Arc::new(Self {
            unserved: Mutex::new(unserved),
            store,
            retention,
            state: ArcSwap::from_pointee(state),
            registry: Mutex::default(),
            look: Notify::new(),
            looks_begun: AtomicU64::new(0),
            looked: watch::Sender::new(0),
            confirmed: Mutex::new(Confirmed { at: Instant::now(), is_failing: false }),
            woken: AtomicU64::new(0),
        }))
    }

    /// The newest state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// The store behind the state.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How long the store could not be asked whether it has something newer; `None` if it can be.
    #[must_use]
    pub fn source_age(&self) -> Option<Duration> {
        // Of a clock that was set back since, it is not known how long.
        let unheard = self.store.unheard_since().map(|since| since.elapsed().unwrap_or_default());
        let confirmed = lock(&self.confirmed);
        let age = confirmed.at.elapsed();
        let age = (confirmed.is_failing || age > UNCONFIRMED).then_some(age);
        age.max(unheard)
    }

    /// How many times a subscriber was woken.
    #[must_use]
    pub fn woken(&self) -> u64 {
        self.woken.load(Ordering::Relaxed)
    }

    /// How many keys of the store are not served, because they are outside the grammar or too large. Each was named
    /// in the log, up to a hundred.
    #[must_use]
    pub fn unserved(&self) -> usize {
        lock(&self.unserved).count()
    }

    /// How many subscribers are registered.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        lock(&self.registry).len()
    }

    /// Registers a subscriber. Read the state after this: then nothing is missed.
    #[must_use]
    pub fn register(self: &Arc<Self>, keys: Arc<KeySet>) -> Registration {
        let (id, touch) = lock(&self.registry).insert(&keys);
        Registration { feed: self.clone(), id, keys, touch }
    }

    /// Rings everybody, whatever they are owed.
    pub(crate) fn ring_everybody(&self) {
        let everybody = lock(&self.registry).everybody();
        registry::ring(&everybody);
    }

    /// Waits until the state holds everything that the store held when this was called. Returns false if the
    /// store does not answer within `patience`.
    pub async fn catch_up(&self, patience: Duration) -> bool {
        let mut looked = self.looked.subscribe();
        let wanted = self.looks_begun.load(Ordering::Acquire) + 1;
        self.look.notify_one();
        tokio::time::timeout(patience, looked.wait_for(|look| *look >= wanted)).await.is_ok()
    }

    /// Waits until the state holds `position`, which the store has. Returns false if that takes longer than
    /// `patience`.
    pub async fn reach(&self, position: &Position, patience: Duration) -> bool {
        if !self.reach_revision(position.revision, patience).await {
            return false;
        }
        // In the state of another history, which the store has left, the revision says nothing.
        let is_held = position.token.is_empty() || self.state.load().judge(position) == Standing::Kept;
        is_held || self.catch_up(patience).await
    }

    /// Waits until the state is at `revision` or above it. Returns false if that takes longer than `patience`.
    pub async fn reach_revision(&self, revision: u64, patience: Duration) -> bool {
        let mut looked = self.looked.subscribe();
        let mut reached = pin!(looked.wait_for(|_| self.state.load().position().revision >= revision));
        if tokio::time::timeout(DOORBELL, &mut reached).await.is_ok() {
            return true;
        }
        self.look.notify_one(); // A doorbell may be missed.
        tokio::time::timeout(patience, reached).await.is_ok()
    }

    /// Asks the store, now and then, to forget what its retention lets go; until dropped. Apart from
    /// [`run`](Self::run), so that a long compaction holds up no change.
    pub async fn compact(self: Arc<Self>) {
        loop {
            sleep(COMPACTION).await;
            if let Err(error) = outlive(self.store.compact(self.retention)).await {
                tracing::warn!(error = %crate::error_chain(&error), "the store cannot be compacted now");
            }
        }
    }

    /// Follows the store until dropped.
    pub async fn run(self: Arc<Self>) {
        let mut retry = RETRY;
        loop {
            let number = self.looks_begun.fetch_add(1, Ordering::AcqRel) + 1;
            let began = Instant::now();
            match outlive(self.look_now()).await {
                Ok(()) => {
                    self.confirm(number, began);
                    retry.reset();
                    self.rest().await;
                }
                Err(error) => {
                    self.suspect(&error);
                    // A doorbell would cut the pause short, again and again.
                    sleep(retry.next()).await;
                }
            }
        }
    }

    /// Waits until the store is to be asked, and publishes meanwhile what it tells by itself.
    async fn rest(&self) {
        let mut poll = pin!(sleep(SAFETY_POLL));
        loop {
            tokio::select! {
                () = self.store.rung() => {
                    // After a panic the look that follows says whether the store works.
                    if !outlive(async { Ok(self.take_news()) }).await.unwrap_or(false) {
                        return;
                    }
                }
                () = self.look.notified() => return,
                () = &mut poll => return,
            }
        }
    }

    /// Publishes what the store told, if that is what comes next. It is no look: what others wrote since is not in it.
    fn take_news(&self) -> bool {
        let state = self.state.load_full();
        let news = self.store.news().filter(|news| news.after == *state.position());
        let Some(News { batch, .. }) = news else { return false };
        self.advance(&state, batch);
        // For those who wait until the state holds what they wrote.
        self.looked.send_modify(|_| {});
        true
    }

    /// Looks at the store once, and publishes what is new there; [`run`](Self::run) does so again and again. Not
    /// to be called by two tasks at a time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read now; the state stays as it is.
    pub async fn look_now(&self) -> Result<(), StoreError> {
        let state = self.state.load_full();
        match self.store.changes(state.position()).await? {
            Since::Changes(batch) => self.advance(&state, batch),
            Since::Replaced => self.replace(state.lineage() + 1).await?,
        }
        Ok(())
    }

    /// Publishes the next version. The mark comes first: whoever sees the version also sees whom it touches.
    fn advance(&self, state: &State, mut batch: Batch) {
        let mut unserved = lock(&self.unserved);
        batch.changes = batch.changes.into_iter().filter_map(|change| unserved.sift(change)).collect();
        drop(unserved);
        let before = state.position().revision;
        if batch.position.revision == before && batch.compacted_to <= state.compacted_to() {
            return;
        }
        let keys: Vec<_> = batch.changes.iter().map(|change| (change.key.clone(), change.revision)).collect();
        let next = Arc::new(state.advance(batch));
        let mut touched = Vec::new();
        {
            let registry = lock(&self.registry);
            for (key, revision) in &keys {
                registry.touch(key, *revision, before + 1, &mut touched);
            }
            self.state.store(next);
        }
        self.woken.fetch_add(registry::ring(&touched) as u64, Ordering::Relaxed);
    }

    /// Publishes a state of another history: each subscriber's cursor is judged anew.
    async fn replace(&self, lineage: u64) -> Result<(), StoreError> {
        tracing::warn!("the store no longer knows where this server stands in its history: loading it anew");
        let began = Instant::now();
        let (snapshot, unserved) = served(self.store.load().await?);
        *lock(&self.unserved) = unserved;
        // Before it is published: who is told to begin anew must not hear that the store cannot be asked.
        self.answered(began);
        let next = Arc::new(State::new(snapshot, lineage));
        {
            let registry = lock(&self.registry);
            self.state.store(next);
            registry.clear_marks();
        }
        self.ring_everybody();
        Ok(())
    }

    fn confirm(&self, look: u64, began: Instant) {
        self.answered(began);
        self.looked.send_replace(look);
    }

    fn answered(&self, began: Instant) {
        let confirmed = Confirmed { at: began, is_failing: false };
        if std::mem::replace(&mut *lock(&self.confirmed), confirmed).is_failing {
            tracing::info!("the store answers again");
        }
    }

    fn suspect(&self, error: &StoreError) {
        if !std::mem::replace(&mut lock(&self.confirmed).is_failing, true) {
            tracing::warn!(error = %crate::error_chain(error), "the store cannot be read; the last state stays");
        }
    }
}

/// A registered subscriber; dropping it takes it out.
pub struct Registration {
    feed: Arc<Feed>,
    id: u64,
    keys: Arc<KeySet>,
    touch: Arc<Touch>,
}

impl Registration {
    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The newest state, and the highest revision that touched the subscriber: every one up to the head of the
    /// state is accounted for.
    #[must_use]
    pub fn read(&self) -> (Arc<State>, u64) {
        loop {
            // In this order: what is published was marked before.
            let state = self.feed.state();
            let touched = self.touch.revision();
            // Marks are taken back after another history was published: then this one says nothing of `state`.
            if self.feed.state.load().lineage() == state.lineage() {
                return (state, touched);
            }
        }
    }

    /// What the feed touches.
    #[must_use]
    pub fn touch(&self) -> &Touch {
        &self.touch
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.feed.registry).remove(self.id, &self.keys);
    }
}

/// When a look at the store began that was answered, and whether one has failed since.
struct Confirmed {
    at: Instant,
    is_failing: bool,
}

/// What of a snapshot can be served.
fn served(snapshot: Snapshot) -> (Snapshot, Unserved) {
    let mut unserved = Unserved::default();
    let changes = snapshot.changes.into_iter().filter_map(|change| unserved.sift(change)).collect();
    unserved.summarize();
    (Snapshot { changes, ..snapshot }, unserved)
}

/// The feed outlives a panic of the store, which then is a failure like others.
async fn outlive<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let result = AssertUnwindSafe(call).catch_unwind().await;
    result.unwrap_or_else(|_| Err(StoreError::Unavailable("it panicked".into())))
}

/// Nothing that runs under these locks can leave the data half-changed, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
