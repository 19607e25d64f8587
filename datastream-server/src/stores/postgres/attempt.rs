//! What becomes of an attempt to make a commit that is not made.

use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::error::{code, is_about_the_server, told};
use crate::store::{CommitError, Refused, StoreError};

/// What keeps one attempt to commit from being made.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Others are at the same rows: the same may succeed in a moment.
    Contended,
    /// The table holds what the log has not: it is to be compared first.
    Bypassed,
    /// The commit itself.
    Failed(CommitError),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        match error.code() {
            Some(code) if is_contended(code) => Self::Contended,
            _ => Self::Failed(CommitError::Store(error.into())),
        }
    }
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<CommitError> for Attempt {
    fn from(error: CommitError) -> Self {
        Self::Failed(error)
    }
}

fn is_contended(code: &SqlState) -> bool {
    [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE]
        .contains(code)
}

/// Of a write of the user's table: their own constraints, triggers and types may be what speaks against it, by whichever
/// code their triggers choose.
pub(super) fn of_write(error: Error) -> Attempt {
    match error.code() {
        None => error.into(),
        Some(state) if is_contended(state) => Attempt::Contended,
        // XX: it is damaged.
        Some(state) if is_about_the_server(state) || state.code().starts_with("XX") => {
            Attempt::Failed(CommitError::Store(told(&error, code(&error))))
        }
        Some(_) => Attempt::Failed(Refused::Rules.into()),
    }
}

/// When others have been at the same rows for too long.
pub(super) fn contended(waited: Duration) -> StoreError {
    StoreError::Unavailable(format!("another transaction has held the same rows for {waited:?}").into())
}
