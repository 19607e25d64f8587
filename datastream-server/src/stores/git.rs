//! The store `git`: a branch of a repository. A key is a path, its value what the file there holds at the head of the branch.
//!
//! The branch is the truth: what anybody commits to it is a change, and each commit of it, followed by first parents, is one
//! revision. A commit of this server is a commit there, acknowledged when the branch has it. Nothing is ever checked out: git
//! itself reads and writes the objects, and runs nothing of what is in them.
//!
//! The straight line of a change: `follow` wakes, `branch` looks where the branch stands and lists what is new (`log`), reads
//! the files that it touches (`object`), and `known` has the next state.

mod address;
mod branch;
mod command;
mod commit;
mod error;
mod follow;
mod known;
mod log;
mod object;
mod origin;
mod past;
mod request;
mod skipped;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use datastream::position::Position;
use tokio::task::JoinSet;

pub use self::address::Address;
use self::branch::Branch;
pub use self::error::OpenError;
use self::follow::Watch;
use self::origin::Origin;
use crate::store::{
    Abilities, Action, Commit, CommitError, HistoryPage, HistoryQuery, Retention, Since, Snapshot, Store,
    StoreError,
};

/// A branch of a git repository, as a store.
///
/// Needs the program `git`, 2.36 or newer. All that a branch holds at its head is in memory, up to
/// [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES) of a file, and the names of its commits. What is no regular file with a path in
/// UTF-8 is named once in the log and not served.
///
/// A file has the type that `.datastream.toml` says, else that of its extension, else `text/plain`. A put that says another
/// one writes that file too.
pub struct GitStore {
    branch: Arc<Branch>,
    /// The tasks end with the store.
    _tasks: JoinSet<()>,
    _watch: Option<Watch>,
}

impl GitStore {
    /// Opens the repository, or the mirror of a remote one, and follows its branch until it is dropped.
    ///
    /// A remote that cannot be reached is no error where there is a mirror from before: that is served, with its age.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which says what to do.
    pub async fn open(address: &Address) -> Result<Self, OpenError> {
        let place = address.to_string();
        let (origin, is_heard) = Origin::open(address).await?;
        let branch =
            Branch::read(origin, is_heard).await.map_err(|failure| OpenError::of(failure, &place))?;
        let branch = Arc::new(branch);
        let watch = follow::watch(&branch);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::follow(branch.clone(), address.poll));
        Ok(Self { branch, _tasks: tasks, _watch: watch })
    }
}

#[async_trait]
impl Store for GitStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(self.branch.known().snapshot())
    }

    /// What this server knows; whether the remote has more, its follower looks.
    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        if self.branch.origin.remote.is_none() {
            self.branch.look().await?;
        }
        Ok(self.branch.known().since(after))
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let branch = self.branch.clone();
        // Whoever loses interest before it is his turn wrote nothing: a remote that hangs for an hour leaves no queue behind.
        let turn = branch.writing.clone().lock_owned().await;
        // On a task of its own: whoever asks may lose interest, and the commit is made all the same.
        let made = tokio::spawn(async move {
            let _turn = turn;
            branch.commit(&commit).await
        });
        let made = made.await;
        made.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))
    }

    /// That it was done is a commit of the branch.
    async fn seed(&self, mut seed: Commit) -> Result<bool, CommitError> {
        self.branch.look().await.map_err(StoreError::from)?;
        let named = seed.request.get_or_insert_with(request::seed).clone();
        let is_done = {
            let known = self.branch.known();
            seed.operations.retain(|operation| {
                matches!(operation.action, Action::Put { .. }) && known.file(&operation.key).is_none()
            });
            known.requests.applied(&named)?.is_some()
        };
        if is_done {
            return Ok(false);
        }
        self.commit(seed).await?;
        Ok(true)
    }

    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        Ok(Some(self.branch.history(&query).await?))
    }

    fn kind(&self) -> &'static str {
        if self.branch.origin.remote.is_some() { "git (remote)" } else { "git" }
    }

    /// A repository keeps what was committed to it.
    fn abilities(&self) -> Abilities {
        Abilities { nesting: false, forgets_history: false, ..Abilities::default() }
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let branch = self.branch.clone();
        // On a task of its own: others may wait for the same look, and a git that is ended half-way may leave a lock.
        let looked = tokio::spawn(async move { branch.look().await }).await;
        Ok(looked.map_err(|error| StoreError::Unavailable(error.into()))??)
    }

    fn unheard_since(&self) -> Option<SystemTime> {
        self.branch.unheard_since()
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.branch.origin.tidy().await;
        Ok(self.branch.known().compact(retention))
    }

    async fn rung(&self) {
        self.branch.bell.notified().await;
    }

    fn authoritative(&self) -> bool {
        self.branch.unheard_since().is_none()
    }
}
