//! What a reader covers.

use std::sync::Arc;

use super::{Selector, ancestors};

/// A set of selectors, or everything. The default is the empty set.
///
/// The entries stay as they were put in: a key beside a prefix that includes it is an entry of its own.
/// Everything is no list of entries: it has none, and inserting or removing one changes nothing.
///
/// ```
/// use datastream::key::{KeySet, Selector};
///
/// let set: KeySet = [Selector::parse("app/")?, Selector::parse("port")?].into_iter().collect();
/// assert!(set.matches("app/name") && set.matches("port"));
/// assert!(!set.matches("app") && !set.matches("application"));
/// # Ok::<(), datastream::key::KeyError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Whether this is everything; `entries` is empty then.
    all: bool,
    /// In order. Most sets are of one entry, and there are as many as subscribers: a list is what takes the least.
    entries: Vec<Selector>,
}

impl KeySet {
    /// The set of every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { all: true, entries: Vec::new() }
    }

    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { all: false, entries: Vec::new() }
    }

    /// Whether it is everything.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.all
    }

    /// Whether it covers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.entries.is_empty()
    }

    /// The number of entries; none if it is everything.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry, and says whether it was not there. Moves those behind it, so many are better collected.
    pub fn insert(&mut self, selector: Selector) -> bool {
        match self.find(selector.as_str()) {
            Err(at) if !self.all => {
                self.entries.insert(at, selector);
                true
            }
            _ => false,
        }
    }

    /// Takes that very entry out, and says whether it was there. Moves those behind it.
    pub fn remove(&mut self, selector: &Selector) -> bool {
        let found = self.find(selector.as_str());
        found.map(|at| self.entries.remove(at)).is_ok()
    }

    /// Whether it has that very entry.
    #[must_use]
    pub fn contains_selector(&self, selector: &Selector) -> bool {
        self.has(selector.as_str())
    }

    /// Whether it covers `key`. One look-up for the key and one for each of its segments.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        self.all || !self.entries.is_empty() && (self.has(key) || self.below_an_entry(key))
    }

    /// Whether one entry covers all that `selector` asks for.
    #[must_use]
    pub fn includes(&self, selector: &Selector) -> bool {
        self.matches(selector.as_str())
    }

    /// The entries, ordered by their text.
    pub fn iter(&self) -> impl Iterator<Item = &Selector> {
        self.entries.iter()
    }

    /// The keys that no prefix of the set includes, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.outermost().filter_map(|entry| match entry {
            Selector::Key(key) => Some(key),
            Selector::Prefix(_) => None,
        })
    }

    /// The prefixes that no other prefix of the set includes, in order.
    pub fn prefixes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.outermost().filter_map(|entry| match entry {
            Selector::Key(_) => None,
            Selector::Prefix(prefix) => Some(prefix),
        })
    }

    /// The entries that no other entry includes.
    fn outermost(&self) -> impl Iterator<Item = &Selector> {
        self.iter().filter(|entry| !self.below_an_entry(entry.as_str()))
    }

    fn below_an_entry(&self, text: &str) -> bool {
        ancestors(text).any(|prefix| self.has(prefix))
    }

    fn has(&self, text: &str) -> bool {
        self.find(text).is_ok()
    }

    /// Where the entry of that text is, or belongs.
    fn find(&self, text: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.as_str().cmp(text))
    }
}

impl FromIterator<Selector> for KeySet {
    fn from_iter<I: IntoIterator<Item = Selector>>(selectors: I) -> Self {
        let mut entries: Vec<_> = selectors.into_iter().collect();
        entries.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        entries.dedup_by(|one, other| one.as_str() == other.as_str());
        entries.shrink_to_fit();
        Self { all: false, entries }
    }
}
