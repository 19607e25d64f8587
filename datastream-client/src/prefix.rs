//! The keys below a prefix as a live map.

use std::collections::VecDeque;
use std::sync::Arc;

use datastream::key::shown;
use datastream::value::Value;
use futures_util::{Stream, StreamExt as _};

use crate::cell::{Cell, Source, decode, discard, selector};
use crate::client::Client;
use crate::error::Unavailable;
use crate::session::Changed;
use crate::snapshot::{Held, OrderedMap, Snapshot};
use crate::status::{Origin, Refusal};
use crate::watch::Watch;

impl Client {
    /// Follows all keys below `prefix`, those that are yet to be born as well, as a map from the key to a `T`.
    ///
    /// ```
    /// use datastream_client::Client;
    ///
    /// let limits = Client::connect("http://127.0.0.1:8080").watch_prefix::<i64>("limits/");
    /// if let Some(limits) = limits.load().as_ref() {
    ///     for (key, limit) in limits.iter() {
    ///         println!("{key}: {limit}");
    ///     }
    /// }
    /// ```
    ///
    /// The whole map is of one position. A value that `T` cannot hold harms no other: its key keeps the last good one, if
    /// it had any, and is among the [refusals](Entries::refusals). What changed, key by key, is told by
    /// [`changes`](Watch::changes). If there is no such key, the map is there and empty.
    ///
    /// The handle is read and waited for as that of one key; each call makes one that decodes for itself, and its
    /// clones share what is decoded. The `/` at the end of the prefix may be left out. A change costs the decoding of the
    /// keys that it changes, and the logarithm of the number of the others. A server of the
    /// [original](crate::Peer::Original) cannot say that a prefix is whole: with one, the handle never becomes ready.
    #[must_use]
    pub fn watch_prefix<T: Value>(&self, prefix: impl AsRef<str>) -> Watch<Entries<T>> {
        self.watch_below(prefix.as_ref(), Below)
    }
}

/// The values of all keys below a prefix, at one position: what [`Client::watch_prefix`] shows.
///
/// It is immutable and shares its memory with its predecessors: a clone costs a reference count, a read the logarithm of
/// the number of keys. Keys are whole, with their prefix.
pub struct Entries<T> {
    slots: OrderedMap<Slot<T>>,
    /// Of those keys, the ones of which the newest value could not be used.
    refusals: OrderedMap<Arc<Refusal>>,
}

/// What is known of one key that exists.
struct Slot<T> {
    /// What is shown: the last good value.
    value: Option<Arc<T>>,
    /// The last good value that was no override, which outlasts each of them.
    lasting: Option<Arc<T>>,
    /// What was decoded last, well or not.
    held: Arc<Held>,
}

/// What happened to one key.
#[non_exhaustive]
pub enum Change<T> {
    /// It has a value, and had none.
    Added(Arc<T>),
    /// It has another value.
    Changed(Arc<T>),
    /// It is gone, and its value with it, if it had any.
    Removed,
    /// Its value could not be used; the last good one stays, if there was any.
    Refused(Refusal),
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), lasting: self.lasting.clone(), held: self.held.clone() }
    }
}

impl<T> Clone for Entries<T> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), refusals: self.refusals.clone() }
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { slots: OrderedMap::new(), refusals: OrderedMap::new() }
    }
}

impl<T> Entries<T> {
    /// The value of `key`, which is named with its prefix. Allocates nothing.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&T> {
        self.slots.get(key)?.value.as_deref()
    }

    /// The keys that have a value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.slots.into_iter().filter_map(|(key, slot)| Some((&**key, slot.value.as_deref()?)))
    }

    /// The keys whose newest value could not be used, in order.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.into_iter().map(|(_, refusal)| &**refusal)
    }

    /// What is different from `before`, in the order of the keys: what came between the two counts once. Takes a step for
    /// each key.
    pub fn changes_since(&self, before: &Self) -> Vec<(Arc<str>, Change<T>)> {
        let gone = before.slots.into_iter().filter(|(key, _)| self.slots.get(*key).is_none());
        let mut changes: Vec<_> = gone.map(|(key, _)| (key.clone(), Change::Removed)).collect();
        for (key, slot) in &self.slots {
            let old = before.slots.get(key);
            if old.is_some_and(|old| Arc::ptr_eq(&old.held, &slot.held)) {
                continue;
            }
            let value = Slot::change(old.and_then(|old| old.value.as_ref()), slot.value.as_ref());
            let refusal = self.refusals.get(key).filter(|refusal| before.refusals.get(key) != Some(refusal));
            let both =
                value.into_iter().chain(refusal.map(|refusal| Change::Refused(Refusal::clone(refusal))));
            changes.extend(both.map(|change| (key.clone(), change)));
        }
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        changes
    }
}

impl<T> Slot<T> {
    fn change(old: Option<&Arc<T>>, new: Option<&Arc<T>>) -> Option<Change<T>> {
        match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => None,
            (Some(_), Some(new)) => Some(Change::Changed(new.clone())),
            (None, Some(new)) => Some(Change::Added(new.clone())),
            (Some(_), None) => Some(Change::Removed),
            (None, None) => None,
        }
    }
}

impl<T: Send + Sync + 'static> Watch<Entries<T>> {
    /// What happens to the keys of the prefix, one after the other, beginning with all that have a value. Never ends.
    ///
    /// A slow reader sees what is different since it looked last, not each change between. Each round takes a step for
    /// each key of the map.
    ///
    /// ```no_run
    /// use datastream_client::{Change, Client};
    /// use futures_util::StreamExt as _;
    ///
    /// # async fn follow() {
    /// let limits = Client::connect("http://127.0.0.1:8080").watch_prefix::<i64>("limits/");
    /// let mut changes = limits.changes();
    /// while let Some((key, change)) = changes.next().await {
    ///     match change {
    ///         Change::Added(limit) | Change::Changed(limit) => println!("{key} is {limit}"),
    ///         Change::Removed => println!("{key} is gone"),
    ///         Change::Refused(why) => println!("{key} stays: {}", why.error),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn changes(&self) -> impl Stream<Item = (Arc<str>, Change<T>)> + Send + Unpin + use<T> {
        let maps = self.stream().map(|map| map.map_or_else(Entries::default, |map| Entries::clone(&map)));
        let rounds = maps.scan(Entries::default(), |before, now| {
            let changes: VecDeque<_> = now.changes_since(before).into();
            *before = now;
            std::future::ready(Some(futures_util::stream::iter(changes)))
        });
        rounds.flatten().boxed()
    }
}

/// How a map is made of the keys below a prefix.
struct Below;

impl<T: Value> Source<Entries<T>> for Below {
    fn offer(&self, cell: &Cell<Entries<T>>, snapshot: &Snapshot, changed: &Changed) {
        if !snapshot.covers(&cell.key) {
            cell.unknown();
            return; // The prefix is still to be joined.
        }
        if snapshot.denies(&cell.key) {
            return cell.absent(Unavailable::Denied { key: shown(&cell.key).to_string() });
        }
        let is_first = cell.value.load().is_none();
        let before = cell.value.load_full().unwrap_or_default();
        let mut after = Entries::clone(&before);
        let is_new = match changed {
            Changed::Keys(keys) if !is_first => after.take_in(snapshot, &cell.key, keys),
            _ => after.take_in_all(snapshot, &cell.key),
        };
        let (revision, origin) = (snapshot.known_revision(), snapshot.origin_below(&cell.key));
        if is_new || is_first {
            let refusal = after.refusals().next().cloned();
            cell.accept(after, |report| {
                (report.revision, report.origin) = (revision, origin);
                report.refusal = refusal;
            });
        } else {
            // The same values, some of which may have been overrides until now.
            cell.value.store(Some(Arc::new(after)));
            if *changed == Changed::All || cell.report.load().origin != origin {
                cell.restamp(|report| (report.revision, report.origin) = (revision, origin));
            }
        }
        discard(Some(before));
    }
}

impl<T: Value> Entries<T> {
    /// Takes in what `snapshot` says of `keys`, and says whether any of it is new.
    fn take_in(&mut self, snapshot: &Snapshot, prefix: &str, keys: &[Arc<str>]) -> bool {
        let mut is_new = false;
        for key in keys.iter().filter(|key| key.starts_with(prefix)) {
            is_new |= match snapshot.held(key) {
                Some(held) => self.put(key, held),
                None => self.remove(key),
            };
        }
        is_new
    }

    /// Takes in all that `snapshot` has below `prefix`, and says whether any of it is new.
    fn take_in_all(&mut self, snapshot: &Snapshot, prefix: &Arc<str>) -> bool {
        let known = self.slots.clone();
        let gone = known.into_iter().map(|(key, _)| key).filter(|key| snapshot.held(key).is_none());
        let is_less = gone.fold(false, |is_less, key| self.remove(key) | is_less);
        let prefix = selector(prefix);
        snapshot.held_by(&prefix).fold(is_less, |is_new, (key, held)| self.put(key, held) | is_new)
    }

    /// Takes in what is held of a key, and says whether that is new. The same text is not decoded again.
    fn put(&mut self, key: &Arc<str>, held: &Arc<Held>) -> bool {
        let before = self.slots.get(key);
        let is_new = before.is_none_or(|before| !before.held.has_text_of(held));
        let slot = match before {
            Some(before) if !is_new => {
                if before.held.origin != Origin::Override || held.origin == Origin::Override {
                    return false;
                }
                // What was an override is the live value now.
                Slot { value: before.value.clone(), lasting: before.value.clone(), held: held.clone() }
            }
            before => {
                let lasting = before.and_then(|before| before.lasting.clone());
                self.read(key, held, lasting)
            }
        };
        self.slots.insert_cow(key.clone(), slot);
        is_new
    }

    /// Decodes what is held of a key. What cannot be used is refused, and the last good value that was live stays.
    fn read(&mut self, key: &Arc<str>, held: &Arc<Held>, lasting: Option<Arc<T>>) -> Slot<T> {
        match decode::<T>(held).map(Arc::new) {
            Ok(value) => {
                self.refusals.remove_cow(key);
                let lasting = if held.origin == Origin::Override { lasting } else { Some(value.clone()) };
                Slot { value: Some(value), lasting, held: held.clone() }
            }
            Err(error) => {
                let refusal = Refusal::log(key, held.revision, error);
                self.refusals.insert_cow(key.clone(), Arc::new(refusal));
                Slot { value: lasting.clone(), lasting, held: held.clone() }
            }
        }
    }

    fn remove(&mut self, key: &Arc<str>) -> bool {
        self.refusals.remove_cow(key);
        self.slots.remove_cow(key).is_some()
    }
}

impl<T> std::fmt::Debug for Entries<T> {
    /// Shows how many keys there are, and no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("keys", &self.slots.len()).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Change<T> {
    /// Shows what happened, and no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Added(_) => f.write_str("Added"),
            Self::Changed(_) => f.write_str("Changed"),
            Self::Removed => f.write_str("Removed"),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
        }
    }
}
