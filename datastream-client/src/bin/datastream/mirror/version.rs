//! One version of the directory: all of its files, on disk before anybody is led to it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::folder::sync_parent;
use super::tree::{LeftOut, Tree, folders};

/// How many files are synced at once: those that wait together are often written together.
const SYNCERS: usize = 16;

/// A version that is there already.
pub(super) struct Before {
    pub(super) folder: PathBuf,
    /// The mode that its files must have; `None` if that is not known.
    pub(super) mode: Option<u32>,
}

/// Writes a tree into a folder that does not exist yet. A file that is the same `before` is linked, not written. Returns
/// what this file system has no name for.
pub(super) fn write(tree: &Tree, folder: &Path, before: Option<&Before>) -> io::Result<LeftOut> {
    fs::create_dir(folder)?;
    let mut version = Version { folder, before, folders: HashSet::new(), written: Vec::new() };
    let mut left_out = LeftOut::new();
    for (path, value) in &tree.files {
        match version.put(path, value) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let why =
                    "this file system takes it for another key, which it differs from only in case or form";
                left_out.insert(path.clone(), why.to_owned());
            }
            Err(error) if error.kind() == ErrorKind::InvalidFilename => {
                left_out.insert(path.clone(), format!("no name of a file here: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    version.sync()?;
    Ok(left_out)
}

impl Before {
    /// Whether it has exactly these files.
    pub(super) fn holds(&self, tree: &Tree) -> io::Result<bool> {
        Ok(self.count("", tree)? == Some(tree.files.len()))
    }

    /// How many files of the tree are there; `None` if anything else is.
    fn count(&self, below: &str, tree: &Tree) -> io::Result<Option<usize>> {
        let mut files = 0;
        for entry in fs::read_dir(self.folder.join(below))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { return Ok(None) };
            let path = format!("{below}{name}");
            if entry.file_type()?.is_dir() {
                match self.count(&format!("{path}/"), tree)? {
                    None | Some(0) => return Ok(None),
                    Some(inner) => files += inner,
                }
            } else if tree.files.get(&path).is_some_and(|value| self.has(&path, value)) {
                files += 1;
            } else {
                return Ok(None);
            }
        }
        Ok(Some(files))
    }

    /// Whether a regular file has these bytes.
    fn has(&self, path: &str, value: &[u8]) -> bool {
        let path = self.folder.join(path);
        let is_such = |found: fs::Metadata| {
            let has_mode = self.mode.is_none_or(|mode| found.mode() == mode);
            found.is_file() && has_mode && found.len() == value.len() as u64
        };
        fs::symlink_metadata(&path).is_ok_and(is_such) && fs::read(path).is_ok_and(|bytes| bytes == value)
    }
}

/// A version that is being written.
struct Version<'a> {
    folder: &'a Path,
    before: Option<&'a Before>,
    /// The directories in it that were made.
    folders: HashSet<&'a str>,
    /// What is still to be synced.
    written: Vec<PathBuf>,
}

impl<'a> Version<'a> {
    /// Makes a file. Nothing that exists is ever written to.
    fn put(&mut self, path: &'a str, value: &[u8]) -> io::Result<()> {
        for folder in folders(path) {
            if !self.folders.contains(folder) {
                fs::create_dir(self.folder.join(folder))?;
                self.folders.insert(folder);
            }
        }
        let file = self.folder.join(path);
        if let Some(before) = self.before.filter(|before| before.has(path, value)) {
            match fs::hard_link(before.folder.join(path), &file) {
                // Some file systems have no links, and each allows only so many.
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {}
                linked => return linked,
            }
        }
        File::create_new(&file)?.write_all(value)?;
        self.written.push(file);
        Ok(())
    }

    /// Makes all of it last, the names after what they name.
    fn sync(&self) -> io::Result<()> {
        sync_all(&self.written)?;
        let folders: Vec<_> = self.folders.iter().map(|folder| self.folder.join(folder)).collect();
        sync_all(&folders)?;
        File::open(self.folder)?.sync_all()?;
        sync_parent(self.folder)
    }
}

fn sync_all(paths: &[PathBuf]) -> io::Result<()> {
    let each = paths.len().div_ceil(SYNCERS).max(1);
    std::thread::scope(|scope| {
        let sync = |paths: &[PathBuf]| paths.iter().try_for_each(|path| File::open(path)?.sync_all());
        let syncers: Vec<_> = paths.chunks(each).map(|paths| scope.spawn(move || sync(paths))).collect();
        syncers.into_iter().try_for_each(|syncer| match syncer.join() {
            Ok(synced) => synced,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
