//! The directory that is mirrored into: a link to one of the versions that lie in a folder beside it.
//!
//! A version is written by itself and synced; then a rename puts a new link in the place of the old one, so that whoever
//! resolves the directory gets one whole state, whatever is killed when. Nothing is touched but the link and that folder,
//! and neither of them unless it is ours.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::tree::{LeftOut, Tree};
use super::version;
use crate::failure::{Code, Failure};
use crate::misuse;

/// Who has the folder of the versions; also what says that it is ours.
const LOCK: &str = "mirror.lock";
/// What the lock says to people.
const NOTE: &[u8] = b"`datastream mirror` keeps the versions of a directory here, and removes them again.\n";
/// A link that is about to take its place.
const NEXT: &str = "next";

/// A directory that this process alone mirrors into.
pub(super) struct Folder {
    /// The directory, from the root.
    pub(super) link: PathBuf,
    /// The folder beside it, and its name.
    versions: PathBuf,
    name: OsString,
    /// The version that was led to before the current one: somebody may be reading it.
    previous: Option<u64>,
    last: u64,
    /// What is shown, and what could not be of it; `None` before this process has shown anything.
    shown: Option<(Tree, LeftOut)>,
    _lock: File,
}

/// What stands where the directory is to be.
enum Found {
    Nothing,
    /// A link to this version.
    Ours(u64),
    EmptyFolder,
}

/// What became of a state.
pub(super) struct Done {
    pub(super) is_new: bool,
    pub(super) left_out: LeftOut,
}

impl Folder {
    /// Takes the directory, and removes what a run that was killed left behind.
    pub(super) fn take(dir: &Path) -> Result<Self, Failure> {
        let (parent, own) = place(dir)?;
        let name: OsString = [".".as_ref(), own.as_os_str(), ".datastream".as_ref()].into_iter().collect();
        let (link, versions) = (parent.join(&own), parent.join(&name));
        look(&link, &name)?;
        let lock = lock(&link, &versions)?;
        let mut folder = Self { link, versions, name, previous: None, last: 0, shown: None, _lock: lock };
        folder.clean_up().map_err(|error| folder.failed(&error))?;
        Ok(folder)
    }

    /// Makes the directory hold this state. A state that it holds already is left as it is.
    pub(super) fn show(&mut self, tree: Tree) -> Result<Done, Failure> {
        let current = match look(&self.link, &self.name)? {
            Found::Ours(version) => Some(version),
            Found::Nothing | Found::EmptyFolder => None,
        };
        let before = current.map(|version| self.version(version));
        let left_out = match (&before, &self.shown) {
            (Some(_), Some((shown, left_out))) if shown.files == tree.files => Some(left_out.clone()),
            // A run before this one wrote it.
            (Some(before), None) if version::holds(before, &tree).unwrap_or(false) => Some(LeftOut::new()),
            _ => None,
        };
        let is_new = left_out.is_none();
        let left_out = match left_out {
            Some(left_out) => left_out,
            None => self.show_new(&tree, current, before.as_deref())?,
        };
        self.shown = Some((tree, left_out.clone()));
        Ok(Done { is_new, left_out })
    }

    fn show_new(
        &mut self,
        tree: &Tree,
        current: Option<u64>,
        before: Option<&Path>,
    ) -> Result<LeftOut, Failure> {
        self.last = self.last.max(current.unwrap_or(0)) + 1;
        let next = self.version(self.last);
        let written = version::write(tree, &next, before).map_err(|error| self.failed(&error));
        let flipped = written.and_then(|left_out| self.flip(self.last).map(|()| left_out));
        // It may be that there is no room: what is removed makes some.
        let left_out = flipped.inspect_err(|_| _ = fs::remove_dir_all(&next))?;
        // From here on it is led to.
        self.previous = current;
        sync_parent(&self.link).map_err(|error| self.failed(&error))?;
        // What is left over is removed the next time.
        let _ = self.remove_all_but([Some(self.last), self.previous]);
        Ok(left_out)
    }

    fn version(&self, number: u64) -> PathBuf {
        self.versions.join(number.to_string())
    }

    /// Leads to another version, or else to what it led to.
    fn flip(&self, version: u64) -> Result<(), Failure> {
        let target = Path::new(&self.name).join(version.to_string());
        let next = self.versions.join(NEXT);
        let flipped = match look(&self.link, &self.name)? {
            Found::Ours(_) => remove_if_there(&next)
                .and_then(|()| symlink(&target, &next))
                .and_then(|()| fs::rename(&next, &self.link)),
            // A rename would replace what somebody puts there now.
            Found::Nothing => symlink(&target, &self.link),
            Found::EmptyFolder => fs::remove_dir(&self.link).and_then(|()| symlink(&target, &self.link)),
        };
        flipped.map_err(|error| match error.kind() {
            ErrorKind::ResourceBusy => mounted(&self.link),
            _ => self.failed(&error),
        })
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(Code::Other, format!("{}: {error}; it stays as it is", self.link.display()))
    }

    /// Removes what no reader can be in. Of the versions before the current one, that is all but the last.
    fn clean_up(&mut self) -> io::Result<()> {
        remove_if_there(&self.versions.join(NEXT))?;
        let current = match look(&self.link, &self.name) {
            Ok(Found::Ours(version)) => Some(version),
            _ => None,
        };
        let is_before = |version: &u64| current.is_some_and(|current| *version < current);
        self.previous = self.numbers()?.into_iter().filter(is_before).max();
        self.remove_all_but([current, self.previous])
    }

    fn remove_all_but(&self, kept: [Option<u64>; 2]) -> io::Result<()> {
        let gone = self.numbers()?.into_iter().filter(|version| !kept.contains(&Some(*version)));
        // One that cannot be removed keeps none of the others.
        gone.map(|version| fs::remove_dir_all(self.version(version))).fold(Ok(()), io::Result::and)
    }

    /// The versions that there are. What has another name is none of them, and stays.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.versions)? {
            numbers.extend(entry?.file_name().to_str().and_then(number));
        }
        Ok(numbers)
    }
}

/// Where the directory is to be: a folder that is there, and a name in it.
fn place(dir: &Path) -> Result<(PathBuf, OsString), Failure> {
    let wrong = |why: String| misuse(format!("{}: {why}", dir.display()));
    let absolute = std::path::absolute(dir).map_err(|error| wrong(error.to_string()))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(wrong("it has no name of its own; name a directory that is to be made".to_owned()));
    };
    match parent.canonicalize() {
        Ok(parent) => Ok((parent, name.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(wrong(format!("there is no folder {}; make it first", parent.display())))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// What stands where the directory is to be. What is not ours is refused.
fn look(link: &Path, versions: &OsString) -> Result<Found, Failure> {
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

fn mounted(link: &Path) -> Failure {
    let remedy = "mount the folder above it, and name a directory in that";
    misuse(format!("{}: it is a mount point, which no link can replace; {remedy}", link.display()))
}

/// Takes the folder of the versions, which is made if it is not there.
fn lock(link: &Path, versions: &Path) -> Result<File, Failure> {
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
fn number(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| number.to_string() == name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes the name of a file last.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
