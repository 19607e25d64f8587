//! The store `memory`: settings in this process, gone with it.
//!
//! Its identity is drawn anew with each store, so no position of an earlier run is ever taken for one of its
//! own. It keeps no history beyond the positions that it remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use datastream::position::Position;
use tokio::sync::Notify;

use crate::store::{
    Action, Batch, Change, Commit, CommitError, Effect, Held, Operation, Refused, Retention, Since, Snapshot,
    Store, StoreError,
};

/// A store in memory.
///
/// All methods are quick and none waits. Nothing survives the process.
#[derive(Debug)]
pub struct MemoryStore {
    history: Mutex<History>,
    bell: Notify,
}

impl MemoryStore {
    /// An empty store, with an identity of its own.
    #[must_use]
    pub fn new() -> Self {
        Self { history: Mutex::new(History::new()), bell: Notify::new() }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nothing panics while it holds this lock")
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(self.history().snapshot())
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        Ok(self.history().since(after))
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let position = self.history().commit(&commit.operations)?;
        self.bell.notify_one();
        Ok(position)
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        let seeded = self.history().seed(commit.operations)?;
        self.bell.notify_one();
        Ok(seeded)
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        Ok(self.history().compact(retention))
    }

    async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// What the lock protects.
#[derive(Debug)]
struct History {
    identity: [u8; 8],
    seeded: bool,
    compacted_to: u64,
    /// The end of each commit that is remembered: its token, and when it was made. Never empty.
    positions: BTreeMap<u64, (Bytes, SystemTime)>,
    /// The latest change of each key, remembered tombstones included.
    latest: BTreeMap<Arc<str>, Latest>,
    /// The same above `compacted_to`, by revision: what was superseded is not kept.
    log: BTreeMap<u64, Change>,
}

#[derive(Debug)]
struct Latest {
    change: Change,
    /// The revision at which the commit of this change ended.
    commit: u64,
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            identity: fastrand::u64(..).to_be_bytes(),
            seeded: false,
            compacted_to: 0,
            positions: BTreeMap::new(),
            latest: BTreeMap::new(),
            log: BTreeMap::new(),
        };
        history.end_commit(1, SystemTime::now());
        history
    }

    /// Revisions are never reused: the newest position is kept by every compaction.
    fn revision(&self) -> u64 {
        *self.positions.last_key_value().expect("the newest position is always kept").0
    }

    fn head(&self) -> Position {
        self.position(self.revision())
    }

    /// The position at which a commit ended, without a token if it is forgotten.
    fn position(&self, revision: u64) -> Position {
        let token = self.positions.get(&revision).map(|(token, _)| token.clone()).unwrap_or_default();
        Position { revision, token }
    }

    fn end_commit(&mut self, revision: u64, time: SystemTime) {
        let drawn = fastrand::u64(..).to_be_bytes();
        let token = Bytes::from([self.identity, drawn].concat());
        self.positions.insert(revision, (token, time));
    }

    fn positions_from(&self, revision: u64) -> Vec<Position> {
        let kept = self.positions.range(revision..);
        kept.map(|(&revision, (token, _))| Position { revision, token: token.clone() }).collect()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            position: self.head(),
            compacted_to: self.compacted_to,
            positions: self.positions_from(0),
            changes: self.latest.values().map(|latest| latest.change.clone()).collect(),
        }
    }

    fn since(&self, after: &Position) -> Since {
        let known = self.positions.get(&after.revision).is_some_and(|(token, _)| *token == after.token);
        if !known || after.revision < self.compacted_to {
            return Since::Replaced;
        }
        Since::Changes(Batch {
            position: self.head(),
            compacted_to: self.compacted_to,
            positions: self.positions_from(after.revision + 1),
            changes: self.log.range(after.revision + 1..).map(|(_, change)| change.clone()).collect(),
        })
    }

    /// Decides every operation before it applies the first, so that a refusal leaves no trace.
    fn commit(&mut self, operations: &[Operation]) -> Result<Position, Refused> {
        let effects =
            operations.iter().map(|operation| self.decide(operation)).collect::<Result<Vec<_>, _>>()?;
        let written = effects.iter().filter(|effect| !matches!(effect, Effect::Stands)).count() as u64;
        if written == 0 {
            return Ok(self.standing(operations));
        }
        let (first, time) = (self.revision() + 1, SystemTime::now());
        let commit = first + written - 1;
        let changed = operations.iter().zip(effects).filter_map(|(operation, effect)| match effect {
            Effect::Write(stored) => Some((operation.key.clone(), Some(stored))),
            Effect::Remove => Some((operation.key.clone(), None)),
            Effect::Stands => None,
        });
        for (revision, (key, value)) in (first..).zip(changed) {
            let change = Change { key: key.clone(), revision, time, value, too_large: None };
            self.log.insert(revision, change.clone());
            if let Some(old) = self.latest.insert(key, Latest { change, commit }) {
                self.log.remove(&old.change.revision);
            }
        }
        self.end_commit(commit, time);
        Ok(self.head())
    }

    fn decide(&self, operation: &Operation) -> Result<Effect, Refused> {
        let held = self
            .latest
            .get(&operation.key)
            .map(|Latest { change, .. }| Held { value: change.value.clone(), revision: change.revision });
        operation.decide(held.as_ref())
    }

    /// Where the newest of the commits ended whose work `operations` found standing.
    fn standing(&self, operations: &[Operation]) -> Position {
        let wrote = operations.iter().map(|operation| Some(self.latest.get(&operation.key)?.commit));
        // That a key never was is true only as of the head.
        let newest = wrote.collect::<Option<Vec<_>>>().and_then(|commits| commits.into_iter().max());
        newest.map_or_else(|| self.head(), |commit| self.position(commit))
    }

    fn seed(&mut self, mut operations: Vec<Operation>) -> Result<bool, Refused> {
        if self.seeded {
            return Ok(false);
        }
        operations.retain(|operation| {
            let live = self.latest.get(&operation.key).is_some_and(|latest| latest.change.value.is_some());
            matches!(operation.action, Action::Put { .. }) && !live
        });
        self.commit(&operations)?;
        self.seeded = true;
        Ok(true)
    }

    fn compact(&mut self, retention: Retention) -> u64 {
        let now = SystemTime::now();
        let newest = self.revision();
        let mut excess = (self.positions.len() as u64).saturating_sub(retention.max_positions.max(1));
        while let Some(entry) = self.positions.first_entry() {
            // A position from the future, by a clock that was set back since, has no age yet.
            let age = now.duration_since(entry.get().1).unwrap_or_default();
            if *entry.key() == newest || (excess == 0 && age < retention.positions) {
                break;
            }
            excess = excess.saturating_sub(1);
            self.compacted_to = *entry.key();
            entry.remove();
        }
        let compacted_to = self.compacted_to;
        self.log = self.log.split_off(&(compacted_to + 1));
        self.latest
            .retain(|_, latest| latest.change.value.is_some() || latest.change.revision > compacted_to);
        compacted_to
    }
}
