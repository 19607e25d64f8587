//! What is known of a branch: its commits, and what each key holds at its head.
//!
//! A pure value. Revision 1 is before the first commit; each commit of the branch, followed by first parents, has the next
//! one. So two servers give a commit the same revision, and its name is the token of its position.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use datastream::key::shown;
use datastream::position::Position;

use super::log::{File, Listed, PathChange};
use super::object::{Blob, Oid};
use super::request::Requests;
use super::skipped::{self, Skipped};
use crate::operation::{Held, Operation};
use crate::store::{Batch, Change, Retention, Since, Snapshot, Stored};
use crate::stores::types_file::{self, TypesFile};

/// How many bytes of the name of the first commit name the store.
const IDENTITY_BYTES: usize = 8;
/// The token of revision 1, before which all histories are alike.
const GENESIS: [u8; 2 * IDENTITY_BYTES] = [0; 2 * IDENTITY_BYTES];
/// How many positions are remembered at start, as many as a retention keeps by default.
const REMEMBERED: u64 = 100_000;

/// A commit of the branch.
#[derive(Clone, Copy, Debug)]
struct Link {
    oid: Oid,
    time: SystemTime,
}

/// The latest change of a key.
#[derive(Clone, Debug)]
struct Latest {
    revision: u64,
    time: SystemTime,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// It is not read yet.
    Unread,
    Stored(Stored),
    TooLarge(u64),
    Gone,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    /// When revision 1 was.
    begun: SystemTime,
    chain: Vec<Link>,
    revisions: HashMap<Oid, u64>,
    /// Everything at the head, served or not.
    files: BTreeMap<Vec<u8>, File>,
    /// The latest change of each key, remembered tombstones included.
    latest: BTreeMap<Arc<str>, Latest>,
    order: BTreeSet<(u64, Arc<str>)>,
    /// The keys whose content is still to be read, and where it is.
    unread: HashMap<Arc<str>, Oid>,
    types: TypesFile,
    pub(super) requests: Requests,
    pub(super) skipped: Skipped,
    compacted_to: u64,
    /// The lowest revision whose position is remembered.
    floor: u64,
}

impl Known {
    /// Of a branch without a commit.
    pub(super) fn nothing() -> Self {
        Self {
            begun: SystemTime::now(),
            chain: Vec::new(),
            revisions: HashMap::new(),
            files: BTreeMap::new(),
            latest: BTreeMap::new(),
            order: BTreeSet::new(),
            unread: HashMap::new(),
            types: TypesFile::default(),
            requests: Requests::default(),
            skipped: Skipped::default(),
            compacted_to: 0,
            floor: 1,
        }
    }

    /// The newest commit.
    pub(super) fn head(&self) -> Option<Oid> {
        self.chain.last().map(|link| link.oid)
    }

    pub(super) fn revision(&self) -> u64 {
        self.chain.len() as u64 + 1
    }

    pub(super) fn types(&self) -> &TypesFile {
        &self.types
    }

    fn link(&self, revision: u64) -> Option<&Link> {
        self.chain.get(usize::try_from(revision.checked_sub(2)?).ok()?)
    }

    fn time_of(&self, revision: u64) -> SystemTime {
        self.link(revision).map_or(self.begun, |link| link.time)
    }

    /// The revision of a commit.
    pub(super) fn revision_at(&self, oid: Oid) -> Option<u64> {
        self.revisions.get(&oid).copied()
    }

    /// The commit of a revision.
    pub(super) fn commit_at(&self, revision: u64) -> Option<Oid> {
        self.link(revision).map(|link| link.oid)
    }

    fn token(&self, revision: u64) -> Bytes {
        match (self.link(revision), self.chain.first()) {
            (Some(link), Some(first)) => {
                let identity = &first.oid.bytes()[..IDENTITY_BYTES];
                Bytes::from([identity, link.oid.bytes()].concat())
            }
            _ => Bytes::from_static(&GENESIS),
        }
    }

    /// The position of a revision, without its token if that is forgotten.
    pub(super) fn position(&self, revision: u64) -> Position {
        let is_kept = (self.floor..=self.revision()).contains(&revision);
        Position { revision, token: if is_kept { self.token(revision) } else { Bytes::new() } }
    }

    fn positions_from(&self, revision: u64) -> Vec<Position> {
        (revision.max(self.floor)..=self.revision()).map(|revision| self.position(revision)).collect()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            position: self.position(self.revision()),
            compacted_to: self.compacted_to,
            positions: self.positions_from(0),
            changes: self.latest.iter().map(|(key, latest)| latest.change(key)).collect(),
        }
    }

    pub(super) fn since(&self, after: &Position) -> Since {
        let is_kept = !after.token.is_empty() && *after == self.position(after.revision);
        if !is_kept || after.revision < self.compacted_to {
            return Since::Replaced;
        }
        let later = (Bound::Excluded((after.revision + 1, Arc::from(""))), Bound::Unbounded);
        let changes = self.order.range(later).filter_map(|(_, key)| Some(self.latest.get(key)?.change(key)));
        Since::Changes(Batch {
            position: self.position(self.revision()),
            compacted_to: self.compacted_to,
            positions: self.positions_from(after.revision + 1),
            changes: changes.collect(),
        })
    }

    /// Takes in the next commit. `types` is what it makes of the types file, if it touches that. What it brings is to be
    /// [filled](Self::fill) in before anybody sees it.
    pub(super) fn note(&mut self, commit: &Listed, types: Option<&str>) {
        let revision = self.revision() + 1;
        self.chain.push(Link { oid: commit.oid, time: commit.time });
        self.revisions.insert(commit.oid, revision);
        self.begun = self.begun.min(commit.time);
        self.requests.note(&commit.message, revision, commit.time);
        if let Some(types) = types {
            self.retype(types, revision, commit.time);
        }
        for change in &commit.changes {
            self.change(change, revision, commit.time);
        }
    }

    fn change(&mut self, change: &PathChange, revision: u64, time: SystemTime) {
        let PathChange { path, file } = change;
        let before = match file {
            Some(file) => self.files.insert(path.clone(), *file),
            None => self.files.remove(path),
        };
        self.skipped.forget(path);
        let served = |file: &File| file.kind.is_file();
        let (is, was) =
            (file.as_ref().filter(|file| served(file)), before.as_ref().filter(|file| served(file)));
        if let Some(file) = file.filter(|file| !served(file)) {
            self.skipped.note(path, skipped::reason(file.kind));
        }
        if path == types_file::NAME.as_bytes() || is.map(|file| file.oid) == was.map(|file| file.oid) {
            return;
        }
        let Ok(key) = std::str::from_utf8(path) else {
            self.skipped.note(path, "its path is not UTF-8");
            return;
        };
        let key: Arc<str> = key.into();
        match is {
            Some(file) => _ = self.unread.insert(key.clone(), file.oid),
            None => _ = self.unread.remove(&key),
        }
        let content = if is.is_some() { Content::Unread } else { Content::Gone };
        self.record(key, Latest { revision, time, content });
    }

    fn record(&mut self, key: Arc<str>, latest: Latest) {
        let revision = latest.revision;
        if let Some(before) = self.latest.insert(key.clone(), latest) {
            self.order.remove(&(before.revision, key.clone()));
        }
        self.order.insert((revision, key));
    }

    /// Another types file, by which some keys change although their files do not. What cannot be read changes nothing.
    fn retype(&mut self, text: &str, revision: u64, time: SystemTime) {
        let types = match TypesFile::parse(text) {
            Ok(types) => types,
            Err(error) => {
                tracing::warn!(%error, revision, "the types stay as they were");
                return;
            }
        };
        let difference = types.difference(&self.types);
        let before = std::mem::replace(&mut self.types, types);
        let mut concerned = BTreeMap::new();
        for name in &difference {
            for (key, latest) in self.named(name) {
                if before.type_of(key) != self.types.type_of(key) {
                    concerned.insert(key.clone(), latest.content.clone());
                }
            }
        }
        for (key, mut content) in concerned {
            if let Content::Stored(stored) = &mut content {
                stored.value_type = self.types.type_of(&key);
            }
            self.record(key, Latest { revision, time, content });
        }
    }

    /// The keys that live, of which an entry of the types file speaks.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a Latest)> {
        let range = self.latest.range::<str, _>((Bound::Included(name), Bound::Unbounded));
        let is_prefix = name.ends_with('/');
        let named = range.take_while(move |(key, _)| ***key == *name || is_prefix && key.starts_with(name));
        named.filter(|(_, latest)| !matches!(latest.content, Content::Gone))
    }

    /// The objects that are still to be read.
    pub(super) fn unread(&self) -> Vec<Oid> {
        self.unread.values().copied().collect()
    }

    /// Puts in what was read. An object that is not there leaves its key out.
    pub(super) fn fill(&mut self, blobs: &HashMap<Oid, Blob>) {
        for (key, oid) in std::mem::take(&mut self.unread) {
            let Some(latest) = self.latest.get_mut(&key) else { continue };
            latest.content = match blobs.get(&oid) {
                Some(Blob::Bytes(bytes)) if skipped::is_pointer(bytes) => {
                    self.skipped.note(key.as_bytes(), skipped::POINTER);
                    Content::Gone
                }
                Some(Blob::Bytes(bytes)) => {
                    Content::Stored(Stored { value: bytes.clone(), value_type: self.types.type_of(&key) })
                }
                Some(Blob::TooLarge(size)) => Content::TooLarge(*size),
                None => {
                    self.skipped.note(key.as_bytes(), "its content is missing from the repository");
                    Content::Gone
                }
            };
        }
    }

    /// Lets go of what a server that starts does not need: of a long history, the positions far back.
    pub(super) fn trim(&mut self) {
        let floor = self.revision().saturating_sub(REMEMBERED - 1).max(1);
        self.forget_to(floor);
    }

    pub(super) fn compact(&mut self, retention: Retention) -> u64 {
        let now = SystemTime::now();
        let newest = self.revision();
        let mut floor = self.floor;
        while floor < newest {
            let excess = newest - floor + 1 > retention.max_positions.max(1);
            if !excess && !is_older(self.time_of(floor), retention.positions, now) {
                break;
            }
            floor += 1;
        }
        self.forget_to(floor);
        self.requests.compact(&retention, now);
        self.compacted_to
    }

    fn forget_to(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        (self.floor, self.compacted_to) = (floor, floor - 1);
        let dead = self.order.range(..(floor, Arc::from(""))).filter(|(_, key)| {
            self.latest.get(key).is_some_and(|latest| matches!(latest.content, Content::Gone))
        });
        for place in dead.cloned().collect::<Vec<_>>() {
            self.latest.remove(&place.1);
            self.order.remove(&place);
        }
    }

    /// What a key holds.
    pub(super) fn held(&self, key: &str) -> Option<Held> {
        let latest = self.latest.get(key)?;
        let value = match &latest.content {
            Content::Stored(stored) => Some(stored.clone()),
            _ => None,
        };
        Some(Held { value, revision: latest.revision })
    }

    /// The revision of the last change of a key; 0 if none is known.
    pub(super) fn revision_of(&self, key: &str) -> u64 {
        self.latest.get(key).map_or(0, |latest| latest.revision)
    }

    /// The file of a key.
    pub(super) fn file(&self, key: &str) -> Option<File> {
        self.files.get(key.as_bytes()).copied()
    }

    /// Where the newest of the commits ended whose work `operations` found standing.
    pub(super) fn standing(&self, operations: &[Operation]) -> Position {
        let wrote =
            operations.iter().map(|operation| self.latest.get(&operation.key).map(|latest| latest.revision));
        // That a key never was is true only as of the head.
        let newest = wrote.collect::<Option<Vec<_>>>().and_then(|revisions| revisions.into_iter().max());
        self.position(newest.unwrap_or(self.revision()))
    }

    /// What has the place that a file for `key` needs, once `gone` are removed and `new` are there.
    pub(super) fn in_the_way(
        &self,
        key: &str,
        gone: &BTreeSet<&str>,
        new: &BTreeSet<&str>,
    ) -> Option<String> {
        let stays = |path: &[u8]| {
            std::str::from_utf8(path).is_ok_and(|path| !gone.contains(path))
                || std::str::from_utf8(path).is_err()
        };
        if key == types_file::NAME {
            return Some(format!("`{key}`, which holds the types,"));
        }
        if let Some(reason) = self.skipped.reason(key.as_bytes()) {
            return Some(format!("`{}` ({reason})", shown(key)));
        }
        let folders = key.match_indices('/').map(|(end, _)| &key[..end]);
        for folder in folders {
            let is_file = self.files.contains_key(folder.as_bytes()) && stays(folder.as_bytes());
            if is_file || new.contains(folder) {
                return Some(format!("`{}`", shown(folder)));
            }
        }
        let below = format!("{key}/");
        let files = self.files.range(below.clone().into_bytes()..).map(|(path, _)| path);
        let mut files = files.take_while(|path| path.starts_with(below.as_bytes()));
        let inside = files.find(|path| stays(path)).map(|path| String::from_utf8_lossy(path).into_owned());
        let inside = inside.or_else(|| {
            new.range(&*below..).next().filter(|key| key.starts_with(&below)).map(ToString::to_string)
        });
        inside.map(|inside| format!("`{}`", shown(&inside)))
    }
}

impl Latest {
    fn change(&self, key: &Arc<str>) -> Change {
        let (value, too_large) = match &self.content {
            Content::Stored(stored) => (Some(stored.clone()), None),
            Content::TooLarge(size) => (None, Some(*size)),
            Content::Gone | Content::Unread => (None, None),
        };
        Change { key: key.clone(), revision: self.revision, time: self.time, value, too_large }
    }
}

/// Whether a time is so long ago that it may be forgotten.
pub(super) fn is_older(time: SystemTime, than: Duration, now: SystemTime) -> bool {
    now.duration_since(time).unwrap_or_default() >= than
}
