//! The directory that is mirrored into: a link to one of the versions that lie in a folder beside it.
//!
//! A version is written by itself and synced; then a rename puts a new link in the place of the old one, so that whoever
//! resolves the directory gets one whole state, whatever is killed when. Nothing is touched but the link and that folder,
//! and neither of them unless it is ours.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::place::{Found, LOCK, lock, look, mounted, number, place};
use super::tree::{LeftOut, Tree};
use super::version::{self, Before};
use crate::failure::{Code, Failure};

/// A link that is about to take its place.
const NEXT: &str = "next";
/// A file that shows what files get, and is removed.
const PROBE: &str = "probe";
/// What the name of a version ends in that is being removed.
const OLD: &str = ".old";

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
    lock: File,
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
        let mut folder = Self { link, versions, name, previous: None, last: 0, shown: None, lock };
        folder.clean_up().map_err(|error| folder.failed(&error))?;
        Ok(folder)
    }

    /// Whether a version is led to, and is there, in the folder that this process has.
    pub(super) fn is_intact(&self) -> bool {
        let is_there = |version| self.version(version).is_dir();
        self.has_lock()
            && matches!(look(&self.link, &self.name), Ok(Found::Ours(version)) if is_there(version))
    }

    /// Whether the folder is still the one that was taken.
    fn has_lock(&self) -> bool {
        let id = |found: Metadata| (found.dev(), found.ino());
        let there = fs::symlink_metadata(self.versions.join(LOCK)).map(id);
        there.ok().is_some_and(|there| self.lock.metadata().is_ok_and(|own| id(own) == there))
    }

    /// Makes the directory hold this state. A state that it holds already is left as it is.
    pub(super) fn show(&mut self, tree: Tree) -> Result<Done, Failure> {
        if !self.has_lock() {
            // Somebody may be about to remove it, or to put it back.
            self.lock =
                lock(&self.link, &self.versions).map_err(|why| Failure::new(Code::Other, why.to_string()))?;
        }
        let current = match look(&self.link, &self.name)? {
            Found::Ours(version) => Some(version),
            Found::Nothing | Found::EmptyFolder => None,
        };
        let mode = self.mode();
        let before = current.map(|version| self.version(version)).filter(|before| before.is_dir());
        let before = before.map(|folder| Before { folder, mode });
        let left_out = match (&before, &self.shown) {
            (Some(_), Some((shown, left_out))) if shown.files == tree.files => Some(left_out.clone()),
            // A run before this one wrote it.
            (Some(before), None) if before.holds(&tree).unwrap_or(false) => Some(LeftOut::new()),
            _ => None,
        };
        let is_new = left_out.is_none();
        let left_out = match left_out {
            Some(left_out) => left_out,
            None => self.show_new(&tree, current, before.as_ref())?,
        };
        self.shown = Some((tree, left_out.clone()));
        Ok(Done { is_new, left_out })
    }

    fn show_new(
        &mut self,
        tree: &Tree,
        current: Option<u64>,
        before: Option<&Before>,
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

    /// The mode that a file gets here, if there is room for one: it was another one under another `umask`.
    fn mode(&self) -> Option<u32> {
        let probe = self.versions.join(PROBE);
        remove_if_there(&probe).ok()?;
        let found = File::create_new(&probe).and_then(|file| file.metadata());
        remove_if_there(&probe).ok()?;
        found.ok().map(|found| found.mode())
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
        // One that cannot be removed is passed by.
        let _ = self.remove_all_but([current, self.previous]);
        self.last = self.numbers()?.into_iter().max().unwrap_or(0);
        Ok(())
    }

    /// A version has another name before anything of it goes, so that whoever read below its path, and finds it there still,
    /// has read all of it.
    fn remove_all_but(&self, kept: [Option<u64>; 2]) -> io::Result<()> {
        let gone = self.numbers()?.into_iter().filter(|version| !kept.contains(&Some(*version)));
        let remove = |version: u64| {
            let (path, old) = (self.version(version), self.versions.join(format!("{version}{OLD}")));
            match fs::rename(path, &old) {
                // It is the rest of one that could not be removed.
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => fs::remove_dir_all(old),
            }
        };
        // One that cannot be removed keeps none of the others.
        gone.map(remove).fold(Ok(()), io::Result::and)
    }

    /// The versions that there are, or are being removed. What has another name is none of them, and stays.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.versions)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| number(name.strip_suffix(OLD).unwrap_or(name))));
        }
        Ok(numbers)
    }
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
