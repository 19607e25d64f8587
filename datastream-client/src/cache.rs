//! What a client keeps in a file, to begin with when there is no server: the last known good state.
//!
//! [`Kept`] is what a file holds; `format.rs` is what it looks like, without IO; `file.rs` reads and replaces files;
//! `keeper.rs` says when. Two kinds of file have this format: the cache, which the client writes and reads, and the
//! bootstrap file, which comes with an application and is only read. Nothing here decides what is shown: the session
//! does.

mod file;
mod format;
mod keeper;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use file::read;
pub use format::{decode, encode};
pub use keeper::LastGood;
pub(crate) use keeper::{Keeper, last_good};

use crate::snapshot::Snapshot;
use crate::status::Origin;

/// More than any client holds: a file is read whole.
const LARGEST: u64 = 1 << 30;

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The server that it was heard from, as the application names it; a cache of another server is not used.
    pub server: String,
    /// When that server last confirmed it, by the clock of this machine.
    pub confirmed: SystemTime,
    /// The state: what is covered, at its position.
    pub state: Arc<Snapshot>,
}

/// Why a file is not used. Never holds what is in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[from] std::io::Error),
    /// It is a directory, a device, or a link in the place of a cache.
    #[error("it is no regular file")]
    NoFile,
    /// It is larger than any that is used.
    #[error("it is too large")]
    TooLarge,
    /// It is not in this format.
    #[error("it is no file of a settings client")]
    Foreign,
    /// A version of this client that is not known here wrote it.
    #[error("it is of another version of the format")]
    Version,
    /// It is shorter or longer than it says, or its checksum does not fit.
    #[error("it is damaged")]
    Damaged,
    /// Its checksum fits, and it breaks a rule all the same.
    #[error("it breaks a rule: {0}")]
    Invalid(&'static str),
    /// It was heard from another server.
    #[error("it is of another server")]
    OtherServer,
}

/// Why a bootstrap file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Nothing has been heard from a server yet: wait until the handles are ready.
    #[error("there is nothing to write yet: no server has said anything")]
    NothingKnown,
    /// The file could not be written: the disk, the folder, or the rights to it.
    #[error("`{path}` cannot be written")]
    Unwritable {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client has ended, or was interrupted by the end of its runtime.
    #[error("the client has ended")]
    Closed,
}

/// Which files a client begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) cache: Option<PathBuf>,
    pub(crate) bootstrap: Option<PathBuf>,
}

impl Files {
    /// What is to be shown until a server says something: the cache, or without a good one what came with the
    /// application. Each file that is not as it should be is named in the log. Reads files.
    pub(crate) fn load(&self, server: &str) -> Option<Kept> {
        let cache = self.cache.as_ref().and_then(|path| usable(path, read_cache(path, server)));
        cache.or_else(|| {
            let path = self.bootstrap.as_ref()?;
            usable(
                path,
                file::read(path, LARGEST).and_then(|bytes| decode(&bytes, Origin::Bootstrap)).map(Some),
            )
        })
    }
}

/// Replaces the file at `path`. Blocks.
pub(crate) fn write(path: &Path, kept: &Kept, last_good: &LastGood) -> Result<(), WriteError> {
    let unwritable = |source| WriteError::Unwritable { path: path.display().to_string(), source };
    file::replace(path, &encode(kept, last_good)).map_err(unwritable)
}

/// A cache that is not there is none.
fn read_cache(path: &Path, server: &str) -> Result<Option<Kept>, Unfit> {
    let bytes = match file::read_own(path, LARGEST) {
        Err(Unfit::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let kept = decode(&bytes, Origin::Cache)?;
    if kept.server == server { Ok(Some(kept)) } else { Err(Unfit::OtherServer) }
}

fn usable(path: &Path, kept: Result<Option<Kept>, Unfit>) -> Option<Kept> {
    let path = path.display();
    match kept {
        Ok(None) => None,
        Ok(Some(kept)) => {
            tracing::info!(%path, state = ?kept.state, "beginning with what a file knows");
            Some(kept)
        }
        Err(why) => {
            let cause = std::error::Error::source(&why).map(ToString::to_string);
            tracing::warn!(%path, %why, cause, "a file of settings is not used");
            None
        }
    }
}
