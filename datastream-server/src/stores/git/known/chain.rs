//! The commits of a branch, one after the other by first parents.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use datastream::position::Position;

use crate::stores::git::object::Oid;

/// How many bytes of the name of the first commit name the store.
const IDENTITY_BYTES: usize = 8;
/// The token of revision 1, before which all histories are alike.
const GENESIS: [u8; 2 * IDENTITY_BYTES] = [0; 2 * IDENTITY_BYTES];

/// A commit of the branch.
#[derive(Clone, Copy, Debug)]
struct Link {
    oid: Oid,
    time: SystemTime,
}

/// See the module. Revision 1 is before the first commit; each has the next one.
#[derive(Debug)]
pub(in crate::stores::git) struct Chain {
    /// When revision 1 was.
    begun: SystemTime,
    links: Vec<Link>,
    revisions: HashMap<Oid, u64>,
    /// The lowest revision whose position is remembered.
    pub(super) floor: u64,
}

impl Chain {
    pub(super) fn new() -> Self {
        Self { begun: SystemTime::now(), links: Vec::new(), revisions: HashMap::new(), floor: 1 }
    }

    /// Adds the next commit, and returns its revision.
    pub(super) fn push(&mut self, oid: Oid, time: SystemTime) -> u64 {
        self.links.push(Link { oid, time });
        self.begun = self.begun.min(time);
        self.revisions.insert(oid, self.revision());
        self.revision()
    }

    /// The newest commit.
    pub(in crate::stores::git) fn head(&self) -> Option<Oid> {
        self.links.last().map(|link| link.oid)
    }

    pub(in crate::stores::git) fn revision(&self) -> u64 {
        self.links.len() as u64 + 1
    }

    /// The revision of a commit.
    pub(in crate::stores::git) fn revision_of(&self, oid: Oid) -> Option<u64> {
        self.revisions.get(&oid).copied()
    }

    /// The commit of a revision.
    pub(in crate::stores::git) fn commit_at(&self, revision: u64) -> Option<Oid> {
        self.link(revision).map(|link| link.oid)
    }

    pub(super) fn time_of(&self, revision: u64) -> SystemTime {
        self.link(revision).map_or(self.begun, |link| link.time)
    }

    /// The position of a revision, without its token if that is forgotten.
    pub(in crate::stores::git) fn position(&self, revision: u64) -> Position {
        let is_kept = (self.floor..=self.revision()).contains(&revision);
        Position { revision, token: if is_kept { self.token(revision) } else { Bytes::new() } }
    }

    /// Whether a position is one of this branch, and remembered.
    pub(super) fn knows(&self, position: &Position) -> bool {
        !position.token.is_empty() && *position == self.position(position.revision)
    }

    /// The positions that are remembered, from `revision` on.
    pub(super) fn positions_from(&self, revision: u64) -> Vec<Position> {
        (revision.max(self.floor)..=self.revision()).map(|revision| self.position(revision)).collect()
    }

    fn link(&self, revision: u64) -> Option<&Link> {
        self.links.get(usize::try_from(revision.checked_sub(2)?).ok()?)
    }

    fn token(&self, revision: u64) -> Bytes {
        match (self.link(revision), self.links.first()) {
            (Some(link), Some(first)) => {
                let identity = &first.oid.bytes()[..IDENTITY_BYTES];
                Bytes::from([identity, link.oid.bytes()].concat())
            }
            _ => Bytes::from_static(&GENESIS),
        }
    }
}
