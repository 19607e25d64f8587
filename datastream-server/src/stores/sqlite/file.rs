//! The file of a store, as the system sees it: one server's at a time, and still at its path or not.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::error::OpenError;

/// A file that is served by this process alone, until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// A lock of `flock`, which knows nothing of SQLite's own, and goes with the process. It is let go of after all
    /// connections are closed: closing any descriptor of a file gives up the locks that SQLite has on it.
    file: File,
}

impl Lock {
    /// Takes the file, and creates it if `create` is set.
    pub(super) fn take(path: &Path, create: bool) -> Result<Self, OpenError> {
        let mut options = File::options();
        let opened = options.read(true).write(create).create(create).open(path);
        let file = opened.map_err(|error| OpenError::of_io(path, error))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(OpenError::Served { path: path.to_owned() }),
            // Where the system has no such locks there is nobody to refuse.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { file }),
        }
    }

    /// The place of the file that is locked, which `path` led to.
    pub(super) fn place(&self, path: &Path) -> Place {
        let identity = self.file.metadata().ok().as_ref().and_then(identify);
        Place { path: path.to_owned(), identity, is_left: AtomicBool::new(false) }
    }
}

/// Whether a path still leads to the file that was opened there.
#[derive(Debug)]
pub(super) struct Place {
    /// As it was asked for: a link in it may lead elsewhere tomorrow.
    path: PathBuf,
    identity: Option<Identity>,
    is_left: AtomicBool,
}

impl Place {
    /// Whether another file is there now, or none.
    pub(super) fn is_moved(&self) -> bool {
        identity(&self.path) != self.identity
    }

    /// Notes that the store is to be opened anew: the file was moved, or somebody wrote over it.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
    }

    /// Whether that was noted.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }

    /// When somebody last wrote into the file itself, as a checkpoint does, and one who copies another over it.
    pub(super) fn written(&self) -> Option<SystemTime> {
        fs::metadata(&self.path).and_then(|found| found.modified()).ok()
    }
}

/// What names a file whatever its path.
type Identity = (u64, u64);

#[cfg(unix)]
fn identify(found: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some((found.dev(), found.ino()))
}

/// An open file cannot be moved here, nor another over it.
#[cfg(not(unix))]
fn identify(_: &Metadata) -> Option<Identity> {
    None
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().as_ref().and_then(identify)
}

/// The log that SQLite keeps beside a database. Where another file took the place of that, the log is the old one's
/// still, and SQLite would read it into the new one.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    identity: Option<Identity>,
}

impl Log {
    /// That of the open file at `path`, which is canonical.
    pub(super) fn of(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        let path = PathBuf::from(name);
        Self { identity: identity(&path), path }
    }

    /// Removes it, if it holds anything and nobody put another there. An empty one does no harm, and somebody may
    /// have it open.
    pub(super) fn discard(&self) -> io::Result<()> {
        let is_ours = self.identity.is_some() && identity(&self.path) == self.identity;
        if is_ours && fs::metadata(&self.path)?.len() > 0 {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}
