//! What SQLite's errors mean to a caller. None of ours holds a value: SQLite names tables and columns only, and what
//! a trigger of the user's says is left out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Error, ErrorCode};

use crate::store::{CommitError, Refused, StoreError};

/// Why a file could not be opened as a store; each says what to do. A file that was there is left as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no folder to put the file in.
    #[error("cannot create {path:?}: its folder does not exist; create the folder first")]
    NoFolder {
        /// The file asked for.
        path: PathBuf,
    },
    /// The path names a directory, a device or a socket.
    #[error("{path:?} is not a file; name a file")]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
    },
    /// The path is a symbolic link that leads nowhere, or to itself.
    #[error("{path:?} is a symbolic link that leads to no file; name the file itself")]
    BrokenLink {
        /// The path asked for.
        path: PathBuf,
    },
    /// The file may not be created, opened or written.
    #[error("cannot write {path:?}; let this user write the file and its folder, or name another file")]
    NotWritable {
        /// The file asked for.
        path: PathBuf,
        /// What failed, if more is known.
        #[source]
        source: Option<Error>,
    },
    /// The file is something else.
    #[error("{path:?} is not a SQLite database; name another file, or move this one away")]
    NotADatabase {
        /// The file asked for.
        path: PathBuf,
    },
    /// SQLite finds the file damaged.
    #[error("{path:?} is damaged; restore it from a backup")]
    Corrupt {
        /// The file asked for.
        path: PathBuf,
        /// What is damaged.
        #[source]
        source: Error,
    },
    /// Another process held a lock on the file for too long.
    #[error("{path:?} is locked by another process; end that process or its transaction, and try again")]
    Busy {
        /// The file asked for.
        path: PathBuf,
        /// Which lock it was.
        #[source]
        source: Error,
    },
    /// A later version of this program made the file.
    #[error(
        "{path:?} was written by a newer version (schema {found}, known up to {known}); update this program"
    )]
    Newer {
        /// The file asked for.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// The table cannot be served rightly, or there is none of that name.
    #[error("{path:?}: the table {table:?} {rule}")]
    Unfit {
        /// The file asked for.
        path: PathBuf,
        /// The name of the table.
        table: String,
        /// What is wrong with it, and what to do, in words that follow its name.
        rule: String,
    },
    /// The file is served already, with another table.
    #[error(
        "{path:?} serves the table {served:?}, not {asked:?}: name that one, or take it out first \
         (datastream-server detach)"
    )]
    OtherTable {
        /// The file asked for.
        path: PathBuf,
        /// The table that it serves.
        served: String,
        /// The table asked for.
        asked: String,
    },
    /// Another server serves the file.
    #[error("{path:?} is served by another process: stop it first; one file has one server")]
    Served {
        /// The file asked for.
        path: PathBuf,
    },
    /// Somebody removed a part of what the store added to the file.
    #[error(
        "{path:?} lacks a part of what datastream added to it: take out the rest (datastream-server detach), and start \
         again; the table itself is whole"
    )]
    Incomplete {
        /// The file asked for.
        path: PathBuf,
    },
    /// There is nothing to take out of the file.
    #[error("{path:?} holds nothing of datastream")]
    NotAdopted {
        /// The file asked for.
        path: PathBuf,
    },
    /// The file was there when the store was opened, and is there no more.
    #[error("{path:?} is gone; put it back")]
    Gone {
        /// The file asked for.
        path: PathBuf,
    },
    /// There is no space for what the store adds.
    #[error("{path:?} cannot be set up: the disk is full; make room")]
    Full {
        /// The file asked for.
        path: PathBuf,
        /// What found no room.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file holds its texts as UTF-16.
    #[error(
        "{path:?} stores text as {encoding}; only UTF-8 databases can be served: dump and reload it as UTF-8"
    )]
    Encoding {
        /// The file asked for.
        path: PathBuf,
        /// What `PRAGMA encoding` answers.
        encoding: String,
    },
    /// The file, or its file system, does not take a write-ahead log. What the store adds is in the file then;
    /// [`detach`](super::detach) takes it out.
    #[error("{path:?} cannot be switched to WAL mode; put it on a local file system")]
    NoWal {
        /// The file asked for.
        path: PathBuf,
    },
    /// Something else failed.
    #[error("cannot open {path:?}")]
    Other {
        /// The file asked for.
        path: PathBuf,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(super) fn of(path: &Path, source: Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            return Self::Full { path, source: source.into() };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, source },
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, source: Some(source) }
            }
            _ => Self::Other { path, source: source.into() },
        }
    }

    pub(super) fn of_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source: None }
            }
            _ => Self::Other { path, source: source.into() },
        }
    }

    pub(super) fn of_commit(path: &Path, source: CommitError) -> Self {
        let path = path.to_owned();
        match source {
            CommitError::Store(StoreError::Full(source)) => Self::Full { path, source },
            CommitError::Store(StoreError::ReadOnly(_)) => Self::NotWritable { path, source: None },
            source => Self::Other { path, source: source.into() },
        }
    }
}

/// Of a file that took the place of one that was served.
impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotWritable { .. } => Self::ReadOnly(error.into()),
            OpenError::Full { .. } => Self::Full(error.into()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

/// Why a transaction was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// SQLite could not.
    #[error(transparent)]
    Sqlite(#[from] Error),
    /// The user's table cannot be served as it is now.
    #[error("the table {table:?} {rule}")]
    Unfit { table: String, rule: String },
    /// The file was moved, or written over.
    #[error("another file has taken the place of the database")]
    Left,
    /// The user's own rules speak against the only work of the transaction.
    #[error("the rules of the table itself speak against it")]
    Rules,
    /// A thread could not be started.
    #[error(transparent)]
    Thread(#[from] io::Error),
    /// A commit of our own was refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Whether there was no room: for data, or for the index of the write-ahead log, which SQLite calls an error of IO.
fn is_full(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}

impl From<Arc<Failed>> for StoreError {
    fn from(failed: Arc<Failed>) -> Self {
        match &*failed {
            Failed::Sqlite(error) if is_full(error) => Self::Full(failed.into()),
            Failed::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::ReadOnly) => Self::ReadOnly(failed.into()),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(failed.into()),
                // Busy, locked, an error of the disk; and what this store does not foresee, which a retry harms least.
                _ => Self::Unavailable(failed.into()),
            },
            Failed::Commit(CommitError::Store(Self::Full(_))) => Self::Full(failed.into()),
            Failed::Commit(CommitError::Store(Self::ReadOnly(_))) => Self::ReadOnly(failed.into()),
            Failed::Commit(CommitError::Store(Self::Corrupt(_))) => Self::Corrupt(failed.into()),
            _ => Self::Unavailable(failed.into()),
        }
    }
}

impl From<Arc<Failed>> for CommitError {
    fn from(failed: Arc<Failed>) -> Self {
        match &*failed {
            Failed::Rules => Refused::Rules.into(),
            _ => Self::Store(failed.into()),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Arc::new(Failed::from(error)).into()
    }
}

impl From<Error> for CommitError {
    fn from(error: Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why a write of the user's table failed: a constraint or a trigger of theirs may be what speaks against it.
pub(super) fn of_write(error: Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Refused::Rules.into(),
        _ => error.into(),
    }
}
