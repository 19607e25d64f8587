//! Every file of a folder, and what in it is no setting.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, DirEntry};
use datastream::key::{MAX_BYTES, shown};

use super::own;
use super::stamp::{Stamp, Version};
use crate::stores::objects::Listed;
use crate::stores::types_file::TypesFile;

/// How many entries that are skipped are named in the log.
const NAMED: usize = 100;

/// What a walk has found.
pub(super) struct Found<'t> {
    types: &'t TypesFile,
    pub(super) objects: Vec<Listed<Version>>,
    /// Prefixes of folders that could not be read.
    pub(super) unreadable: Vec<(Arc<str>, String)>,
    /// Why something is no setting, by its path.
    pub(super) skipped: BTreeMap<String, &'static str>,
    /// Whether a file changed so lately that another change may not show.
    pub(super) is_unsettled: bool,
}

impl<'t> Found<'t> {
    pub(super) fn new(types: &'t TypesFile) -> Self {
        let (objects, unreadable, skipped) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { types, objects, unreadable, skipped, is_unsettled: false }
    }

    pub(super) fn walk(&mut self, root: &Dir) -> io::Result<()> {
        self.folder(root, "")
    }

    fn folder(&mut self, folder: &Dir, prefix: &str) -> io::Result<()> {
        for entry in folder.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let path = format!("{prefix}{}", name.to_string_lossy());
                self.skipped.insert(path, "its name is not UTF-8");
                continue;
            };
            let key = format!("{prefix}{name}");
            if own::reserves(&key) {
                continue;
            }
            match self.entry(folder, &entry, name, &key) {
                // It went while we looked.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Dir, entry: &DirEntry, name: &str, key: &str) -> io::Result<()> {
        let kind = entry.file_type()?;
        if kind.is_file() {
            self.file(key, entry);
        } else if kind.is_symlink() {
            self.skipped.insert(key.to_owned(), "it is a link, and links are not followed");
        } else if !kind.is_dir() {
            self.skipped.insert(key.to_owned(), "it is neither a file nor a folder");
        } else if name.eq_ignore_ascii_case(".git") {
            self.skipped.insert(key.to_owned(), "it is git's own: there is a store for git");
        } else if key.len() > MAX_BYTES {
            self.skipped.insert(key.to_owned(), "its path is longer than a key");
        } else {
            let prefix = format!("{key}/");
            let below = folder.open_dir_nofollow(name).and_then(|below| self.folder(&below, &prefix));
            match below {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    self.unreadable.push((prefix.into(), error.to_string()));
                }
                below => below?,
            }
        }
        Ok(())
    }

    fn file(&mut self, key: &str, entry: &DirEntry) {
        let found = match entry.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => return self.unreadable.push((key.into(), error.to_string())),
        };
        let stamp = Stamp::of(&found);
        let is_settled = stamp.is_settled();
        self.is_unsettled |= !is_settled;
        let version = Version { stamp, value_type: self.types.type_of(key) };
        let (bytes, time) = (stamp.bytes, stamp.modified);
        self.objects.push(Listed { key: key.into(), version, is_settled, bytes, time });
    }
}

/// What was skipped by the last walk, and was named for it.
#[derive(Default)]
pub(super) struct Skipped(BTreeMap<String, &'static str>);

impl Skipped {
    /// Names what was not skipped before.
    pub(super) fn tell(&mut self, folder: &Path, now: BTreeMap<String, &'static str>) {
        let new = now.iter().filter(|(path, why)| self.0.get(*path) != Some(*why));
        for (path, why) in new.take(NAMED) {
            tracing::warn!(folder = %folder.display(), path = %shown(path), why, "this is not served");
        }
        if now.len() > NAMED && now.len() != self.0.len() {
            tracing::warn!(folder = %folder.display(), entries = now.len(), "so many are not served");
        }
        self.0 = now;
    }
}
