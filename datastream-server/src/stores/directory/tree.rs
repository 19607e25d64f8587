//! Files by their keys. Each step is one name below a folder that is open, and a link is none.

mod read;

use std::io::{self, ErrorKind};

use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, Metadata};

use super::stamp::Stamp;

/// The folder, and how names are compared in it.
pub(super) struct Tree<'r> {
    root: &'r Dir,
    folds: bool,
}

/// What a name leads to.
pub(super) enum Entry {
    Nothing,
    File(Metadata),
    /// A folder, a link, a socket, or a file whose name differs in case only.
    Other(String),
}

/// Why a folder on the way could not be opened.
pub(super) enum Blocked {
    /// There is none.
    Missing,
    /// Something else is there, of this name.
    By(String),
    Failed(io::Error),
}

impl From<io::Error> for Blocked {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            _ => Self::Failed(error),
        }
    }
}

impl<'r> Tree<'r> {
    pub(super) fn at(root: &'r Dir) -> Self {
        Self { root, folds: super::own::folds_names(root) }
    }

    /// The folder that `key` lies in, and its name there.
    pub(super) fn parent<'k>(&self, key: &'k str, make: bool) -> Result<(Dir, &'k str), Blocked> {
        let mut folder = self.root.try_clone()?;
        let mut begins = 0;
        while let Some(length) = key[begins..].find('/') {
            let name = &key[begins..begins + length];
            folder = self.step(&folder, name, make).map_err(|blocked| match blocked {
                Blocked::By(_) => Blocked::By(key[..begins + length].to_owned()),
                other => other,
            })?;
            begins += length + 1;
        }
        Ok((folder, &key[begins..]))
    }

    /// How many bytes of `key` lead to a folder that is there.
    pub(super) fn folders_to(&self, key: &str) -> usize {
        let mut ends = key.rmatch_indices('/').map(|(end, _)| end);
        ends.find(|end| self.parent(&key[..=*end], false).is_ok()).unwrap_or(0)
    }

    fn step(&self, folder: &Dir, name: &str, make: bool) -> Result<Dir, Blocked> {
        match folder.symlink_metadata(name) {
            Ok(found) if found.is_dir() && self.is_exact(folder, name)? => {
                Ok(folder.open_dir_nofollow(name)?)
            }
            Ok(_) => Err(Blocked::By(name.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound && make => {
                folder.create_dir(name)?;
                sync(folder)?;
                Ok(folder.open_dir_nofollow(name)?)
            }
            Err(error) if is_missing(&error) && !make => Err(Blocked::Missing),
            Err(error) => Err(error.into()),
        }
    }

    /// What is at `name` in `folder`.
    pub(super) fn entry(&self, folder: &Dir, name: &str) -> io::Result<Entry> {
        let found = match folder.symlink_metadata(name) {
            Err(error) if is_missing(&error) => return Ok(Entry::Nothing),
            found => found?,
        };
        if !self.is_exact(folder, name)? {
            return Ok(Entry::Other(format!("a name that differs from {name} in case only")));
        }
        let what = match found.file_type() {
            kind if kind.is_file() => return Ok(Entry::File(found)),
            kind if kind.is_dir() => format!("the folder {name}"),
            kind if kind.is_symlink() => format!("the link {name}"),
            _ => name.to_owned(),
        };
        Ok(Entry::Other(what))
    }

    /// Whether what the system finds at `name` is called so: it may fold case.
    fn is_exact(&self, folder: &Dir, name: &str) -> io::Result<bool> {
        if !self.folds {
            return Ok(true);
        }
        for entry in folder.entries()? {
            if entry?.file_name() == name {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The stamp of the file at `key`, if there is one.
    pub(super) fn stamp(&self, key: &str) -> io::Result<Option<Stamp>> {
        let (folder, name) = match self.parent(key, false) {
            Ok(parent) => parent,
            Err(Blocked::Failed(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        Ok(match self.entry(&folder, name)? {
            Entry::File(found) => Some(Stamp::of(&found)),
            _ => None,
        })
    }
}

/// Whether nothing has this name, or can have.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidFilename)
}

/// Has the system keep what names the folder has.
#[cfg(unix)]
pub(super) fn sync(folder: &Dir) -> io::Result<()> {
    match folder.open(".")?.sync_all() {
        // This file system syncs no folders, and knows no other way.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// A folder cannot be synced here.
#[cfg(not(unix))]
pub(super) fn sync(_: &Dir) -> io::Result<()> {
    Ok(())
}
