//! The entries of a state, in the order of their keys.
//!
//! They lie in leaves of some dozens, and the values of a leaf are joined once for all who are sent all of them: a
//! subscriber of everything costs work for each leaf, not for each entry, however many come after it.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use rpds::RedBlackTreeMapSync;

use crate::entry::Entry;

/// How many entries a leaf has at most. Each update of one copies the references to all of its leaf.
const MOST: usize = 32;
/// The longest that a leaf is kept joined, in bytes: it is kept beside the entries. Of longer values the joining is not what
/// costs.
const JOINED_BYTES: usize = 16 * 1024;

/// An ordered map of entries by key. A clone shares all of it, and an update of the one copies what it changes.
#[derive(Clone)]
pub(crate) struct Entries {
    /// By a key above all of the leaf before it, and not above the first of its own. The first leaf is always there.
    leaves: RedBlackTreeMapSync<Arc<str>, Arc<Leaf>>,
    len: usize,
}

/// Some entries that follow each other.
#[derive(Default)]
pub(crate) struct Leaf {
    entries: Vec<Arc<Entry>>,
    /// `None` inside if they are too long.
    joined: OnceLock<Option<Box<[u8]>>>,
}

/// What of a leaf lies in a range.
pub(crate) enum Run<'a> {
    /// All of it.
    Whole(&'a Arc<Leaf>),
    /// Some of it.
    Part(&'a [Arc<Entry>]),
}

impl Default for Entries {
    fn default() -> Self {
        let mut leaves = RedBlackTreeMapSync::new_sync();
        leaves.insert_mut(Arc::from(""), Arc::default());
        Self { leaves, len: 0 }
    }
}

impl Entries {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        let (_, leaf) = self.leaf_of(key)?;
        leaf.find(key).ok().map(|at| &leaf.entries[at])
    }

    /// Puts an entry in, and returns the one of its key that was there.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let leaf = self.leaf_mut(&entry.key)?;
        let at = match leaf.find(&entry.key) {
            Ok(at) => return Some(std::mem::replace(&mut leaf.entries[at], entry)),
            Err(at) => at,
        };
        let key = entry.key.clone();
        leaf.entries.insert(at, entry);
        if leaf.entries.len() > MOST {
            self.split(&key, at);
        }
        self.len += 1;
        None
    }

    /// Divides the leaf of `key`, which was put in at that place. What comes in the order of its keys, as a first load does,
    /// leaves full leaves behind: the last leaf of all is not halved when it grows at its end.
    fn split(&mut self, key: &str, at: usize) {
        let is_last = self.leaves.last().is_some_and(|(first, _)| **first <= *key);
        let Some(leaf) = self.leaf_mut(key) else { return };
        let upper = leaf.entries.split_off(if is_last && at == MOST { MOST } else { MOST / 2 });
        let first = upper[0].key.clone();
        self.leaves.insert_mut(first, Arc::new(Leaf { entries: upper, joined: OnceLock::new() }));
    }

    /// Takes the entry of a key out, if there is one.
    pub(crate) fn remove(&mut self, key: &str) {
        let Some(leaf) = self.leaf_mut(key) else { return };
        let Ok(at) = leaf.find(key) else { return };
        leaf.entries.remove(at);
        let is_empty = leaf.entries.is_empty();
        self.len -= 1;
        let empty = self.leaf_of(key).filter(|(first, _)| is_empty && !first.is_empty());
        if let Some(first) = empty.map(|(first, _)| first.clone()) {
            self.leaves.remove_mut(&first);
        }
    }

    /// What lies below `prefix` (empty for all), after the key `after`, leaf by leaf. `after` lies below `prefix` itself.
    pub(crate) fn runs<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = Run<'a>> {
        let first = self.leaf_of(after.unwrap_or(prefix));
        let rest = (Bound::Excluded(first.map_or("", |(key, _)| key)), Bound::Unbounded);
        let rest = self.leaves.range::<str, _>(rest).take_while(move |(key, _)| key.starts_with(prefix));
        let first = first.map(|(_, leaf)| leaf.within(prefix, after));
        let rest = rest.map(move |(_, leaf)| leaf.within(prefix, None));
        first.into_iter().chain(rest).filter(|run| !run.entries().is_empty())
    }

    fn leaf_of(&self, key: &str) -> Option<(&Arc<str>, &Arc<Leaf>)> {
        self.leaves.range::<str, _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    /// The leaf of a key, to be changed. `None` never: the first leaf is always there.
    fn leaf_mut(&mut self, key: &str) -> Option<&mut Leaf> {
        let first = self.leaf_of(key)?.0.clone();
        let leaf = Arc::make_mut(self.leaves.get_mut(&first)?);
        leaf.joined.take();
        Some(leaf)
    }
}

impl Leaf {
    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The values among the entries, joined; `None` if they are too long for that.
    pub(crate) fn joined(&self) -> Option<&[u8]> {
        let join = || {
            let values = || self.entries.iter().filter(|entry| !entry.is_tombstone());
            let length: usize = values().map(|entry| entry.encoded.len()).sum();
            let mut joined = Vec::with_capacity(length.min(JOINED_BYTES));
            (length <= JOINED_BYTES).then(|| {
                values().for_each(|entry| joined.extend_from_slice(&entry.encoded));
                joined.into_boxed_slice()
            })
        };
        self.joined.get_or_init(join).as_deref()
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| (*entry.key).cmp(key))
    }

    /// What of it lies in the range. Mostly all of it does, and then its ends alone are looked at, if they have to be: each key
    /// lies elsewhere in memory, and to fetch more of them would cost as much as all else that sends a long state.
    fn within<'a>(self: &'a Arc<Self>, prefix: &str, after: Option<&str>) -> Run<'a> {
        let is_before = |entry: &Arc<Entry>| after.map_or(&*entry.key < prefix, |after| &*entry.key <= after);
        let is_all = prefix.is_empty() && after.is_none();
        let has_ends =
            |(first, last): (&Arc<Entry>, &Arc<Entry>)| !is_before(first) && last.key.starts_with(prefix);
        if is_all || self.entries.first().zip(self.entries.last()).is_some_and(has_ends) {
            return Run::Whole(self);
        }
        let from = self.entries.partition_point(is_before);
        let run = &self.entries[from..];
        Run::Part(&run[..run.partition_point(|entry| entry.key.starts_with(prefix))])
    }
}

/// A copy is made to be changed.
impl Clone for Leaf {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), joined: OnceLock::new() }
    }
}

impl<'a> Run<'a> {
    /// The entries of it; the tombstones are among them.
    pub(crate) fn entries(&self) -> &'a [Arc<Entry>] {
        match self {
            Self::Whole(leaf) => &leaf.entries,
            Self::Part(entries) => entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use bytes::Bytes;

    use crate::store::{Change, Stored};

    use super::*;

    fn entry(key: &str, revision: u64, value: Option<&str>) -> Arc<Entry> {
        let value = value.map(|value| Stored {
            value: Bytes::copy_from_slice(value.as_bytes()),
            value_type: "string".into(),
        });
        let key = Arc::from(key);
        Arc::new(Entry::new(Change { key, revision, time: SystemTime::UNIX_EPOCH, value, too_large: None }))
    }

    fn revisions<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Vec<u64> {
        entries.map(|entry| entry.revision).collect()
    }

    /// Compares every question with a map of the standard library.
    fn assert_same(entries: &Entries, model: &BTreeMap<String, Arc<Entry>>) {
        assert_eq!(entries.len(), model.len());
        for prefix in ["", "a/", "b/", "b/1", "c/"] {
            for after in [None, Some("a/20"), Some("b/"), Some("b/40"), Some("b/99")] {
                let after = after.filter(|after| after.starts_with(prefix));
                let is_in = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
                let expected = model.iter().filter(|(key, _)| is_in(key)).map(|(_, entry)| entry);
                let found = entries.runs(prefix, after).flat_map(|run| run.entries());
                assert_eq!(revisions(found), revisions(expected), "{prefix} after {after:?}");
            }
        }
        for run in entries.runs("", None) {
            let Run::Whole(leaf) = run else { panic!("everything is made of whole leaves") };
            let values = leaf.entries().iter().filter(|entry| !entry.is_tombstone());
            let joined: Vec<u8> = values.flat_map(|entry| entry.encoded.clone()).collect();
            assert_eq!(leaf.joined(), Some(&*joined));
        }
    }

    #[test]
    fn it_answers_as_an_ordered_map_and_a_clone_stays_as_it_was() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut entries, mut model) = (Entries::default(), BTreeMap::new());
        let mut kept = Vec::new();
        for revision in 1..2000 {
            let key = format!("{}/{}", random.choice(["a", "b"]).unwrap_or("a"), random.u32(..150));
            if random.u32(..10) < 4 {
                entries.remove(&key);
                model.remove(&key);
            } else {
                let value = (random.u32(..5) > 0).then(|| "x".repeat(random.usize(..40)));
                let new = entry(&key, revision, value.as_deref());
                let old = entries.insert(new.clone()).map(|old| old.revision);
                assert_eq!(old, model.insert(key.clone(), new).map(|old| old.revision));
            }
            assert_eq!(entries.get(&key).is_some(), model.contains_key(&key));
            if revision % 50 == 0 {
                assert_same(&entries, &model);
                kept.push((entries.clone(), model.clone()));
            }
        }
        kept.iter().for_each(|(entries, model)| assert_same(entries, model));
        for key in model.keys().cloned().collect::<Vec<_>>() {
            entries.remove(&key);
        }
        assert_same(&entries, &BTreeMap::new());
    }

    #[test]
    fn what_comes_in_order_fills_its_leaves() {
        let mut entries = Entries::default();
        (0..MOST * 3).for_each(|n| drop(entries.insert(entry(&format!("a/{n:04}"), 1, Some("x")))));
        assert!(entries.runs("", None).all(|run| run.entries().len() == MOST));
    }

    #[test]
    fn no_order_of_arrival_makes_leaves_of_one() {
        let mut entries = Entries::default();
        let ascending = (0..MOST).chain(9000..9000 + MOST);
        let descending = (MOST..2000).rev();
        ascending
            .chain(descending)
            .for_each(|n| drop(entries.insert(entry(&format!("a/{n:04}"), 1, Some("x")))));
        let leaves = entries.runs("", None).count();
        assert!(leaves <= entries.len() / (MOST / 4), "{leaves} leaves for {} entries", entries.len());
    }

    #[test]
    fn long_values_are_not_kept_joined() {
        let mut entries = Entries::default();
        entries.insert(entry("a", 1, Some(&"x".repeat(JOINED_BYTES))));
        assert!(entries.runs("", None).all(|run| matches!(run, Run::Whole(leaf) if leaf.joined().is_none())));
    }
}
