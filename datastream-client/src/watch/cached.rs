//! The cheapest read there is, for loops that read at every turn.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Watch, WatchOr};

/// A reader that has its own copy of the value, and only looks whether it is still the one: made by
/// [`Watch::cached`] and, with a default, by [`WatchOr::cached`], for which `V` is the value, and otherwise an
/// `Option` of it.
///
/// For a hot loop, which owns it: reading takes `&mut self`. What it reads is as right now as what the handle reads, and
/// no older value comes after a newer one; it merely keeps a value that is no longer shown until it is read again.
pub struct Cached<V> {
    /// What changes when there is something else to read.
    turns: Arc<AtomicU64>,
    /// What it was before `value` was read.
    seen: u64,
    value: V,
    read: Box<dyn Fn() -> V + Send + Sync>,
}

impl<T: Clone + Send + Sync + 'static> Watch<T> {
    /// A reader for a hot loop.
    ///
    /// ```
    /// use datastream_client::Watch;
    ///
    /// let mut max = Watch::fixed(100_i64).cached();
    /// assert_eq!((0..3).filter_map(|_| *max.get()).sum::<i64>(), 300);
    /// ```
    #[must_use]
    pub fn cached(&self) -> Cached<Option<T>> {
        let watch = self.clone();
        Cached::new(self.cell.turns.clone(), move || watch.get())
    }
}

impl<T: Clone + Send + Sync + 'static> WatchOr<T> {
    /// As [`Watch::cached`]: it has the default while there is no value.
    #[must_use]
    pub fn cached(&self) -> Cached<T> {
        let watch = self.clone();
        Cached::new(self.watch.cell.turns.clone(), move || watch.get())
    }
}

impl<V> Cached<V> {
    fn new(turns: Arc<AtomicU64>, read: impl Fn() -> V + Send + Sync + 'static) -> Self {
        let seen = turns.load(Ordering::Acquire);
        Self { turns, seen, value: read(), read: Box::new(read) }
    }

    /// The value now.
    ///
    /// One atomic load and a comparison: less than a nanosecond. It takes no lock, makes no system call, and writes to
    /// nothing that is shared, so that threads with a reader each do not slow each other down. A value that is
    /// another costs what `get` of the handle does, once.
    #[inline]
    pub fn get(&mut self) -> &V {
        let turns = self.turns.load(Ordering::Acquire);
        if turns != self.seen {
            self.read_again(turns);
        }
        &self.value
    }

    /// What changes meanwhile is read the next time: the number was taken before the value.
    #[cold]
    fn read_again(&mut self, turns: u64) {
        (self.seen, self.value) = (turns, (self.read)());
    }
}

impl<V> fmt::Debug for Cached<V> {
    /// Shows that it is one, and no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").finish_non_exhaustive()
    }
}
