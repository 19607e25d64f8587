//! What is true: every state that was ever committed, by its position.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use datastream::position::Position;

pub(crate) type Key = &'static str;

/// Two prefixes, one of them nested, and a key outside of both.
pub(crate) const KEYS: [Key; 6] = ["a/1", "a/2", "a/b/1", "b/1", "b/2", "top"];

/// A value and the name of its type.
pub(crate) type Text = (String, &'static str);

/// The latest change of a key; without a text it is a deletion.
#[derive(Clone, Debug)]
pub(crate) struct Latest {
    pub(crate) revision: u64,
    pub(crate) text: Option<Text>,
}

/// A committed state. Histories are a tree: a copy of a store that goes on by itself is a branch.
pub(crate) struct Committed {
    pub(crate) parent: Option<usize>,
    pub(crate) position: Position,
    pub(crate) latest: BTreeMap<Key, Latest>,
}

#[derive(Default)]
pub(crate) struct Oracle {
    commits: Vec<Committed>,
    by_token: HashMap<Bytes, usize>,
}

impl Oracle {
    /// A new store, with an identity of its own.
    pub(crate) fn genesis(&mut self, identity: u64) -> usize {
        self.add(None, 1, identity.to_be_bytes(), BTreeMap::new())
    }

    /// The state after `writes` on top of `parent`. Each change has a revision of its own.
    pub(crate) fn commit(&mut self, parent: usize, writes: Vec<(Key, Option<Text>)>) -> usize {
        let Committed { position, latest, .. } = &self.commits[parent];
        let (mut revision, mut latest) = (position.revision, latest.clone());
        let identity = position.token[..8].try_into().expect("a token begins with eight bytes of identity");
        for (key, text) in writes {
            revision += 1;
            latest.insert(key, Latest { revision, text });
        }
        self.add(Some(parent), revision, identity, latest)
    }

    fn add(
        &mut self,
        parent: Option<usize>,
        revision: u64,
        identity: [u8; 8],
        latest: BTreeMap<Key, Latest>,
    ) -> usize {
        let id = self.commits.len();
        let token = Bytes::from([identity, id.to_be_bytes()].concat());
        self.by_token.insert(token.clone(), id);
        self.commits.push(Committed { parent, position: Position { revision, token }, latest });
        id
    }

    /// How many states there are.
    pub(crate) fn len(&self) -> usize {
        self.commits.len()
    }

    pub(crate) fn get(&self, id: usize) -> &Committed {
        &self.commits[id]
    }

    /// The state at `position`, if it was ever committed.
    pub(crate) fn find(&self, position: &Position) -> Option<usize> {
        let id = *self.by_token.get(&position.token)?;
        (self.commits[id].position == *position).then_some(id)
    }

    /// From `head` back to its genesis.
    pub(crate) fn line(&self, head: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(head), |&id| self.commits[id].parent)
    }

    /// Whether `ancestor` is `id` or came before it in the same history.
    pub(crate) fn descends(&self, id: usize, ancestor: usize) -> bool {
        self.line(id).any(|id| id == ancestor)
    }
}
