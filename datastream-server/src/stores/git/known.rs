//! What is known of a branch: its commits, and what each key holds at its head.
//!
//! A pure value. Revision 1 is before the first commit; each commit of the branch, followed by first parents, has the next
//! one. So two servers give a commit the same revision, and its name is the token of its position.

mod chain;
mod retention;
mod room;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use datastream::position::Position;

use self::chain::Chain;
pub(super) use self::retention::is_older;
pub(super) use self::room::types_in_the_way;
use super::log::{File, Listed, PathChange};
use super::object::{Blob, Oid};
use super::request::Requests;
use super::skipped::{self, Skipped};
use crate::operation::{Held, Operation};
use crate::store::{Batch, Change, Since, Snapshot, Stored};
use crate::stores::types_file::{self, TypesFile};

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

/// What a commit makes of the types file.
#[derive(Debug)]
pub(super) enum Types {
    Text(String),
    /// It cannot be read, and why.
    Unusable(&'static str),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) chain: Chain,
    /// Everything at the head, served or not.
    files: BTreeMap<Vec<u8>, File>,
    /// The latest change of each key, remembered tombstones included.
    latest: BTreeMap<Arc<str>, Latest>,
    order: BTreeSet<(u64, Arc<str>)>,
    /// The keys whose content is still to be read, and where it is.
    unread: HashMap<Arc<str>, Oid>,
    types: TypesFile,
    /// Why the file at the head is not what `types` says; it must not be written then.
    types_wrong: Option<String>,
    pub(super) requests: Requests,
    pub(super) skipped: Skipped,
    /// The highest revision at or below which a deletion or a position was forgotten.
    compacted_to: u64,
}

impl Known {
    /// Of a branch without a commit.
    pub(super) fn nothing() -> Self {
        Self {
            chain: Chain::new(),
            files: BTreeMap::new(),
            latest: BTreeMap::new(),
            order: BTreeSet::new(),
            unread: HashMap::new(),
            types: TypesFile::default(),
            types_wrong: None,
            requests: Requests::default(),
            skipped: Skipped::default(),
            compacted_to: 0,
        }
    }

    pub(super) fn types(&self) -> &TypesFile {
        &self.types
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            position: self.chain.position(self.chain.revision()),
            compacted_to: self.compacted_to,
            positions: self.chain.positions_from(0),
            changes: self.latest.iter().map(|(key, latest)| latest.change(key)).collect(),
        }
    }

    pub(super) fn since(&self, after: &Position) -> Since {
        if !self.chain.knows(after) {
            return Since::Replaced;
        }
        let later = (Bound::Excluded((after.revision + 1, Arc::from(""))), Bound::Unbounded);
        let changes = self.order.range(later).filter_map(|(_, key)| Some(self.latest.get(key)?.change(key)));
        Since::Changes(Batch {
            position: self.chain.position(self.chain.revision()),
            compacted_to: self.compacted_to,
            positions: self.chain.positions_from(after.revision + 1),
            changes: changes.collect(),
        })
    }

    /// Takes in the next commit. `types` is what it makes of the types file, if it touches that. What it brings is to be
    /// [filled](Self::fill) in before anybody sees it.
    pub(super) fn note(&mut self, commit: &Listed, types: Option<&Types>) {
        let revision = self.chain.push(commit.oid, commit.time);
        self.requests.note(&commit.message, revision, commit.time);
        if let Some(types) = types {
            self.retype(types, revision, commit.time);
        }
        for change in &commit.changes {
            self.change(change, revision, commit.time);
        }
    }

    fn change(&mut self, change: &PathChange, revision: u64, time: SystemTime) {
        let PathChange { path, before, file } = change;
        match file {
            Some(file) => _ = self.files.insert(path.clone(), *file),
            None => _ = self.files.remove(path),
        }
        if file.map(File::content) == before.map(File::content) {
            // Its permissions changed, at most.
            return;
        }
        self.skipped.forget(path);
        let served =
            |file: Option<File>| file.filter(|file| file.kind.is_file() && !skipped::is_reserved(path));
        let (is, was) = (served(*file), served(*before));
        if let Some(file) = file.filter(|_| is.is_none() && path != types_file::NAME.as_bytes()) {
            self.skipped.note(path, skipped::reason(file.kind));
        }
        if is.is_none() && was.is_none() {
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
    fn retype(&mut self, types: &Types, revision: u64, time: SystemTime) {
        let followed = match types {
            Types::Text(text) => self.types.followed_by(text).map_err(|error| error.to_string()),
            Types::Unusable(why) => Err(format!("{}: {why}", types_file::NAME)),
        };
        let (types, difference) = match followed {
            Ok(followed) => followed,
            Err(error) => {
                tracing::warn!(error, revision, "the types stay as they were");
                self.types_wrong = Some(error);
                return;
            }
        };
        self.types_wrong = None;
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

    /// Puts in what was read, which is all that was [asked for](Self::unread).
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
                None => latest.content.clone(),
            };
        }
    }

    /// What a key holds.
    pub(super) fn held(&self, key: &str) -> Option<Held> {
        let latest = self.latest.get(key)?;
        let value = match &latest.content {
            Content::Stored(stored) => Some(stored.clone()),
            _ => None,
        };
        let is_left_out = matches!(latest.content, Content::TooLarge(_));
        Some(Held { value, is_left_out, revision: latest.revision })
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
        self.chain.position(newest.unwrap_or(self.chain.revision()))
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
