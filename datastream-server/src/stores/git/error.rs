//! What git's failures mean to a caller.

use std::io;
use std::path::PathBuf;

use super::command::Failure;
use crate::store::StoreError;

/// Why a repository could not be opened as a store; each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such folder.
    #[error("there is no folder {}: make a repository there (git init --bare), or name another", .0.display())]
    NoFolder(PathBuf),
    /// The folder holds no repository.
    #[error("{place} is no git repository: make one (git init --bare), or name another")]
    NoRepository {
        /// Where that is.
        place: String,
    },
    /// The repository belongs to somebody else, who could make git run programs.
    #[error(
        "{place} belongs to another user, and git does not trust it: git config --global --add safe.directory {place} says \
         that you do"
    )]
    Foreign {
        /// Where that is.
        place: String,
    },
    /// `HEAD` names a commit.
    #[error("the repository is not on a branch: name one, as in git:/srv/settings.git#main")]
    Detached,
    /// The branch is not there.
    #[error("there is no branch {branch:?}: name one that is there ({branches}), or make it")]
    NoBranch {
        /// The one asked for.
        branch: String,
        /// Those that are there, the first ten.
        branches: String,
    },
    /// The remote does not answer.
    #[error("cannot reach {place} ({cause}): check the name, the port and the network")]
    Unreachable {
        /// The URL.
        place: String,
        /// What git says.
        cause: String,
    },
    /// The remote does not let us in.
    #[error(
        "{place} does not let us in ({cause}): check the user in the URL and the token (token_file=FILE or \
         DATASTREAM_GIT_TOKEN), the credential helper, or the key in the ssh agent"
    )]
    Denied {
        /// The URL.
        place: String,
        /// What git says.
        cause: String,
    },
    /// The mirror is that of another remote.
    #[error("{} is the mirror of {url}: name another folder with ?mirror=FOLDER", folder.display())]
    OtherMirror {
        /// The folder of the mirror.
        folder: PathBuf,
        /// What it mirrors.
        url: String,
    },
    /// Another server has the mirror.
    #[error("another server uses the mirror {}: name another folder with ?mirror=FOLDER", .0.display())]
    MirrorInUse(PathBuf),
    /// The folder of the mirror cannot be made or written.
    #[error("cannot make the mirror in {} ({source}): name another folder with ?mirror=FOLDER", folder.display())]
    Mirror {
        /// The folder of the mirror.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Git cannot do it.
    #[error("{place}: {cause}")]
    Git {
        /// Where.
        place: String,
        /// What git says.
        cause: String,
    },
}

/// What a remote says that does not know us.
const DENIED: &[&str] = &[
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "Permission denied",
    "Host key verification failed",
    "error: 401",
    "error: 403",
];
/// What is said of a remote that cannot be reached.
const UNREACHABLE: &[&str] = &[
    "Could not resolve host",
    "Failed to connect",
    "Couldn't connect",
    "Connection refused",
    "Connection timed out",
    "Connection reset",
    "Network is unreachable",
    "unable to access",
    "SSL",
    "early EOF",
    "hung up",
];
const NO_REPOSITORY: &[&str] =
    &["not a git repository", "does not appear to be a git repository", "not found"];
const NO_ROOM: &[&str] = &["No space left on device", "Disk quota exceeded", "Out of diskspace"];
const READ_ONLY: &[&str] =
    &["Read-only file system", "insufficient permission", "Permission denied", "error: 403"];

impl OpenError {
    pub(super) fn of(failure: Failure, place: &str) -> Self {
        let (place, cause) = (place.to_owned(), failure.to_string());
        match failure {
            Failure::TooLong { .. } => Self::Unreachable { place, cause },
            _ if failure.says(&["dubious ownership"]) => Self::Foreign { place },
            _ if failure.says(DENIED) => Self::Denied { place, cause },
            _ if failure.says(NO_REPOSITORY) => Self::NoRepository { place },
            _ if failure.says(UNREACHABLE) => Self::Unreachable { place, cause },
            _ => Self::Git { place, cause },
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        if failure.says(NO_ROOM) { Self::Full(failure.into()) } else { Self::Unavailable(failure.into()) }
    }
}

/// What keeps a commit from being written.
pub(super) fn writing(failure: Failure) -> StoreError {
    if failure.says(READ_ONLY) { StoreError::ReadOnly(failure.into()) } else { failure.into() }
}
