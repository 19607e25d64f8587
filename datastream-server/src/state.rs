//! The current state, as one immutable value.
//!
//! A [`State`] is a version: an ordered map of entries, an index of them by revision, and the positions of its
//! history that are remembered. Advancing it makes a new version that shares almost all of the old one, so a
//! reader keeps the version that it began with at no cost to anybody. Nothing here waits, reads a clock or
//! does IO.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use datastream::position::Position;
use rpds::RedBlackTreeMapSync;

use crate::entries::{Entries, Run};
use crate::entry::Entry;
use crate::shared_frame::SharedFrame;
use crate::store::{Batch, Change, Snapshot};

/// Where the index places an entry. A store may give several keys one revision, so the key belongs to it.
pub type Place = (u64, Arc<str>);

/// How many bytes at the beginning of a token name the store.
const IDENTITY_BYTES: usize = 8;

/// One version of the state.
#[derive(Clone)]
pub struct State {
    entries: Entries,
    /// Only the latest revision of each key, tombstones included.
    index: RedBlackTreeMapSync<Place, Arc<Entry>>,
    /// Those places of the index that are tombstones, so that compaction looks at nothing else.
    tombstones: RedBlackTreeMapSync<Place, ()>,
    /// The remembered positions: revision -> token.
    positions: RedBlackTreeMapSync<u64, Bytes>,
    position: Position,
    compacted_to: u64,
    lineage: u64,
    /// Of this version alone.
    shared: Arc<SharedFrame>,
}

/// What a position is to a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to this history, and all that came after it is known.
    Kept,
    /// It belongs to another history, or lies too far back to be known.
    Foreign,
    /// It lies above the head of this state, in a history of the same store.
    Ahead,
}

impl State {
    /// The state that a store holds. `lineage` counts the loads of this process: states of one lineage are
    /// versions of one history.
    #[must_use]
    pub fn new(snapshot: Snapshot, lineage: u64) -> Self {
        let mut state = Self {
            entries: Entries::default(),
            index: RedBlackTreeMapSync::new_sync(),
            tombstones: RedBlackTreeMapSync::new_sync(),
            positions: RedBlackTreeMapSync::new_sync(),
            position: snapshot.position,
            compacted_to: snapshot.compacted_to,
            lineage,
            shared: Arc::default(),
        };
        snapshot.changes.into_iter().for_each(|change| state.apply(change));
        snapshot.positions.into_iter().for_each(|position| state.remember(position));
        state
    }

    /// The version after `batch`. Costs a few hundred bytes and the logarithm of the number of keys for each
    /// change, whatever the size of the state.
    #[must_use]
    pub fn advance(&self, batch: Batch) -> Self {
        let mut next = Self { shared: Arc::default(), ..self.clone() };
        batch.changes.into_iter().for_each(|change| next.apply(change));
        batch.positions.into_iter().for_each(|position| next.remember(position));
        next.position = batch.position;
        next.compact(batch.compacted_to);
        next
    }

    fn apply(&mut self, change: Change) {
        let entry = Arc::new(Entry::new(change));
        if let Some(old) = self.entries.insert(entry.clone()) {
            let place = (old.revision, old.key.clone());
            self.index.remove_mut(&place);
            if old.is_tombstone() {
                self.tombstones.remove_mut(&place);
            }
        }
        let place = (entry.revision, entry.key.clone());
        if entry.is_tombstone() {
            self.tombstones.insert_mut(place.clone(), ());
        }
        self.index.insert_mut(place, entry);
    }

    fn remember(&mut self, position: Position) {
        self.positions.insert_mut(position.revision, position.token);
    }

    /// Forgets the tombstones and positions at or below `compacted_to`. The head is never forgotten.
    fn compact(&mut self, compacted_to: u64) {
        if compacted_to <= self.compacted_to {
            return;
        }
        self.compacted_to = compacted_to;
        while let Some((&revision, _)) = self.positions.first() {
            if revision > compacted_to || revision == self.position.revision {
                break;
            }
            self.positions.remove_mut(&revision);
        }
        while let Some((place, ())) = self.tombstones.first() {
            let place = place.clone();
            if place.0 > compacted_to {
                break;
            }
            self.tombstones.remove_mut(&place);
            self.index.remove_mut(&place);
            self.entries.remove(&place.1);
        }
    }

    /// Where this version stands.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The revision up to which tombstones and positions are forgotten.
    #[must_use]
    pub fn compacted_to(&self) -> u64 {
        self.compacted_to
    }

    /// Which load of the store this version descends from.
    #[must_use]
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// The message that was made last of this version.
    pub(crate) fn shared(&self) -> &SharedFrame {
        &self.shared
    }

    /// What `position` is to the history of this version.
    #[must_use]
    pub fn judge(&self, position: &Position) -> Standing {
        if position.revision > self.position.revision {
            let same_store = identity(&position.token) == identity(&self.position.token);
            return if same_store { Standing::Ahead } else { Standing::Foreign };
        }
        let kept = self.positions.get(&position.revision) == Some(&position.token);
        if kept && position.revision >= self.compacted_to { Standing::Kept } else { Standing::Foreign }
    }

    /// How many keys exist.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.tombstones.size()
    }

    /// Whether no key exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of a key, which may be a tombstone.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// The entries below `prefix` (with its trailing `/`; empty for all), in order of keys, after the key
    /// `after`. Tombstones are among them.
    pub fn below<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.runs(prefix, after).flat_map(|run| run.entries())
    }

    /// The same, in runs of entries that follow each other.
    pub(crate) fn runs<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = Run<'a>> {
        self.entries.runs(prefix, after)
    }

    /// The latest changes of all keys after `place`, in order of revisions.
    pub fn after(&self, place: Place) -> impl Iterator<Item = &Arc<Entry>> {
        self.index.range((Bound::Excluded(place), Bound::Unbounded)).map(|(_, entry)| entry)
    }
}

/// The place after which all changes above `revision` lie.
#[must_use]
pub fn end_of(revision: u64) -> Place {
    // No key is empty, so this is the first place of the next revision, which holds no entry.
    (revision.saturating_add(1), Arc::from(""))
}

fn identity(token: &[u8]) -> &[u8] {
    &token[..token.len().min(IDENTITY_BYTES)]
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({:?}, {} keys, lineage {})", self.position, self.entries.len(), self.lineage)
    }
}
