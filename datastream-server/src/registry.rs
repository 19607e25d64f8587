//! Who watches what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use datastream::key::{self, KeySet, Selector};
use futures_util::task::AtomicWaker;

/// What a subscriber shares with the feed: the mark that says it is owed something, and its doorbell.
///
/// One task at a time waits for the bell.
#[derive(Debug, Default)]
pub struct Touch {
    revision: AtomicU64,
    /// Whether it was rung and nobody has heard it yet.
    rung: AtomicBool,
    waiter: AtomicWaker,
}

impl Touch {
    /// The highest revision that touched the subscriber, as far as the feed has marked.
    ///
    /// Read the state first: every revision up to its head was marked before it was published.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Waits to be rung. Cancel safe: a ring that nobody waited for is kept.
    pub async fn rung(&self) {
        std::future::poll_fn(|context| self.poll_rung(context)).await;
    }

    /// Whether it was rung; if not, the task is woken when it is.
    pub(crate) fn poll_rung(&self, context: &mut Context<'_>) -> Poll<()> {
        // In this order: a ring between the two wakes the task once more, and is not lost.
        self.waiter.register(context.waker());
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waiter.wake();
    }
}

/// An index of subscribers by key, by prefix, and of those that watch everything: to touch those of one key
/// costs work in proportion to their number and to the depth of the key, however many others there are.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    next_id: u64,
    subscribers: usize,
    watchers: HashMap<Selector, Watchers>,
    everything: Watchers,
}

type Watchers = BTreeMap<u64, Arc<Touch>>;

impl Registry {
    /// Adds a subscriber. Returns its id, and what will be touched.
    pub(crate) fn insert(&mut self, keys: &KeySet) -> (u64, Arc<Touch>) {
        let touch = Arc::new(Touch::default());
        let id = self.next_id;
        self.next_id += 1;
        self.subscribers += 1;
        if keys.is_all() {
            self.everything.insert(id, touch.clone());
        }
        for selector in keys.iter() {
            self.watchers.entry(selector.clone()).or_default().insert(id, touch.clone());
        }
        (id, touch)
    }

    /// Takes a subscriber out.
    pub(crate) fn remove(&mut self, id: u64, keys: &KeySet) {
        self.subscribers -= 1;
        self.everything.remove(&id);
        for selector in keys.iter() {
            if let Some(watchers) = self.watchers.get_mut(selector) {
                watchers.remove(&id);
                if watchers.is_empty() {
                    self.watchers.remove(selector);
                }
            }
        }
    }

    /// How many subscribers there are.
    pub(crate) fn len(&self) -> usize {
        self.subscribers
    }

    /// Marks those who watch `key` with `revision`, and adds to `touched` those who were not yet marked by a
    /// revision of `since` or above.
    pub(crate) fn touch(&self, key: &Arc<str>, revision: u64, since: u64, touched: &mut Vec<Arc<Touch>>) {
        let exact = Selector::Key(key.clone());
        let prefixes = key::ancestors(key).map(|prefix| Selector::Prefix(prefix.into()));
        let indexed = prefixes.chain([exact]).filter_map(|selector| self.watchers.get(&selector));
        for touch in indexed.chain([&self.everything]).flat_map(BTreeMap::values) {
            if touch.revision.fetch_max(revision, Ordering::AcqRel) < since {
                touched.push(touch.clone());
            }
        }
    }

    /// Takes back all marks, for a history whose revisions start anew.
    pub(crate) fn clear_marks(&self) {
        self.all().for_each(|touch| touch.revision.store(0, Ordering::Release));
    }

    /// Everybody, once for each entry of what they watch.
    pub(crate) fn everybody(&self) -> Vec<Arc<Touch>> {
        self.all().cloned().collect()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Touch>> {
        self.watchers.values().chain([&self.everything]).flat_map(BTreeMap::values)
    }
}

/// Rings everybody in `touched`. Returns how many.
pub(crate) fn ring(touched: &[Arc<Touch>]) -> usize {
    touched.iter().for_each(|touch| touch.ring());
    touched.len()
}
