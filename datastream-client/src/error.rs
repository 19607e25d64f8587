//! What goes wrong, by what the caller can do about it.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::KeyError;
use datastream::value::ValueError;

/// Why the client is not following its server. It tries again by itself, always.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The address is none: correct it.
    #[error("the address of the server cannot be used: {0}")]
    BadAddress(String),
    /// The token that was given can be none: correct it.
    #[error("the token cannot be used: it is empty, longer than 8 KiB, or not of visible ASCII characters")]
    BadToken,
    /// The token, or what TLS needs, cannot be had: a file that cannot be read, a function of the application that
    /// failed. Nothing was sent. Put it right; it is tried again.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
    /// No connection: the network, the host or the server is not there. Nothing was sent.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// There was a connection, and it broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The stream ended without a reason.
    #[error("the server ended the stream")]
    Ended,
    /// Nothing came for too long, not even a heartbeat.
    #[error("the server fell silent")]
    Silent,
    /// The runtime that the client ran on was shut down. It goes on on a thread of its own.
    #[error("the runtime of the client was shut down")]
    Interrupted,
    /// The server does not have what this client already has.
    #[error("the server is behind this client")]
    Behind,
    /// The server said that it goes away, and when to come back.
    #[error("the server is going away")]
    Draining {
        /// How long it asks to be left alone.
        retry_after: Duration,
    },
    /// The server answered with an error.
    #[error("the server refused: {code}: {text}")]
    Refused {
        /// The name of the gRPC code.
        code: &'static str,
        /// What it said, escaped and cut.
        text: String,
        /// How long it asks to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// The server broke a rule of the contract.
    #[error("the server broke the contract: {0}")]
    Violation(&'static str),
    /// The server has more for this client than it [may hold](crate::Limits::state_bytes): watch less, or raise the limit.
    #[error("the state is larger than the {limit} bytes that this client may hold")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The application [closed](crate::Client::close) the client. It does not try again.
    #[error("the client was closed")]
    Closed,
}

impl Disconnect {
    /// Whether waiting will hardly help: the address or the token is none, the credentials cannot be had, or the server answers
    /// UNAUTHENTICATED, PERMISSION_DENIED or UNIMPLEMENTED. The client tries again all the same, if more and more slowly up
    /// to five minutes where it is refused, since what is wrong may be put right; only an address and a token that was given stay as bad as they are.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::BadAddress(_) | Self::BadToken | Self::Credentials(_)) || self.is_refusal()
    }

    /// Whether the server does not want this client, whatever it asks.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if REFUSALS.contains(code))
    }

    /// How long the server asks to be left alone.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
            Self::Draining { retry_after } => *retry_after,
            _ => Duration::ZERO,
        }
    }

    /// Whether trying again is in vain.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::BadAddress(_) | Self::BadToken | Self::Closed)
    }
}

/// The codes by which a server refuses a client, and not a request.
const REFUSALS: [&str; 3] = ["UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"];

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Nothing is known yet of this key; the text says what the client is waiting for.
    #[error("`{key}` is not known yet: {waiting_for}")]
    NotReady {
        /// The key, escaped and cut.
        key: String,
        /// What it waits for.
        waiting_for: String,
    },
    /// The server has no such key. The handle gets its value when somebody sets it.
    #[error("`{key}` does not exist")]
    Missing {
        /// The key, escaped and cut.
        key: String,
    },
    /// This client may not read the key.
    #[error("`{key}` may not be read by this client")]
    Denied {
        /// The key, escaped and cut.
        key: String,
    },
    /// There is a value, and it cannot be read as the type of the handle.
    #[error("`{key}` cannot be used")]
    Unusable {
        /// The key, escaped and cut.
        key: String,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// The string is no key.
    #[error("`{key}` is no key")]
    NotAKey {
        /// The string, escaped and cut.
        key: String,
        /// The rule that it breaks.
        #[source]
        source: KeyError,
    },
    /// More is watched than one client may ask for, 10,000 keys or 1 MiB of them: use a second client. The
    /// handle heals when others are dropped.
    #[error("`{key}` is not followed: this client watches as many keys as it may")]
    TooMany {
        /// The key, escaped and cut.
        key: String,
    },
    /// There is a value, and the server has not confirmed it for longer than this handle
    /// [allows](crate::Watch::max_age).
    #[error("`{key}` was not confirmed within {max_age:?}")]
    Stale {
        /// The key, escaped and cut.
        key: String,
        /// What the handle allows.
        max_age: Duration,
    },
    /// Handles of several clients were combined: they have no position in common.
    #[error("`{key}` are keys of several clients: combine handles of one")]
    SeveralClients {
        /// The keys, escaped and cut.
        key: String,
    },
}

/// Some handles have no value after all the time there was; by [`Client::ready_all`](crate::Client::ready_all).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} settings are not ready, the first of them: {}", .unready.len(), .unready[0])]
pub struct NotAllReady {
    /// Why, for each of them; each names its key. Never empty.
    pub unready: Vec<Unavailable>,
}

/// Why a commit is none: correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCommit {
    /// A key is changed twice: a commit says once what becomes of it.
    #[error("`{key}` is changed twice")]
    Twice {
        /// The key, escaped and cut.
        key: String,
    },
    /// Something is said of a key that the commit does not change.
    #[error("`{key}` has a condition, and is not changed")]
    Unchanged {
        /// The key, escaped and cut.
        key: String,
    },
    /// It has more than 10,000 changes: divide it.
    #[error("it has {count} changes, and may have 10000")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The author or the message is too long.
    #[error("its {field} may have {most} bytes")]
    TooLong {
        /// Which of them.
        field: &'static str,
        /// What it may have.
        most: usize,
    },
    /// All of it is more than one message may carry, which is 4 MiB: divide it.
    #[error("it has {length} bytes, and may have 4 MiB")]
    TooLarge {
        /// How many bytes it has.
        length: usize,
    },
}

fn where_it_is(revision: u64) -> String {
    match revision {
        0 => ": it does not exist".to_owned(),
        revision => format!(", but at {revision}"),
    }
}

/// Why a call was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The key is none. Nothing was sent.
    #[error("`{key}` is no key")]
    NotAKey {
        /// The string, escaped and cut.
        key: String,
        /// The rule that it breaks.
        #[source]
        source: KeyError,
    },
    /// The value has no text. Nothing was sent.
    #[error("the value of `{key}` cannot be written")]
    Unwritable {
        /// The key, escaped and cut.
        key: String,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// The commit is none that can be made. Nothing was sent.
    #[error("the commit cannot be made")]
    BadCommit(#[from] BadCommit),
    /// The value that the key has cannot be read as the type that was asked for. Nothing was written.
    #[error("the value of `{key}` cannot be read")]
    Unreadable {
        /// The key, escaped and cut.
        key: String,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// The server found the request wrong: correct it.
    #[error("the server found it wrong: {0}")]
    Invalid(String),
    /// A key is not at the revision that was expected: read it again, then decide.
    #[error("`{key}` is not at the expected revision{}", where_it_is(*.revision))]
    Conflict {
        /// The key, escaped and cut.
        key: String,
        /// Where it is; 0 if it does not exist.
        revision: u64,
    },
    /// A key exists that was expected not to: read it, then decide.
    #[error("`{key}` exists, at revision {revision}")]
    Exists {
        /// The key, escaped and cut.
        key: String,
        /// Where it is.
        revision: u64,
    },
    /// A key that was to be deleted at a revision does not exist.
    #[error("`{key}` does not exist")]
    NotFound {
        /// The key, escaped and cut.
        key: String,
    },
    /// A key has another type: write that one, or say that the change is [meant](crate::Commit::retype).
    #[error("another type: {0}")]
    TypeChange(String),
    /// A key, or the store, is not in the state that the call needs: nothing can be written there.
    #[error("not in this state: {0}")]
    Precondition(String),
    /// The server, or its store, cannot do that at all: it is one of the original, or keeps no history, or cannot apply
    /// several keys together. Nothing was done.
    #[error("the server cannot do that: {0}")]
    Unsupported(String),
    /// This client may not do that.
    #[error("not allowed: {0}")]
    Denied(String),
    /// The server could not be reached. Nothing was sent: try again.
    #[error("nothing was sent")]
    Unreachable(#[source] Arc<Disconnect>),
    /// No answer came in time. A write may still have been made.
    #[error("no answer in time; a write may have been made all the same")]
    TimedOut,
    /// The server failed, or was lost: try again. A write may still have been made.
    #[error("the call failed; a write may have been made all the same")]
    Failed(#[from] Arc<Disconnect>),
    /// The runtime that the client ran on was shut down during the call: try again; or the client was
    /// [closed](crate::Client::close). A write may still have been made.
    #[error("interrupted by the end of its client or runtime; a write may have been made all the same")]
    Interrupted,
    /// The client has ended. Nothing was sent.
    #[error("the client has ended")]
    Closed,
}

impl From<Disconnect> for CallError {
    fn from(why: Disconnect) -> Self {
        match why {
            Disconnect::BadAddress(_)
            | Disconnect::BadToken
            | Disconnect::Credentials(_)
            | Disconnect::Unreachable(_) => Self::Unreachable(Arc::new(why)),
            _ => Self::Failed(Arc::new(why)),
        }
    }
}
