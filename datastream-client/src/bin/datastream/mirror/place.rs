//! Where a directory can be, and what there is of a mirror and what of others.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::failure::{Code, Failure};
use crate::misuse;

/// Who has the folder of the versions; also what says that it is ours.
pub(super) const LOCK: &str = "mirror.lock";
/// What the lock says to people.
const NOTE: &[u8] = b"`datastream mirror` keeps the versions of a directory here, and removes them again.\n";

/// What stands where the directory is to be.
pub(super) enum Found {
    Nothing,
    /// A link to this version.
    Ours(u64),
    EmptyFolder,
}

/// Where the directory is to be: a folder that is there, and a name in it.
pub(super) fn place(dir: &Path) -> Result<(PathBuf, OsString), Failure> {
    let wrong = |why: String| misuse(format!("{}: {why}", dir.display()));
    let absolute = std::path::absolute(dir).map_err(|error| wrong(error.to_string()))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(wrong("it has no name of its own; name a directory that is to be made".to_owned()));
    };
    let is_kept = |folder: &Path| fs::symlink_metadata(folder.join(LOCK)).is_ok();
    match parent.canonicalize() {
        Ok(parent) if parent.ancestors().any(is_kept) => {
            Err(wrong("another mirror removes what lies there; name a directory elsewhere".to_owned()))
        }
        Ok(parent) => Ok((parent, name.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(wrong(format!("there is no folder {}; make it first", parent.display())))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// What stands where the directory is to be. What is not ours is refused.
pub(super) fn look(link: &Path, versions: &OsString) -> Result<Found, Failure> {
    let failed = |error: io::Error| Failure::new(Code::Other, format!("{}: {error}", link.display()));
    let not_ours = || {
        let why = "it is there, and not of a mirror; name a directory that is not there, or move it away";
        misuse(format!("{}: {why}", link.display()))
    };
    let found = match fs::symlink_metadata(link) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(error)),
    };
    if found.is_symlink() {
        let target = fs::read_link(link).map_err(failed)?;
        let version = target.strip_prefix(versions).ok().and_then(Path::to_str).and_then(number);
        return version.map(Found::Ours).ok_or_else(not_ours);
    }
    if !found.is_dir() || fs::read_dir(link).map_err(failed)?.next().is_some() {
        return Err(not_ours());
    }
    let parent = link.parent().and_then(|parent| fs::metadata(parent).ok());
    if parent.is_some_and(|parent| parent.dev() != found.dev()) {
        return Err(mounted(link));
    }
    Ok(Found::EmptyFolder)
}

pub(super) fn mounted(link: &Path) -> Failure {
    let remedy = "mount the folder above it, and name a directory in that";
    misuse(format!("{}: it is a mount point, which no link can replace; {remedy}", link.display()))
}

/// Takes the folder of the versions, which is made if it is not there.
pub(super) fn lock(link: &Path, versions: &Path) -> Result<File, Failure> {
    let wrong = |why: String| misuse(format!("{}: {why}", versions.display()));
    let failed = |error: io::Error| wrong(error.to_string());
    match fs::create_dir(versions) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let file = versions.join(LOCK);
    let has_lock = fs::symlink_metadata(&file).is_ok_and(|found| found.is_file());
    let is_folder = fs::symlink_metadata(versions).map_err(failed)?.is_dir();
    // A run that was killed may have left it empty.
    if !is_folder || !has_lock && fs::read_dir(versions).map_err(failed)?.next().is_some() {
        return Err(wrong("it is not of a mirror, which keeps its versions there; move it away".to_owned()));
    }
    let mut lock = OpenOptions::new().append(true).create(true).open(&file).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let why = "another mirror keeps it; stop that one, or name another directory";
            return Err(Failure::new(Code::Other, format!("{}: {why}", link.display())));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    if lock.metadata().map_err(failed)?.len() == 0 {
        lock.write_all(NOTE).map_err(failed)?;
    }
    Ok(lock)
}

/// The number of a version, as it is written.
pub(super) fn number(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| number.to_string() == name)
}
