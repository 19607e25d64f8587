//! A store that shows a head of the oracle: the primary, or a replica that may lag behind it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use datastream::position::Position;
use datastream_server::store::{
    Batch, Change, Commit, CommitError, Retention, Since, Snapshot, Store, StoreError, Stored,
};

use super::oracle::{Key, Latest, Oracle};

/// The oracle, and what the stores show of it.
#[derive(Default)]
pub(super) struct World {
    pub(super) oracle: Oracle,
    pub(super) primary: View,
    pub(super) replica: View,
}

/// What one store shows.
#[derive(Clone, Copy, Default)]
pub(super) struct View {
    pub(super) head: usize,
    pub(super) compacted_to: u64,
    /// Whether it cannot be read now.
    pub(super) is_out: bool,
}

/// Which of the two stores of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Replica,
}

pub(super) struct ModelStore {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) role: Role,
}

/// A panic of a law leaves the world as it is; nobody goes on after it.
pub(super) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn view(&self, role: Role) -> View {
        match role {
            Role::Primary => self.primary,
            Role::Replica => self.replica,
        }
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
    pub(super) fn remembers(&self, view: View, position: &Position) -> bool {
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

fn change((key, latest): (&Key, &Latest)) -> Change {
    let stored = |(value, value_type): &(String, &'static str)| Stored {
        value: value.clone().into(),
        value_type: Arc::from(*value_type),
    };
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

    async fn commit(&self, _: Commit) -> Result<Position, CommitError> {
        unreachable!("the history commits in the world")
    }

    async fn seed(&self, _: Commit) -> Result<bool, CommitError> {
        unreachable!("the history commits in the world")
    }

    async fn compact(&self, _: Retention) -> Result<u64, StoreError> {
        unreachable!("the history compacts in the world")
    }

    async fn rung(&self) {
        std::future::pending().await
    }

    fn authoritative(&self) -> bool {
        self.role == Role::Primary
    }
}
