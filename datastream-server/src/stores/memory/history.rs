//! What a store in memory knows: the present, and what was.

#[cfg(feature = "postgres")]
use std::collections::BTreeSet;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use datastream::key::Selector;
use datastream::position::Position;

use crate::store::{
    Action, Batch, Change, Commit, CommitError, Effect, Held, HistoryPage, HistoryQuery, Logged, Operation,
    RequestId, Retention, Since, Snapshot, Stored, Usage,
};

/// How many changes of one key are kept at most, however much time passes between two compactions.
const VERSIONS: usize = 100;

/// What the lock protects.
#[derive(Debug)]
pub(super) struct History {
    identity: [u8; 8],
    seeded: bool,
    compacted_to: u64,
    /// The end of each commit that is remembered: its token, and when it was made. Never empty.
    positions: BTreeMap<u64, (Bytes, SystemTime)>,
    /// The latest change of each key, remembered tombstones included.
    latest: BTreeMap<Arc<str>, Latest>,
    /// The changes, by revision, those that were superseded among them.
    log: BTreeMap<u64, Row>,
    /// The revisions of each key in the log, ascending.
    versions: HashMap<Arc<str>, VecDeque<u64>>,
    /// What was applied under a name: the digest, and the revision at which its commit ended.
    requests: HashMap<Arc<str>, (u64, u64)>,
    /// Their names with the time, oldest first.
    named: VecDeque<(Arc<str>, SystemTime)>,
}

/// A change in the log.
#[derive(Debug)]
struct Row {
    change: Change,
    /// When it was seen, by which it grows old: its own time may lie anywhere.
    seen: SystemTime,
    /// The revision at which its commit ended.
    commit: u64,
    author: Arc<str>,
    message: Arc<str>,
}

/// What a key is to hold.
#[derive(Debug)]
pub(in crate::stores) struct Written {
    pub(in crate::stores) key: Arc<str>,
    /// `None` for a deletion, and for a value that is too large.
    pub(in crate::stores) value: Option<Stored>,
    /// The size of a value that is left out.
    pub(in crate::stores) too_large: Option<u64>,
    /// When it was written; `None` for now.
    pub(in crate::stores) time: Option<SystemTime>,
}

impl Written {
    fn of(key: Arc<str>, value: Option<Stored>) -> Self {
        Self { key, value, too_large: None, time: None }
    }

    /// That `key` is gone, since who knows when.
    #[cfg(any(feature = "directory", feature = "object"))]
    pub(in crate::stores) fn gone(key: Arc<str>) -> Self {
        Self::of(key, None)
    }
}

#[derive(Debug)]
struct Latest {
    change: Change,
    /// The revision at which the commit of this change ended.
    commit: u64,
}

impl Latest {
    /// Whether the key is, although its value may be left out.
    fn is_there(&self) -> bool {
        self.change.value.is_some() || self.change.too_large.is_some()
    }
}

impl History {
    /// An empty one, which begins at `genesis`.
    pub(super) fn new(genesis: u64) -> Self {
        let mut history = Self {
            identity: fastrand::u64(..).to_be_bytes(),
            seeded: false,
            compacted_to: 0,
            positions: BTreeMap::new(),
            latest: BTreeMap::new(),
            log: BTreeMap::new(),
            versions: HashMap::new(),
            requests: HashMap::new(),
            named: VecDeque::new(),
        };
        history.end_commit(genesis, SystemTime::now());
        history
    }

    /// Revisions are never reused: the newest position is kept by every compaction.
    pub(super) fn revision(&self) -> u64 {
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

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            position: self.head(),
            compacted_to: self.compacted_to,
            positions: self.positions_from(0),
            changes: self.latest.values().map(|latest| latest.change.clone()).collect(),
        }
    }

    pub(super) fn since(&self, after: &Position) -> Since {
        let known = self.positions.get(&after.revision).is_some_and(|(token, _)| *token == after.token);
        if !known || after.revision < self.compacted_to {
            return Since::Replaced;
        }
        Since::Changes(Batch {
            position: self.head(),
            compacted_to: self.compacted_to,
            positions: self.positions_from(after.revision + 1),
            changes: self.log.range(after.revision + 1..).map(|(_, row)| row.change.clone()).collect(),
        })
    }

    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Position, CommitError> {
        if let Some(position) = self.applied(commit.request.as_ref())? {
            return Ok(position);
        }
        let position = self.apply(commit)?;
        if let Some(request) = commit.request.as_ref().filter(|_| !commit.operations.is_empty()) {
            self.remember(request, position.revision);
        }
        Ok(position)
    }

    /// Where the commit of this request ended, if it was made before.
    pub(super) fn applied(&self, request: Option<&RequestId>) -> Result<Option<Position>, CommitError> {
        let Some(request) = request else { return Ok(None) };
        match self.requests.get(&request.id) {
            Some((digest, _)) if *digest != request.digest => Err(CommitError::Reused),
            Some((_, revision)) => Ok(Some(self.position(*revision))),
            None => Ok(None),
        }
    }

    /// Decides every operation before it applies the first, so that a refusal leaves no trace.
    fn apply(&mut self, commit: &Commit) -> Result<Position, CommitError> {
        let effects = commit.operations.iter().map(|operation| self.decide(operation));
        let effects = effects.collect::<Result<Vec<_>, CommitError>>()?;
        if effects.iter().all(|effect| matches!(effect, Effect::Stands)) {
            return Ok(self.standing(&commit.operations));
        }
        let changed = commit.operations.iter().zip(effects).filter_map(|(operation, effect)| match effect {
            Effect::Write(stored) => Some(Written::of(operation.key.clone(), Some(stored))),
            Effect::Remove => Some(Written::of(operation.key.clone(), None)),
            Effect::Stands => None,
        });
        Ok(self.record(changed.collect(), &commit.author, &commit.message))
    }

    /// Makes one commit of what differs from what is known, where `rows` is all that there is. Returns whether there was
    /// any.
    #[cfg(feature = "postgres")]
    pub(super) fn mirror(&mut self, rows: Vec<Written>) -> bool {
        let known = self.latest.iter().filter(|(_, latest)| latest.is_there());
        let mut gone: BTreeSet<Arc<str>> = known.map(|(key, _)| key.clone()).collect();
        rows.iter().for_each(|row| _ = gone.remove(&row.key));
        self.absorb(rows.into_iter().chain(gone.into_iter().map(|key| Written::of(key, None))).collect())
    }

    /// Makes one commit of those of `rows` that differ from what is known. Returns whether there was any.
    #[cfg(any(feature = "directory", feature = "object", feature = "postgres"))]
    pub(super) fn absorb(&mut self, mut rows: Vec<Written>) -> bool {
        rows.retain(|row| match self.latest.get(&row.key).map(|latest| &latest.change) {
            Some(known) => known.value != row.value || known.too_large != row.too_large,
            None => row.value.is_some() || row.too_large.is_some(),
        });
        let is_changed = !rows.is_empty();
        if is_changed {
            self.record(rows, "", "");
        }
        is_changed
    }

    #[cfg(feature = "testing")]
    pub(super) fn overwrite(&mut self, key: &str, value: Option<Stored>) -> Option<Stored> {
        let before = self.standing_at(key);
        self.record(vec![Written::of(key.into(), value)], "", "");
        before
    }

    #[cfg(feature = "testing")]
    pub(super) fn standing_at(&self, key: &str) -> Option<Stored> {
        self.latest.get(key)?.change.value.clone()
    }

    #[cfg(feature = "testing")]
    pub(super) fn begin_anew(&mut self) {
        let latest = std::mem::replace(self, Self::new(1)).latest;
        let values = latest.into_iter().filter(|(_, latest)| latest.change.value.is_some());
        let rows: Vec<_> = values.map(|(key, latest)| Written::of(key, latest.change.value)).collect();
        if !rows.is_empty() {
            self.record(rows, "", "");
        }
    }

    /// Makes one commit of changes, of which there is one at least.
    fn record(&mut self, changed: Vec<Written>, author: &str, message: &str) -> Position {
        let (first, now) = (self.revision() + 1, SystemTime::now());
        let end = first + changed.len() as u64 - 1;
        let (author, message): (Arc<str>, Arc<str>) = (author.into(), message.into());
        for (revision, Written { key, value, too_large, time }) in (first..).zip(changed) {
            let change = Change { key: key.clone(), revision, time: time.unwrap_or(now), value, too_large };
            let (author, message) = (author.clone(), message.clone());
            let row = Row { change: change.clone(), seen: now, commit: end, author, message };
            self.log.insert(revision, row);
            self.versions.entry(key.clone()).or_default().push_back(revision);
            self.keep_versions(&key, VERSIONS);
            self.latest.insert(key, Latest { change, commit: end });
        }
        self.end_commit(end, now);
        self.head()
    }

    /// Forgets all but the newest changes of `key`.
    fn keep_versions(&mut self, key: &str, most: usize) {
        let Some(versions) = self.versions.get_mut(key) else { return };
        let excess = versions.len().saturating_sub(most.max(1));
        for revision in versions.drain(..excess) {
            self.log.remove(&revision);
        }
    }

    pub(super) fn page(&self, query: &HistoryQuery) -> HistoryPage {
        let before = query.before.as_ref().map_or(u64::MAX, |(revision, _)| *revision);
        let none = VecDeque::new();
        let asked: Box<dyn Iterator<Item = &Row>> = match &query.of {
            Some(Selector::Key(key)) => {
                let versions = self.versions.get(key).unwrap_or(&none).iter().rev();
                Box::new(
                    versions.filter(move |revision| **revision < before).filter_map(|at| self.log.get(at)),
                )
            }
            _ => {
                let rows = self.log.range(..before).rev().map(|(_, row)| row);
                Box::new(rows.filter(|row| query.matches(&row.change.key)))
            }
        };
        let logged = asked.map(|row| {
            let (author, message) = (row.author.to_string(), row.message.to_string());
            let (change, position) = (row.change.clone(), self.position(row.commit));
            Ok::<_, Infallible>(Logged { change, position, author, message })
        });
        query.page(logged).unwrap_or_else(|never| match never {})
    }

    pub(super) fn usage(&self) -> Usage {
        let value = |row: &Row| row.change.value.as_ref().map_or(0, |stored| stored.value.len());
        let row = |row: &Row| row.change.key.len() + value(row) + size_of::<Row>();
        let rows = self.log.values().map(row);
        let requests = self.named.len() * size_of::<(Arc<str>, u64, u64, SystemTime)>();
        let positions = self.positions.len() * size_of::<(u64, Bytes, SystemTime)>();
        Usage { changes: self.log.len() as u64, bytes: (rows.sum::<usize>() + positions + requests) as u64 }
    }

    pub(super) fn decide(&self, operation: &Operation) -> Result<Effect, CommitError> {
        let held = self.latest.get(&operation.key).map(|Latest { change, .. }| Held {
            value: change.value.clone(),
            is_left_out: change.too_large.is_some(),
            revision: change.revision,
        });
        operation.decide(held.as_ref()).map_err(|why| CommitError::from(why).of(&operation.key))
    }

    /// Notes under the name of a request that `key` was changed to `value` after the revision `after`, if it was. Returns
    /// where that commit ended.
    #[cfg(any(feature = "directory", feature = "object"))]
    pub(super) fn find(
        &mut self,
        request: &RequestId,
        key: &str,
        after: u64,
        value: Option<&Stored>,
    ) -> Option<Position> {
        let later = self.versions.get(key)?.iter().filter(|revision| **revision > after);
        let row = later
            .filter_map(|revision| self.log.get(revision))
            .find(|row| row.change.value.as_ref() == value)?;
        let commit = row.commit;
        self.remember(request, commit);
        Some(self.position(commit))
    }

    fn remember(&mut self, request: &RequestId, revision: u64) {
        self.requests.insert(request.id.clone(), (request.digest, revision));
        self.named.push_back((request.id.clone(), SystemTime::now()));
    }

    /// The revision of a key that is there, 0 of one that is not.
    #[cfg(any(feature = "directory", feature = "object"))]
    pub(super) fn revision_of(&self, key: &str) -> u64 {
        let there = self.latest.get(key).filter(|latest| latest.is_there());
        there.map_or(0, |latest| latest.change.revision)
    }

    /// Where the newest of the commits ended whose work `operations` found standing.
    fn standing(&self, operations: &[Operation]) -> Position {
        let wrote = operations.iter().map(|operation| Some(self.latest.get(&operation.key)?.commit));
        // That a key never was is true only as of the head.
        let newest = wrote.collect::<Option<Vec<_>>>().and_then(|commits| commits.into_iter().max());
        newest.map_or_else(|| self.head(), |commit| self.position(commit))
    }

    pub(super) fn seed(&mut self, mut seed: Commit) -> Result<bool, CommitError> {
        if self.seeded {
            return Ok(false);
        }
        seed.operations.retain(|operation| {
            let live = self.latest.get(&operation.key).is_some_and(|latest| latest.change.value.is_some());
            matches!(operation.action, Action::Put { .. }) && !live
        });
        self.commit(&seed)?;
        self.seeded = true;
        Ok(true)
    }

    pub(super) fn compact(&mut self, retention: Retention) -> u64 {
        let now = SystemTime::now();
        self.forget_positions(retention, now);
        let compacted_to = self.compacted_to;
        self.latest.retain(|_, latest| latest.is_there() || latest.change.revision > compacted_to);
        self.forget_history(retention, now);
        compacted_to
    }

    /// A position grows old from when the next one came: until then it was the newest, and everybody may hold it.
    fn forget_positions(&mut self, retention: Retention, now: SystemTime) {
        let mut excess = (self.positions.len() as u64).saturating_sub(retention.max_positions.max(1));
        while let Some((_, next)) = self.positions.values().nth(1) {
            // What came in the future, by a clock that was set back since, has no age yet.
            let age = now.duration_since(*next).unwrap_or_default();
            if excess == 0 && age < retention.positions {
                break;
            }
            excess = excess.saturating_sub(1);
            if let Some((oldest, _)) = self.positions.pop_first() {
                self.compacted_to = oldest;
            }
        }
    }

    /// A tombstone goes last of its key.
    fn forget_history(&mut self, retention: Retention, now: SystemTime) {
        let is_old = |time: SystemTime| now.duration_since(time).unwrap_or_default() >= retention.history;
        let most = usize::try_from(retention.versions).unwrap_or(usize::MAX);
        let keys: Vec<_> = self.versions.keys().cloned().collect();
        for key in keys {
            self.keep_versions(&key, most);
            let (log, latest) = (&mut self.log, &self.latest);
            let Some(versions) = self.versions.get_mut(&key) else { continue };
            while let Some(oldest) = versions.front() {
                // Superseded by the next; the last one is the present, or the end of a key that is gone.
                let ended = match versions.get(1) {
                    Some(next) => log.get(next).map(|row| row.seen),
                    None if latest.contains_key(&key) => None,
                    None => log.get(oldest).map(|row| row.seen),
                };
                if !ended.is_some_and(is_old) {
                    break;
                }
                log.remove(oldest);
                versions.pop_front();
            }
        }
        self.versions.retain(|_, versions| !versions.is_empty());
        let most = usize::try_from(retention.max_requests).unwrap_or(usize::MAX);
        while let Some((name, time)) = self.named.front() {
            if self.named.len() <= most && now.duration_since(*time).unwrap_or_default() < retention.requests
            {
                break;
            }
            self.requests.remove(name);
            self.named.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Everybody held it until then, however long ago it was made.
    #[test]
    fn a_position_that_was_superseded_just_now_is_kept() {
        let mut history = History::new(1);
        let push = |history: &mut History, value: u32| {
            let put = Operation::put("a", "int", value.to_string());
            history.commit(&Commit::one(put)).expect("a commit").revision
        };
        let long = push(&mut history, 1);
        history.positions.values_mut().for_each(|(_, time)| *time -= Duration::from_secs(2 * 60 * 60));
        let just = push(&mut history, 2);
        let head = push(&mut history, 3);
        assert_eq!(history.compact(Retention::default()), 1, "{long} was the newest until just now");
        assert_eq!(history.compact(Retention { max_positions: 2, ..Retention::default() }), long);
        assert_eq!(history.compact(Retention { positions: Duration::ZERO, ..Retention::default() }), just);
        assert_eq!(history.revision(), head);
    }
}
