//! A store that shows a head of the oracle: the primary, or a replica that may lag behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use datastream::position::Position;
use datastream_server::store::{
    Batch, Change, Commit, CommitError, Effect, Held, Operation, Refused, Retention, Since, Snapshot, Store,
    StoreError, Stored,
};

use super::oracle::{KEYS, Key, Latest, Oracle, Text};

/// The oracle, and what the stores show of it.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) oracle: Oracle,
    pub(crate) primary: View,
    pub(crate) replica: View,
    /// The commits that were made under a name. A copy that is older than one does not know its name.
    pub(crate) named: HashMap<Arc<str>, usize>,
}

/// What one store shows.
#[derive(Clone, Copy, Default)]
pub(crate) struct View {
    pub(crate) head: usize,
    pub(crate) compacted_to: u64,
    /// Whether it cannot be read now.
    pub(crate) is_out: bool,
}

/// Which of the two stores of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    Replica,
}

pub(crate) struct ModelStore {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) role: Role,
}

/// A panic of a law leaves the world as it is; nobody goes on after it.
pub(crate) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn view(&self, role: Role) -> View {
        match role {
            Role::Primary => self.primary,
            Role::Replica => self.replica,
        }
    }

    /// Commits to the primary. One that was made before under its name, or changes nothing, is where that was made.
    fn commit(&mut self, commit: &Commit) -> Result<usize, CommitError> {
        let head = self.primary.head;
        let named = commit.request.as_ref().and_then(|request| self.named.get(&request.id));
        if let Some(made) = named.filter(|made| self.oracle.descends(head, **made)) {
            return Ok(*made);
        }
        let decided = commit.operations.iter().map(|operation| {
            let effect = operation.decide(self.held(&operation.key).as_ref());
            effect.map(|effect| (operation, effect)).map_err(|why| refused(operation, why))
        });
        let decided = decided.collect::<Result<Vec<_>, _>>()?;
        let writes: Vec<_> =
            decided.iter().filter_map(|(operation, effect)| write(operation, effect)).collect();
        if writes.is_empty() {
            let revisions = commit.operations.iter().filter_map(|operation| self.held(&operation.key));
            let newest = revisions.map(|held| held.revision).max().unwrap_or_default();
            let line = self.oracle.line(head).take_while(|id| self.position(*id).revision >= newest);
            return Ok(line.last().unwrap_or(head));
        }
        self.primary.head = self.oracle.commit(head, writes);
        let name = commit.request.iter().map(|request| (request.id.clone(), self.primary.head));
        self.named.extend(name);
        Ok(self.primary.head)
    }

    fn held(&self, key: &str) -> Option<Held> {
        let latest = self.oracle.get(self.primary.head).latest.get(key)?;
        Some(Held { value: latest.text.as_ref().map(stored), is_left_out: false, revision: latest.revision })
    }

    fn position(&self, id: usize) -> &Position {
        &self.oracle.get(id).position
    }

    /// The positions that `view` remembers after `revision`, ascending. The head is never forgotten.
    fn remembered(&self, view: View, revision: u64) -> Vec<Position> {
        let line = self.oracle.line(view.head).map(|id| self.position(id).clone());
        let head = self.position(view.head).revision;
        let kept =
            line.take_while(|position| position.revision > view.compacted_to || position.revision == head);
        let mut kept: Vec<_> = kept.filter(|position| position.revision > revision).collect();
        kept.reverse();
        kept
    }

    /// Whether `position` belongs to the history that `view` shows, and is not forgotten.
    pub(crate) fn remembers(&self, view: View, position: &Position) -> bool {
        self.remembered(view, 0).contains(position)
    }

    fn load(&self, view: View) -> Snapshot {
        let latest = &self.oracle.get(view.head).latest;
        let kept = |latest: &Latest| latest.text.is_some() || latest.revision > view.compacted_to;
        Snapshot {
            position: self.position(view.head).clone(),
            compacted_to: view.compacted_to,
            positions: self.remembered(view, 0),
            changes: latest.iter().filter(|(_, latest)| kept(latest)).map(change).collect(),
        }
    }

    fn changes(&self, view: View, after: &Position) -> Since {
        if !self.remembers(view, after) {
            return Since::Replaced;
        }
        let mut changes: Vec<_> = self
            .oracle
            .line(view.head)
            .take_while(|&id| self.position(id).revision > after.revision)
            .flat_map(|id| self.made_by(id))
            .collect();
        changes.sort_by_key(|change| change.revision);
        let positions = self.remembered(view, after.revision);
        let position = self.position(view.head).clone();
        Since::Changes(Batch { position, compacted_to: view.compacted_to, positions, changes })
    }

    fn made_by(&self, id: usize) -> impl Iterator<Item = Change> {
        let commit = self.oracle.get(id);
        let before = commit.parent.map_or(0, |parent| self.position(parent).revision);
        commit.latest.iter().filter(move |(_, latest)| latest.revision > before).map(change)
    }
}

fn refused(operation: &Operation, why: Refused) -> CommitError {
    CommitError::from(why).of(&operation.key)
}

/// What an operation comes to, in the words of the oracle.
fn write(operation: &Operation, effect: &Effect) -> Option<(Key, Option<Text>)> {
    let key = KEYS.into_iter().find(|key| **key == *operation.key).expect("it is a key of the model");
    match effect {
        Effect::Stands => None,
        Effect::Remove => Some((key, None)),
        Effect::Write(stored) => {
            let text = String::from_utf8(stored.value.to_vec()).expect("all values of the model are text");
            Some((key, Some((text, if &*stored.value_type == "int" { "int" } else { "string" }))))
        }
    }
}

fn stored((value, value_type): &Text) -> Stored {
    Stored { value: value.clone().into(), value_type: Arc::from(*value_type) }
}

fn change((key, latest): (&Key, &Latest)) -> Change {
    let value = latest.text.as_ref().map(stored);
    Change {
        key: Arc::from(*key),
        revision: latest.revision,
        time: SystemTime::UNIX_EPOCH,
        value,
        too_large: None,
    }
}

impl ModelStore {
    fn read<T>(&self, read: impl FnOnce(&World, View) -> T) -> Result<T, StoreError> {
        let world = lock(&self.world);
        let view = world.view(self.role);
        if view.is_out {
            return Err(StoreError::Unavailable("out of reach".into()));
        }
        Ok(read(&world, view))
    }
}

#[async_trait]
impl Store for ModelStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.read(World::load)
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.read(|world, view| world.changes(view, after))
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let world = &mut *lock(&self.world);
        let out = || "out of reach".into();
        match self.role {
            _ if world.view(self.role).is_out => Err(StoreError::Unavailable(out()).into()),
            Role::Replica => Err(StoreError::ReadOnly(out()).into()),
            Role::Primary => world.commit(&commit).map(|made| world.position(made).clone()),
        }
    }

    async fn seed(&self, _: Commit) -> Result<bool, CommitError> {
        unreachable!("the history commits in the world")
    }

    async fn compact(&self, _: Retention) -> Result<u64, StoreError> {
        // Whoever runs the world compacts.
        self.read(|_, view| view.compacted_to)
    }

    async fn rung(&self) {
        std::future::pending().await
    }

    fn authoritative(&self) -> bool {
        self.role == Role::Primary
    }
}
