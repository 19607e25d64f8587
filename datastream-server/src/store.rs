//! The trait of a store, and the words it speaks in.
//!
//! A store keeps the latest value of each key, durably, and numbers every change of it, whoever made it. That
//! is all: prefixes, fan-out, validation, limits, conflation and caching are written once, above this trait.
//!
//! Start with [`Store`]; its documentation speaks to those who implement one and to those who call one. What a
//! put or a delete does to what a store holds is decided by [`Operation::decide`], for all stores alike.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use datastream::position::Position;

pub use crate::history::{HistoryPage, HistoryQuery, Logged, Usage};
pub use crate::operation::{Action, Commit, Effect, Held, Operation, Refused, RequestId};

/// A place where settings live.
///
/// # For implementors
///
/// - Revisions start at 1, the genesis, which holds no change; each change has a higher one than all before
///   it, and none is ever used twice. Their order is the order of commits.
/// - A token is drawn in the transaction of the change itself, so that a copy of the store that goes on by
///   itself has other tokens for the same revisions.
/// - [`changes`](Store::changes) reports what *anybody* wrote, in commit order, and never splits a transaction.
/// - A call may be dropped at any await. A dropped [`commit`](Store::commit) happens wholly or not at all.
///
/// The conformance suite in `datastream_server::testing` states all of this as tests.
///
/// # For callers
///
/// All methods may be called concurrently. None waits for a reader, so a slow one harms nobody.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Everything, as of one position.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read now.
    async fn load(&self) -> Result<Snapshot, StoreError>;

    /// What changed after `after`, or that `after` is no longer part of this store's history.
    ///
    /// Returns at once, with nothing where nothing changed. An error reports no progress: the same call is
    /// made again later.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read now.
    async fn changes(&self, after: &Position) -> Result<Since, StoreError>;

    /// Applies all operations, or none. The result is durable when this returns.
    ///
    /// A commit that changes nothing makes no revision; it returns the position of the commit that wrote what
    /// stands, without a token if that is no longer known. So does one whose [`request`](Commit::request) was applied
    /// before, whatever the store holds by now: it is
    /// remembered in the transaction of the commit, unless that asks for nothing.
    ///
    /// # Errors
    ///
    /// [`CommitError::Refused`] if an operation does not fit what the store holds, [`CommitError::Reused`] if the name of
    /// the request is that of another, [`CommitError::Store`] if the store could not take it.
    async fn commit(&self, commit: Commit) -> Result<Position, CommitError>;

    /// Applies those puts of `commit` whose key the store does not hold, once in the life of the store: later
    /// calls do nothing, whatever was deleted since. Returns whether it did.
    ///
    /// # Errors
    ///
    /// As [`commit`](Store::commit).
    async fn seed(&self, commit: Commit) -> Result<bool, CommitError>;

    /// A part of the history, newest first; `None` if this store keeps none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read now.
    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        let _ = query;
        Ok(None)
    }

    /// What the store keeps beside the settings themselves; `None` if it cannot tell. May cost a walk over all of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read now.
    async fn usage(&self) -> Result<Option<Usage>, StoreError> {
        Ok(None)
    }

    /// The kind of store, in a word, for a status.
    fn kind(&self) -> &'static str {
        "other"
    }

    /// What this store cannot do, because what it keeps the settings in cannot. Always the same answer.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// Looks now at what it otherwise looks at by the clock, such as a remote, and returns when that was done. A store
    /// that sees every change by itself has nothing to do.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not look. What was known stays.
    async fn refresh(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Since when this store has not heard from where its settings come from, if that is longer ago than its first answer in
    /// this process: it then serves a copy that is so old. `None` while it hears from it.
    fn unheard_since(&self) -> Option<SystemTime> {
        None
    }

    /// Forgets the tombstones, the positions, the superseded values and the requests that `retention` lets go. Returns the revision up to which that
    /// happened. The newest position is always kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be written now; nothing is forgotten then.
    async fn compact(&self, retention: Retention) -> Result<u64, StoreError>;

    /// Waits until there may be something new: a doorbell, not a message. It may ring for nothing, and a ring
    /// may be missed (the caller also looks by the clock). Cancel safe: a ring that nobody waited for is kept.
    async fn rung(&self);

    /// What it rang for, where the store has that at hand: it spares the caller [`changes`](Store::changes), and the way
    /// there. `None` where any of the rings since the last call was for something else. Told once, and good only for who
    /// stands at [`News::after`]; all others ask. What others wrote since need not be in it, so that it proves nothing of what
    /// the store holds now.
    fn news(&self) -> Option<News> {
        None
    }

    /// Whether what this store reads is the truth. A replica, or a clone of a remote that is out of reach, may
    /// lag behind it, and then a position above its head proves nothing.
    fn authoritative(&self) -> bool {
        true
    }
}

/// What some stores can do and others cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// A commit of several keys. Without it such a commit is [`CommitError::SeveralKeys`].
    pub batches: bool,
    /// Keys below a key, such as `a/b` beside `a`. Without it such a put is
    /// [`Refused::InTheWay`].
    pub nesting: bool,
    /// Forgetting the history that a [`Retention`] lets go.
    pub forgets_history: bool,
}

impl Default for Abilities {
    /// All of it.
    fn default() -> Self {
        Self { batches: true, nesting: true, forgets_history: true }
    }
}

/// How long a store remembers what is no longer needed to know the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long a position can be resumed from after the next one came, which is as long as a client that held the newest
    /// may be away. Default: one hour.
    pub positions: Duration,
    /// How many positions are kept at most. Default: 100,000 (about 10 MB of memory).
    pub max_positions: u64,
    /// For how long a value stays in the history after it was superseded. Default: 30 days.
    pub history: Duration,
    /// How many values of one key stay in the history at most, the latest among them. Default: 100.
    pub versions: u64,
    /// For how long the name of a commit is remembered, and so for how long a retry of it is safe. Default: one day.
    pub requests: Duration,
    /// How many names are remembered at most. Default: 100,000.
    pub max_requests: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            positions: Duration::from_secs(60 * 60),
            max_positions: 100_000,
            history: Duration::from_secs(30 * 24 * 60 * 60),
            versions: 100,
            requests: Duration::from_secs(24 * 60 * 60),
            max_requests: 100_000,
        }
    }
}

/// The whole content of a store at one position.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where it stands.
    pub position: Position,
    /// The highest revision at or below which a tombstone or a position was forgotten; 0 if none was.
    pub compacted_to: u64,
    /// The positions that are remembered, in ascending order; the last is [`position`](Self::position).
    pub positions: Vec<Position>,
    /// The latest change of each key, remembered tombstones included, in any order.
    pub changes: Vec<Change>,
}

/// What came after a position.
#[derive(Clone, Debug)]
pub enum Since {
    /// The same history, gone on.
    Changes(Batch),
    /// The position asked for is not part of this history: the store was replaced, or went back, or forgot it.
    /// The caller loads anew.
    Replaced,
}

/// Changes, in commit order, whole commits only.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where the store stands after them; the position asked for, if there are none.
    pub position: Position,
    /// The revision up to which tombstones and positions are forgotten by now.
    pub compacted_to: u64,
    /// The positions that these changes made, in ascending order.
    pub positions: Vec<Position>,
    /// The changes, ascending. Of a key that changed several times the latest is enough; earlier ones may come
    /// before it.
    pub changes: Vec<Change>,
}

/// What a store tells without being asked.
#[derive(Clone, Debug)]
pub struct News {
    /// Where the store stood before.
    pub after: Position,
    /// All that came after that, up to its position.
    pub batch: Batch,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key, as stored: it may be outside the key grammar, if a foreign writer made it.
    pub key: Arc<str>,
    /// The revision of this change. Where a store commits several keys under one revision, they share it.
    pub revision: u64,
    /// When, by the clock of the writer. For people.
    pub time: SystemTime,
    /// What was written; `None` for a deletion.
    pub value: Option<Stored>,
    /// The size in bytes of a value that was left out because it is too large to be served
    /// ([`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES)); `value` is `None` then.
    pub too_large: Option<u64>,
}

/// A value, as a store keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// The text, as it was written.
    pub value: Bytes,
    /// The name of the type, as it was written.
    pub value_type: Arc<str>,
}

impl std::fmt::Debug for Stored {
    /// Shows type and length; a value never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.value_type, self.value.len())
    }
}

/// What a store meant when it failed.
type Cause = Box<dyn StdError + Send + Sync>;

/// Why a store could not do what it was asked, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Busy, locked, out of reach: the same call may succeed later.
    #[error("the store is not available now")]
    Unavailable(#[source] Cause),
    /// No space. Reads go on; writes succeed again when there is room.
    #[error("the store is full")]
    Full(#[source] Cause),
    /// The store may be read but not written.
    #[error("the store is read-only")]
    ReadOnly(#[source] Cause),
    /// What the store holds is damaged.
    #[error("the store is damaged")]
    Corrupt(#[source] Cause),
}

/// Why a commit was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// An operation does not fit what the store holds, or is wrong by itself.
    #[error("{why}")]
    Refused {
        /// The key that it is about; `None` where the store refuses a commit as a whole.
        key: Option<Arc<str>>,
        /// What is wrong.
        #[source]
        why: Refused,
    },
    /// It is about several keys, and this store could not keep it whole: it takes one key at a time
    /// ([`Abilities::batches`]).
    #[error("this store takes one key in a commit")]
    SeveralKeys,
    /// The name of the request was used for another one.
    #[error("this request_id was used for another commit")]
    Reused,
    /// The store could not take it. After [`StoreError::Unavailable`] it is not known whether it did.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refused> for CommitError {
    fn from(why: Refused) -> Self {
        Self::Refused { key: None, why }
    }
}

impl CommitError {
    /// The same, of an operation on `key`.
    #[must_use]
    pub fn of(self, key: &Arc<str>) -> Self {
        match self {
            Self::Refused { why, .. } => Self::Refused { key: Some(key.clone()), why },
            other => other,
        }
    }
}
