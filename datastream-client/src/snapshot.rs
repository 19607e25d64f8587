//! What the client holds to be true, all of it at one position.

mod held;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream::key::{KeySet, Selector};
use datastream::position::Position;
use datastream::proto;
use datastream::value::{self, Value, ValueError};
use immutable_chunkmap::map::Map;

pub use held::Held;
pub(crate) use held::{size, type_name};

use crate::status::Origin;

/// All settings that a client watches, as of one position: reads of several keys never straddle a commit.
///
/// It is immutable and shares its memory with its predecessors. Taking one costs a reference count, a read the
/// logarithm of the number of keys and the decoding of the value; for a single key a
/// [`Watch`](crate::Watch) is much cheaper.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    values: OrderedMap<Arc<Held>>,
    /// What the values take, as [`size`] counts it.
    bytes: usize,
    position: Option<Position>,
    /// The keys and prefixes that the position speaks of; nothing is known of any other.
    covered: Arc<KeySet>,
    /// Those of them that may not be read.
    denied: Arc<KeySet>,
    /// Those that are not followed while others are, and since when, as time since the client began. Only with a
    /// server of the original, where each has a stream.
    interrupted: Arc<BTreeMap<Selector, Duration>>,
    /// What kind of file it is from; `None` if a server said it.
    file: Option<Origin>,
    /// The keys whose value is an override.
    overridden: Arc<BTreeSet<Arc<str>>>,
}

/// A persistent map, with as many keys in a node as make it light: a change copies one node, and the path to it.
pub(crate) type OrderedMap<V> = Map<Arc<str>, V, 16>;

impl Snapshot {
    /// The value of `key`; `None` if it does not exist, or is not watched by this client.
    ///
    /// # Errors
    ///
    /// [`ValueError`] if `T` does not read the value.
    pub fn get<T: Value>(&self, key: &str) -> Result<Option<T>, ValueError> {
        self.held(key).map(|held| value::decode(&held.value_type, &held.value)).transpose()
    }

    /// The text of `key` and the name of its type.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<(&Bytes, &str)> {
        self.held(key).map(|held| (&held.value, &*held.value_type))
    }

    /// What is held of `key`: the text, its type, and the revision that a [commit](crate::Client::commit) may expect.
    #[must_use]
    pub fn held(&self, key: &str) -> Option<&Arc<Held>> {
        self.values.get(key)
    }

    /// The keys that exist, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.into_iter().map(|(key, _)| &**key)
    }

    /// Where in the history of the store this is; `None` before the first state arrived, and with a server of the
    /// original, which has no history: then each value is as it arrived, by itself.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Whether this says anything of `key`: then a key that it does not hold does not exist, or is denied.
    #[must_use]
    pub fn covers(&self, key: &str) -> bool {
        self.covered.matches(key)
    }

    /// Whether `key` may not be read.
    #[must_use]
    pub fn denies(&self, key: &str) -> bool {
        self.denied.matches(key)
    }

    pub(crate) fn covered(&self) -> &KeySet {
        &self.covered
    }

    /// The revision of the position, if the server has such.
    pub(crate) fn known_revision(&self) -> Option<u64> {
        self.position.as_ref().map(|position| position.revision)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.position.as_ref().map_or(0, |position| position.revision)
    }

    pub(crate) fn set_covered(&mut self, covered: KeySet) {
        self.covered = Arc::new(covered);
    }

    pub(crate) fn set_position(&mut self, position: Position) {
        self.position = Some(position);
    }

    pub(crate) fn set_denied(&mut self, denied: Vec<String>) {
        let parsed: KeySet = denied.iter().filter_map(|entry| Selector::parse(entry).ok()).collect();
        self.denied = Arc::new(parsed);
    }

    /// Forgets all values, before a whole state.
    pub(crate) fn clear(&mut self) {
        self.values = OrderedMap::new();
        self.bytes = 0;
        self.interrupted = Arc::default();
    }

    /// How many bytes of memory the values take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn insert(&mut self, key: Arc<str>, held: Arc<Held>) {
        let added = size(&key, &held);
        let replaced = self.values.insert_cow(key.clone(), held).map_or(0, |held| size(&key, &held));
        self.bytes = self.bytes + added - replaced;
    }

    fn remove(&mut self, key: &Arc<str>) {
        self.bytes -= self.values.remove_cow(key).map_or(0, |held| size(key, &held));
    }

    /// Whether something is known: that a key has a value, or has none.
    pub(crate) fn knows_anything(&self) -> bool {
        self.position.is_some() || !self.covered.is_empty()
    }

    /// The values by their keys, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Held>)> {
        self.values.into_iter()
    }

    /// A state that is put together from a file.
    pub(crate) fn assembled(
        file: Origin,
        position: Option<Position>,
        covered: KeySet,
        values: impl IntoIterator<Item = (Arc<str>, Arc<Held>)>,
    ) -> Self {
        let mut assembled = Self { position, file: Some(file), ..Self::default() };
        assembled.set_covered(covered);
        values.into_iter().for_each(|(key, held)| assembled.insert(key, held));
        assembled
    }

    /// Takes over what `file` knows of what `entry` asks for, and its position.
    ///
    /// A key is known if it has a value there: that one is missing is for a server to say.
    pub(crate) fn take_from_file(&mut self, file: &Self, entry: &Selector) {
        let is_known = match entry {
            Selector::Key(key) => file.held(key).is_some(),
            Selector::Prefix(_) => file.covered.includes(entry),
        };
        if !is_known {
            return;
        }
        for (key, held) in file.held_by(entry) {
            self.insert(key.clone(), held.clone());
        }
        self.file = file.file;
        Arc::make_mut(&mut self.covered).insert(entry.clone());
        self.position.clone_from(&file.position);
    }

    /// What is held passes for live from now on, whatever it was read from: without what a file has below it, which
    /// handles have taken over by now.
    pub(crate) fn count_as_live(&mut self) {
        self.file = None;
        let from_file: Vec<_> =
            self.values.into_iter().filter(|(_, held)| held.origin != Origin::Live).collect();
        let live = |held: &Held| Arc::new(Held { origin: Origin::Live, below: None, ..held.clone() });
        let live: Vec<_> = from_file.into_iter().map(|(key, held)| (key.clone(), live(held))).collect();
        for (key, held) in live {
            self.insert(key, held);
        }
    }

    /// Shows an override, above what there is.
    pub(crate) fn lay_over(&mut self, key: &Arc<str>, held: &Held) {
        let below = self.values.get(key).cloned();
        if !self.covered.matches(key) {
            Arc::make_mut(&mut self.covered).insert(Selector::Key(key.clone()));
        }
        self.insert(key.clone(), Arc::new(Held { below, ..held.clone() }));
        Arc::make_mut(&mut self.overridden).insert(key.clone());
    }

    /// Where what is read from all keys below `prefix` comes from: from an override, if there is any among them.
    pub(crate) fn origin_below(&self, prefix: &str) -> Origin {
        let mut from = self.overridden.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let is_overridden = from.next().is_some_and(|key| key.starts_with(prefix));
        if is_overridden { Origin::Override } else { self.file.unwrap_or(Origin::Live) }
    }

    /// Whether it speaks of the same keys as `other`.
    pub(crate) fn covers_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.covered, &other.covered) || self.covered == other.covered
    }

    /// Covers an entry by itself that others include already.
    pub(crate) fn cover_included(&mut self, entry: &Selector) {
        if self.covered.includes(entry) && !self.covered.contains_selector(entry) {
            Arc::make_mut(&mut self.covered).insert(entry.clone());
        }
    }

    /// Forgets the values of those keys that `entry` asks for, unless what is covered includes them otherwise.
    pub(crate) fn uncover(&mut self, entry: &Selector) {
        Arc::make_mut(&mut self.covered).remove(entry);
        self.forget(entry);
    }

    /// Forgets the values of what `entries` ask for, because the whole of them is on its way.
    pub(crate) fn forget_all(&mut self, entries: &KeySet) {
        let covered = std::mem::take(&mut self.covered);
        entries.iter().for_each(|entry| self.forget(entry));
        self.covered = covered;
    }

    fn forget(&mut self, entry: &Selector) {
        let held = self.held_by(entry).map(|(key, _)| key);
        let gone: Vec<_> = held.filter(|key| !self.covered.matches(key)).cloned().collect();
        for key in &gone {
            self.remove(key);
        }
    }

    /// The values that `entry` asks for, in the order of their keys.
    pub(crate) fn held_by<'a>(
        &'a self,
        entry: &'a Selector,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Held>)> {
        let from = self.values.range::<str, _>((Bound::Included(entry.as_str()), Bound::Unbounded));
        from.take_while(|(key, _)| entry.matches(key))
    }

    /// Keeps the values for a server that knows nothing of where they come from: what is held is covered by itself,
    /// and none of it is followed before the server has said something of it.
    pub(crate) fn leave_history(&mut self, now: Duration, wanted: &KeySet) {
        let covered = self.values.into_iter().map(|(key, _)| key.clone()).map(Selector::Key).collect();
        let held = wanted.iter().filter(|entry| self.held_by(entry).next().is_some());
        self.interrupted = Arc::new(held.map(|entry| (entry.clone(), now)).collect());
        self.covered = Arc::new(covered);
        self.denied = Arc::default();
        self.position = None;
        self.file = None;
    }

    /// Shows the value of a key, which covers it.
    pub(crate) fn take_in(&mut self, key: &Arc<str>, held: &Arc<Held>) {
        let selector = Selector::Key(key.clone());
        if !self.covered.contains_selector(&selector) {
            Arc::make_mut(&mut self.covered).insert(selector);
        }
        self.insert(key.clone(), held.clone());
    }

    /// Notes that an entry is not followed.
    pub(crate) fn interrupt(&mut self, now: Duration, entry: &Selector) {
        Arc::make_mut(&mut self.interrupted).entry(entry.clone()).or_insert(now);
    }

    /// Notes that an entry is followed, and says whether it was not.
    pub(crate) fn continue_with(&mut self, entry: &Selector) -> bool {
        self.interrupted.contains_key(entry) && Arc::make_mut(&mut self.interrupted).remove(entry).is_some()
    }

    /// Whether any entry is not followed.
    pub(crate) fn is_interrupted(&self) -> bool {
        !self.interrupted.is_empty()
    }

    /// Since when `key` is not followed, although others are.
    pub(crate) fn interrupted_at(&self, key: &str) -> Option<Duration> {
        self.interrupted.iter().filter(|(entry, _)| entry.matches(key)).map(|(_, at)| *at).min()
    }

    /// Takes over what a part of a delivery says of covered keys, where it is not older than what is held,
    /// and newer than `after`. The key is the one that the map names. Adds the keys that it changed, and returns the
    /// highest revision that it took over.
    pub(crate) fn merge(
        &mut self,
        data: HashMap<String, proto::Data>,
        after: Option<u64>,
        changed: &mut BTreeSet<Arc<str>>,
    ) -> u64 {
        let mut newest = 0;
        // In their order they fill the nodes of the map.
        for (key, data) in BTreeMap::from_iter(data) {
            let held = self.values.get(key.as_str()).map_or(0, |held| held.revision);
            if !self.covered.matches(&key)
                || data.revision < held
                || after.is_some_and(|after| data.revision <= after)
            {
                continue; // Not ours, or older than what we hold.
            }
            newest = newest.max(data.revision);
            let key: Arc<str> = key.into();
            if data.deleted {
                self.remove(&key);
            } else {
                self.insert(key.clone(), Arc::new(Held::new(&data)));
            }
            changed.insert(key);
        }
        newest
    }
}
