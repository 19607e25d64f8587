//! What a place that keeps objects can do.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::store::{Refused, StoreError, Stored};

/// A place that keeps objects, one by one, each under a key.
#[async_trait]
pub(in crate::stores) trait Place: Send + Sync + 'static {
    /// What tells one content of an object from another; opaque.
    type Version: Clone + Debug + PartialEq + Send + Sync;
    /// What a commit has for its time, so that of several programs which write here with this code one does at a time.
    type Turn: Send;

    /// How many objects are read at once.
    const READERS: usize;

    /// Every object, as of about now. An error where it is not known to be every one.
    async fn list(&self) -> Result<Listing<Self::Version>, StoreError>;

    /// The object of `key`.
    async fn read(&self, key: &str) -> Result<Reading<Self::Version>, StoreError>;

    /// Waits for the turn.
    async fn turn(&self) -> Result<Self::Turn, StoreError>;

    /// Writes an object in the place of the one that has the version `over`, or where there is none. It is durable when this
    /// returns.
    async fn write(
        &self,
        key: &str,
        stored: &Stored,
        over: Option<&Self::Version>,
    ) -> Result<Self::Version, Denied>;

    /// Removes the object that has the version `over`.
    async fn remove(&self, key: &str, over: &Self::Version) -> Result<(), Denied>;

    /// Has the place keep what was done to `key` and was [`Denied::Unkept`]. Durable when this returns.
    async fn keep(&self, _key: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether `key` is the place's own, and no setting.
    fn reserves(&self, key: &str) -> bool;

    /// Whether [`mark_seeded`](Self::mark_seeded) was called, by whomever.
    async fn is_seeded(&self) -> Result<bool, StoreError>;

    /// Notes, for as long as the objects are kept, that the samples were written.
    async fn mark_seeded(&self) -> Result<(), StoreError>;

    /// Waits until there may be something new; for ever, if the place does not tell. Cancel safe.
    async fn rung(&self);

    /// Whether it holds an object beside those below it, such as `a` beside `a/b`.
    fn nests(&self) -> bool {
        true
    }

    /// In a word, for a status.
    fn kind(&self) -> &'static str;
}

/// Every object of a place.
#[derive(Debug)]
pub(in crate::stores) struct Listing<V> {
    pub(in crate::stores) objects: Vec<Listed<V>>,
    /// The keys, and the prefixes with their `/`, that could not be looked at, and why.
    pub(in crate::stores) unreadable: Vec<(Arc<str>, String)>,
}

/// An object, as a list has it.
#[derive(Debug)]
pub(in crate::stores) struct Listed<V> {
    pub(in crate::stores) key: Arc<str>,
    pub(in crate::stores) version: V,
    /// Whether another content is sure to have another version than this; else it is read again by the next look.
    pub(in crate::stores) is_settled: bool,
    pub(in crate::stores) bytes: u64,
    /// When it was written.
    pub(in crate::stores) time: SystemTime,
}

/// What reading an object came to.
#[derive(Debug)]
pub(in crate::stores) enum Reading<V> {
    /// There is none.
    Absent,
    There(Object<V>),
    /// This one cannot be read; why.
    Unreadable(String),
}

/// An object, with the version that came with it.
#[derive(Debug)]
pub(in crate::stores) struct Object<V> {
    pub(in crate::stores) version: V,
    /// `None` if it is too large to be served.
    pub(in crate::stores) stored: Option<Stored>,
    pub(in crate::stores) bytes: u64,
    pub(in crate::stores) time: SystemTime,
}

/// Why an object was not written or removed.
#[derive(Debug)]
pub(in crate::stores) enum Denied {
    /// It has another version.
    Lost,
    /// It was not done, and may be a moment later.
    #[cfg_attr(not(any(feature = "object", test)), expect(dead_code, reason = "a folder is not throttled"))]
    Busy(Box<dyn StdError + Send + Sync>),
    /// It is not known whether it was done.
    Unknown(Box<dyn StdError + Send + Sync>),
    /// It was done, and may be undone when the power fails: to read it tells nothing, and [`Place::keep`] does.
    #[cfg_attr(
        not(any(feature = "directory", test)),
        expect(dead_code, reason = "a bucket keeps what it answers for")
    )]
    Unkept(Box<dyn StdError + Send + Sync>),
    /// Something else has its place, or the place cannot hold it.
    Refused(Refused),
    /// It was not done.
    Store(StoreError),
}

impl From<Refused> for Denied {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
