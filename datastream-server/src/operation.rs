//! What a commit asks for, and what it does to what a store holds: one set of rules for all stores.

use std::sync::Arc;

use bytes::Bytes;
use datastream::key::shown;
use datastream::value::{self, ValueError};

use crate::store::Stored;

/// An atomic batch of operations. A key occurs at most once.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What to do.
    pub operations: Vec<Operation>,
    /// Who does it; for the history.
    pub author: String,
    /// Why; for the history.
    pub message: String,
    /// What makes a retry of this commit safe.
    pub request: Option<RequestId>,
}

/// The name of a commit that its author uses once, so that the same commit that comes again is applied once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Drawn by the author.
    pub id: Arc<str>,
    /// Of the whole request: another one under the same name is told apart by it. It guards against mistakes, not
    /// against somebody who means to be mistaken.
    pub digest: u64,
}

impl Commit {
    /// A commit of one operation.
    #[must_use]
    pub fn one(operation: Operation) -> Self {
        Self { operations: vec![operation], ..Self::default() }
    }
}

/// One change that a commit asks for.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The key; it has passed the key grammar.
    pub key: Arc<str>,
    /// What to do with it.
    pub action: Action,
    /// Only if the key is at this revision; 0: only if it does not exist.
    pub expected_revision: Option<u64>,
}

/// What an operation does with its key.
#[derive(Clone)]
pub enum Action {
    /// Writes a value.
    Put {
        /// The text of the value.
        value: Bytes,
        /// The name of its type; `None` keeps the type that the key has.
        value_type: Option<Arc<str>>,
        /// Another type than the key's is meant.
        retype: bool,
    },
    /// Removes the key, if it is there.
    Delete,
}

impl std::fmt::Debug for Action {
    /// Leaves the value out: it never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put { value, value_type, retype } => {
                write!(f, "Put({value_type:?}[{}], retype: {retype})", value.len())
            }
            Self::Delete => f.write_str("Delete"),
        }
    }
}

/// What a store holds of a key when an operation meets it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The value; `None` after a deletion, and of one that is left out.
    pub value: Option<Stored>,
    /// Whether a value is there that is left out because it is too large to be served.
    pub is_left_out: bool,
    /// The revision of the last change.
    pub revision: u64,
}

impl Held {
    fn is_live(&self) -> bool {
        self.value.is_some() || self.is_left_out
    }
}

/// What an operation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This value is to be written.
    Write(Stored),
    /// The key is to be removed.
    Remove,
    /// What is asked for already stands.
    Stands,
}

/// Why an operation is not applied. Says what to do, and never shows the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Wrong whatever the store holds.
    #[error("{0}")]
    Value(#[source] ValueError),
    /// The store has rules of its own for what it holds, such as a constraint on its table, and this breaks one.
    /// What the store says of it is left out: it may hold the value.
    #[error("the store's own rules refuse it")]
    Rules,
    /// A new key came without a type.
    #[error("a new key needs a value_type")]
    NoType,
    /// The key has another type.
    #[error(
        "the key holds {}, not {}: push it as that, or say that a change of its type is meant (retype)",
        shown(held),
        shown(asked)
    )]
    TypeChange {
        /// The type that the key has, as it was written.
        held: Arc<str>,
        /// The type that the push names.
        asked: Arc<str>,
    },
    /// The key is not at the expected revision.
    #[error("the key is at revision {revision}, not at the expected one: read it again")]
    Conflict {
        /// Where it is; 0 if it does not exist.
        revision: u64,
    },
    /// The key exists, and was expected not to.
    #[error("the key already exists, since revision {revision}")]
    Exists {
        /// Where it is.
        revision: u64,
    },
    /// The store keeps each key as a file, and something else has the place of this one.
    #[error("the store keeps files, and {by} is in the way: choose another key, or remove that")]
    InTheWay {
        /// What is there, for people: it is escaped and cut.
        by: String,
    },
    /// There is no such key to delete, at the expected revision or any other.
    #[error("there is no such key")]
    NotFound,
}

impl Operation {
    /// A put of `value` as `value_type`.
    #[must_use]
    pub fn put(key: &str, value_type: &str, value: impl Into<Bytes>) -> Self {
        let action = Action::Put { value: value.into(), value_type: Some(value_type.into()), retype: false };
        Self { key: key.into(), action, expected_revision: None }
    }

    /// A delete of a key, if it exists.
    #[must_use]
    pub fn delete(key: &str) -> Self {
        Self { key: key.into(), action: Action::Delete, expected_revision: None }
    }

    /// The same, if the key is at `revision`; 0: if it does not exist.
    #[must_use]
    pub fn expecting(self, revision: u64) -> Self {
        Self { expected_revision: Some(revision), ..self }
    }

    /// What this operation does to a key of which the store holds `held`. A store calls it inside the
    /// transaction of the commit.
    ///
    /// # Errors
    ///
    /// [`Refused`], and nothing of the commit is applied then.
    pub fn decide(&self, held: Option<&Held>) -> Result<Effect, Refused> {
        self.check()?;
        self.check_revision(held)?;
        let is_live = held.is_some_and(Held::is_live);
        let held = held.and_then(|held| held.value.as_ref());
        match &self.action {
            Action::Put { value, value_type, retype } => {
                let value_type = type_of(value_type.as_ref(), held, *retype, value)?;
                let asked = Stored { value: value.clone(), value_type };
                Ok(if held == Some(&asked) { Effect::Stands } else { Effect::Write(asked) })
            }
            Action::Delete if is_live => Ok(Effect::Remove),
            Action::Delete => Ok(Effect::Stands),
        }
    }

    /// What is wrong whatever a store holds: that comes before what depends on it.
    fn check(&self) -> Result<(), Refused> {
        match &self.action {
            Action::Put { value, value_type: Some(value_type), .. } => {
                value::check(value_type, value).map(drop).map_err(Refused::Value)
            }
            _ => Ok(()),
        }
    }

    fn check_revision(&self, held: Option<&Held>) -> Result<(), Refused> {
        let live = held.filter(|held| held.is_live()).map_or(0, |held| held.revision);
        match self.expected_revision {
            Some(0) if live > 0 => Err(Refused::Exists { revision: live }),
            Some(1..) if live == 0 && matches!(self.action, Action::Delete) => Err(Refused::NotFound),
            Some(expected) if expected != live => Err(Refused::Conflict { revision: live }),
            _ => Ok(()),
        }
    }
}

/// The type under which `value` is to be written; a value without a type is checked here.
fn type_of(
    asked: Option<&Arc<str>>,
    held: Option<&Stored>,
    retype: bool,
    value: &[u8],
) -> Result<Arc<str>, Refused> {
    let value_type = asked.or(held.map(|held| &held.value_type)).ok_or(Refused::NoType)?;
    if asked.is_none() {
        value::check(value_type, value).map_err(Refused::Value)?;
    }
    match held {
        Some(held) if !retype && !value::same_type(&held.value_type, value_type) => {
            Err(Refused::TypeChange { held: held.value_type.clone(), asked: value_type.clone() })
        }
        _ => Ok(value_type.clone()),
    }
}
