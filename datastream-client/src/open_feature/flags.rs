//! The settings below a prefix, each as whatever flags can be.

use std::sync::Arc;

use datastream::key::shown;
use datastream::value::ValueError;
use open_feature::StructValue;

use super::structure;
use crate::cell::{Cell, Source, decode, selector};
use crate::error::Unavailable;
use crate::session::Changed;
use crate::snapshot::{Held, OrderedMap, Snapshot};
use crate::status::{Origin, Refusal};

/// All flags, at one position. Immutable; it shares its memory with its predecessors.
#[derive(Clone, Default)]
pub(super) struct Flags {
    flags: OrderedMap<Arc<Flag>>,
}

/// One setting, decoded when it arrived as each type that flags have.
pub(super) struct Flag {
    /// What was received last.
    pub(super) newest: Arc<Held>,
    pub(super) boolean: Good<bool>,
    pub(super) int: Good<i64>,
    pub(super) float: Good<f64>,
    pub(super) string: Good<String>,
    pub(super) structure: Good<StructValue>,
}

/// The last that one type could read, and what it was read from: not the newest, if that cannot be read.
pub(super) type Good<T> = Option<(T, Arc<Held>)>;

impl Flags {
    /// The flag of a whole key.
    pub(super) fn get(&self, key: &str) -> Option<&Flag> {
        self.flags.get(key).map(|flag| &**flag)
    }

    /// These flags, with what `snapshot` says of `keys`.
    fn with(&self, snapshot: &Snapshot, prefix: &str, keys: &[Arc<str>]) -> Self {
        let mut after = self.clone();
        for key in keys.iter().filter(|key| key.starts_with(prefix)) {
            match snapshot.held(key) {
                Some(held) => after.put(key, held, self),
                None => _ = after.flags.remove_cow(key),
            }
        }
        after
    }

    /// All flags of `snapshot`, with what these know of them.
    fn all_of(&self, snapshot: &Snapshot, prefix: &Arc<str>) -> Self {
        let mut all = Self::default();
        snapshot.held_by(&selector(prefix)).for_each(|(key, held)| all.put(key, held, self));
        all
    }

    /// Takes in what is held of a key. What `before` has read already is not decoded again.
    fn put(&mut self, key: &Arc<str>, held: &Arc<Held>, before: &Self) {
        let flag = match before.flags.get(key) {
            Some(flag) if flag.newest == *held => flag.clone(),
            before => Arc::new(Flag::new(key, held, before.map(|flag| &**flag))),
        };
        self.flags.insert_cow(key.clone(), flag);
    }
}

impl Flag {
    fn new(key: &str, newest: &Arc<Held>, before: Option<&Self>) -> Self {
        // What is none of the types of flags, or breaks the grammar of its own.
        if let Err(error) = decode::<serde_json::Value>(newest) {
            Refusal::log(key, newest.revision, error);
        }
        Self {
            newest: newest.clone(),
            boolean: read(newest, before.map(|flag| &flag.boolean), decode),
            int: read(newest, before.map(|flag| &flag.int), decode),
            float: read(newest, before.map(|flag| &flag.float), decode),
            string: read(newest, before.map(|flag| &flag.string), decode),
            structure: read(newest, before.map(|flag| &flag.structure), structure::decode),
        }
    }
}

/// The best that is known as a `T`: the newest, what lies below it, or what was good before.
fn read<T: Clone>(
    newest: &Arc<Held>,
    before: Option<&Good<T>>,
    decode: fn(&Held) -> Result<T, ValueError>,
) -> Good<T> {
    let mut held = std::iter::successors(Some(newest), |held| held.below.as_ref());
    let readable = held.find_map(|held| Some((decode(held).ok()?, held.clone())));
    // An override that ended does not come back.
    let is_kept = |good: &&(T, Arc<Held>)| good.1.origin != Origin::Override;
    readable.or_else(|| before?.as_ref().filter(is_kept).cloned())
}

/// How the flags are made of the keys below a prefix. A flag that cannot be read is no matter of the others, and so none of
/// the handle of all of them.
pub(super) struct Below;

impl Source<Flags> for Below {
    fn offer(&self, cell: &Cell<Flags>, snapshot: &Snapshot, changed: &Changed) {
        if !snapshot.covers(&cell.key) {
            cell.unknown();
            return; // The prefix is still to be joined.
        }
        if snapshot.denies(&cell.key) {
            return cell.absent(Unavailable::Denied { key: shown(&cell.key).to_string() });
        }
        let before = cell.value.load_full();
        let after = match (changed, &before) {
            (Changed::Keys(keys), Some(before)) => before.with(snapshot, &cell.key, keys),
            _ => before.unwrap_or_default().all_of(snapshot, &cell.key),
        };
        let (revision, origin) = (snapshot.known_revision(), snapshot.origin_below(&cell.key));
        cell.accept(after, |report| (report.revision, report.origin) = (revision, origin));
    }
}
