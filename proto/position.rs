//! Positions: a revision, and the token that tells histories apart.

use std::fmt;

use bytes::Bytes;

use crate::proto;

/// The most bytes that a token may have.
pub const TOKEN_BYTES: usize = 64;

/// A point in the history of a store: always the end of a commit.
///
/// The revision orders positions of one history; the token says which history it is. A token is opaque
/// to clients. The servers of this project make it of eight bytes that name the store and eight random
/// bytes drawn in the transaction of the change itself, so that the same revision written twice, once on
/// a copy of the store and once on the original, has two tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The revision of the last change of the commit; 1 is the genesis of the store, before any change.
    pub revision: u64,
    /// What identifies this revision among histories: 1 to [`TOKEN_BYTES`] bytes.
    pub token: Bytes,
}

/// Why a [`Position`] on the wire is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// A revision came without a token, or a token without a revision.
    #[error("a position has both a revision (1 or higher) and a token, or neither")]
    Half,
    /// The token is longer than [`TOKEN_BYTES`].
    #[error("a token has at most 64 bytes")]
    TokenTooLong,
}

impl Position {
    /// Reads a position from the wire. The empty one (revision 0, no token) is `None`: no position yet.
    ///
    /// # Errors
    ///
    /// [`PositionError`] if the message is neither empty nor whole.
    pub fn from_proto(message: proto::Position) -> Result<Option<Self>, PositionError> {
        match (message.revision, message.token.len()) {
            (0, 0) => Ok(None),
            (0, _) | (_, 0) => Err(PositionError::Half),
            (_, length) if length > TOKEN_BYTES => Err(PositionError::TokenTooLong),
            (revision, _) => Ok(Some(Self { revision, token: message.token })),
        }
    }

    /// The position as it travels.
    #[must_use]
    pub fn to_proto(&self) -> proto::Position {
        proto::Position { revision: self.revision, token: self.token.clone() }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.revision)?;
        self.token.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
