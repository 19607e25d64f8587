//! What errors of a file system mean.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Why a folder is not served. Each text is one line, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It does not exist.
    #[error("there is no folder {0}: make it with mkdir -p {0}", .path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{} is no folder: name the one that holds the settings", .path.display())]
    NoFolder {
        /// Where.
        path: PathBuf,
    },
    /// The file of the types cannot be read.
    #[error("{}: {what}: correct it, or take the file away", .path.display())]
    Types {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The system does not let us.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: Error,
    },
    /// Something else.
    #[error("the folder cannot be served: {0}")]
    Other(String),
}

impl OpenError {
    pub(super) fn of_io(path: &Path, source: Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotFound => Self::Missing { path },
            ErrorKind::NotADirectory => Self::NoFolder { path },
            _ => Self::Io { path, source },
        }
    }

    pub(super) fn other(error: impl std::error::Error + 'static) -> Self {
        Self::Other(crate::error_chain(&error))
    }
}

/// What an error means for a caller, who can do something about some.
pub(super) fn of_io(what: &str, error: &Error) -> StoreError {
    let cause = format!("{what}: {error}").into();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(cause),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::CrossesDevices => {
            StoreError::ReadOnly(cause)
        }
        _ => StoreError::Unavailable(cause),
    }
}
