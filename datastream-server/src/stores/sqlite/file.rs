//! The file of a store, as the system sees it: one server's at a time, and still at its path or not.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::error::OpenError;

/// The files that this process serves. One that is served is not even opened again: closing any descriptor of a file
/// gives up the locks that SQLite has on it in this process.
static SERVED: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// A file that is served by this store alone, until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// A lock of `flock`, which knows nothing of SQLite's own, and goes with the process. It is to be let go of after
    /// all connections are closed.
    file: File,
}

impl Lock {
    /// Takes the file, and creates it if `create` is set.
    pub(super) fn take(path: &Path, create: bool) -> Result<Self, OpenError> {
        let mut served = served();
        if identity(path).is_some_and(|identity| served.contains(&identity)) {
            return Err(OpenError::Served { path: path.to_owned() });
        }
        let mut options = File::options();
        let opened = options.read(true).write(create).create(create).open(path);
        let file = opened.map_err(|error| OpenError::of_io(path, error))?;
        // Where the system has no such locks there is nobody to refuse.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(OpenError::Served { path: path.to_owned() });
        }
        let lock = Self { file };
        served.extend(lock.identity());
        Ok(lock)
    }

    /// The place of the file that is locked: `path` led to it, and `canonical` is where that was.
    pub(super) fn place(&self, path: &Path, canonical: &Path) -> Place {
        let mut log = canonical.as_os_str().to_owned();
        log.push("-wal");
        Place {
            path: path.to_owned(),
            canonical: canonical.to_owned(),
            log: log.into(),
            identity: self.identity(),
            is_left: AtomicBool::new(false),
        }
    }

    fn identity(&self) -> Option<Identity> {
        self.file.metadata().ok().as_ref().and_then(identify)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(identity) = self.identity() {
            served().remove(&identity);
        }
    }
}

fn served() -> MutexGuard<'static, BTreeSet<Identity>> {
    SERVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was found at the path of a file.
pub(super) struct Sight {
    /// Whether the path leads to another file, or to none.
    pub(super) is_moved: bool,
    /// When somebody last wrote into the file itself, as a checkpoint does, and one who copies another over it.
    pub(super) written: Option<SystemTime>,
}

/// Where a file was opened, and whether it is there still.
#[derive(Debug)]
pub(super) struct Place {
    /// As it was asked for: a link in it may lead elsewhere tomorrow.
    path: PathBuf,
    canonical: PathBuf,
    /// What SQLite keeps beside the file: its write-ahead log.
    log: PathBuf,
    identity: Option<Identity>,
    is_left: AtomicBool,
}

impl Place {
    /// What is at the path now.
    pub(super) fn look(&self) -> Sight {
        let found = fs::metadata(&self.path).ok();
        Sight {
            is_moved: found.as_ref().and_then(identify) != self.identity,
            written: found.and_then(|found| found.modified().ok()),
        }
    }

    /// Whether the file itself is elsewhere now, or nowhere.
    pub(super) fn is_displaced(&self) -> bool {
        identity(&self.canonical) != self.identity
    }

    /// Notes that the store is to be opened anew: the file was moved, or somebody wrote over it.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
    }

    /// Whether that was noted.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }

    /// Whether something was written that is not in the file yet.
    pub(super) fn has_log(&self) -> bool {
        fs::metadata(&self.log).is_ok_and(|log| log.len() > 0)
    }

    /// The log that lies beside the file now.
    pub(super) fn log(self: &Arc<Self>) -> Log {
        Log { identity: identity(&self.log), place: self.clone() }
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

/// The log of a file that is open. Where another file takes the place of that, SQLite would read the log of the one
/// into the other: so it is removed when this is dropped, which is to be after all connections are closed.
#[derive(Debug)]
pub(super) struct Log {
    place: Arc<Place>,
    identity: Option<Identity>,
}

impl Drop for Log {
    fn drop(&mut self) {
        let is_ours = self.identity.is_some() && identity(&self.place.log) == self.identity;
        let is_replaced = self.place.is_displaced() && self.place.canonical.exists();
        // An empty one does no harm, and somebody may have it open.
        if !(is_ours && is_replaced && self.place.has_log()) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.place.log) {
            let log = self.place.log.display();
            tracing::error!(%log, %error, "the log of the file before cannot be removed: remove it by hand");
        }
    }
}
