//! What the store keeps for itself in the folder, below one name: the lock, the mark of the seed, and files that are about
//! to be renamed.

use std::fs::TryLockError;
use std::io::{self, ErrorKind, Write as _};
use std::time::{Duration, Instant};

use cap_fs_ext::{DirExt as _, FollowSymlinks, MetadataExt as _, OpenOptionsFollowExt as _};
use cap_std::fs::{Dir, File, OpenOptions, Permissions};

use super::folder::Folder;
use super::tree::sync;
use crate::store::StoreError;
use crate::stores::types_file;

/// No setting is below it.
pub(super) const FOLDER: &str = ".datastream";
/// The same to a system that folds case.
const FOLDED: &str = ".DATASTREAM";
const LOCK: &str = "lock";
const SEEDED: &str = "seeded";
const UNFINISHED: &str = ".tmp";

/// How long another server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether `key` is no setting: ours, or what an editor leaves beside a file.
pub(super) fn reserves(key: &str) -> bool {
    let first = key.split('/').next().unwrap_or(key);
    first.eq_ignore_ascii_case(FOLDER)
        || key.eq_ignore_ascii_case(types_file::NAME)
        || key.split('/').any(is_leftover)
}

/// A backup, a lock or an unsaved text of emacs, a swap file of vim.
fn is_leftover(name: &str) -> bool {
    let is_swap = |extension: &str| matches!(extension.as_bytes(), [b's', b'w', b'a'..=b'p']);
    name.ends_with('~')
        || name.starts_with(".#")
        || (name.len() > 2 && name.starts_with('#') && name.ends_with('#'))
        || (name.starts_with('.')
            && name.rsplit_once('.').is_some_and(|(stem, extension)| !stem.is_empty() && is_swap(extension)))
}

/// Whether the system takes names for the same that differ in case only.
pub(super) fn folds_names(root: &Dir) -> bool {
    let inode = |name| root.symlink_metadata(name).map(|found| found.ino()).ok();
    inode(FOLDED).is_some_and(|folded| inode(FOLDER) == Some(folded))
}

/// The time in which this server writes, and no other; over when dropped.
pub(super) struct Turn {
    _lock: std::fs::File,
}

impl Folder {
    /// Waits for the turn.
    pub(super) fn turn(&self) -> Result<Turn, StoreError> {
        let failed = |error: io::Error| self.unavailable(FOLDER, &error);
        let lock = Own::made(&self.root()?).map_err(failed)?.lock().map_err(failed)?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Turn { _lock: lock }),
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    let text = format!("another server writes in {} all the time", self.path.display());
                    return Err(StoreError::Unavailable(text.into()));
                }
                // Where the system has no such locks there is nobody to wait for.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(Turn { _lock: lock });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

/// The folder of our own.
pub(super) struct Own(Dir);

impl Own {
    /// If it is there.
    pub(super) fn existing(root: &Dir) -> Option<Self> {
        root.open_dir_nofollow(FOLDER).ok().map(Self)
    }

    /// Makes it where it is not there.
    pub(super) fn made(root: &Dir) -> io::Result<Self> {
        if let Err(error) = root.open_dir_nofollow(FOLDER) {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            match root.create_dir(FOLDER) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made.and_then(|()| sync(root))?,
            }
        }
        root.open_dir_nofollow(FOLDER).map(Self)
    }

    fn lock(&self) -> io::Result<std::fs::File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).follow(FollowSymlinks::No);
        self.0.open_with(LOCK, &options).map(File::into_std)
    }

    /// Removes what a run that was killed left unfinished, if no server is about to finish it.
    pub(super) fn clean(&mut self) {
        let lock = self.lock();
        // Held to the end: who begins to write meanwhile waits.
        let is_ours = lock.as_ref().is_ok_and(|lock| lock.try_lock().is_ok());
        let entries = self.0.entries().into_iter().flatten().map_while(Result::ok);
        for entry in entries.filter(|_| is_ours) {
            if entry.file_name().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
                // What cannot be removed is in nobody's way.
                let _ = entry.remove_file();
            }
        }
    }

    pub(super) fn is_seeded(&self) -> bool {
        self.0.symlink_metadata(SEEDED).is_ok()
    }

    pub(super) fn mark_seeded(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).follow(FollowSymlinks::No);
        self.0.open_with(SEEDED, &options)?.sync_all()?;
        sync(&self.0)
    }

    /// Writes a whole file, which is to be renamed. Returns its name here.
    pub(super) fn draft(&self, bytes: &[u8], permissions: Option<Permissions>) -> io::Result<Draft<'_>> {
        let draft = Draft { own: self, name: format!("{:016x}{UNFINISHED}", fastrand::u64(..)) };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if permissions.is_some() {
            // Until it has those of the file that it replaces.
            cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let mut file = self.0.open_with(&draft.name, &options)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(draft)
    }
}

/// A file that was written and has no place yet; gone when dropped.
pub(super) struct Draft<'o> {
    own: &'o Own,
    name: String,
}

impl Draft<'_> {
    /// Puts it in its place, in one step; [`sync`] has the system keep that.
    pub(super) fn place(self, folder: &Dir, name: &str) -> io::Result<()> {
        self.own.0.rename(&self.name, folder, name)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let _ = self.own.0.remove_file(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_and_what_editors_leave_is_no_setting() {
        for key in [
            ".datastream",
            ".datastream/x",
            ".DataStream/x",
            ".datastream.toml",
            "a~",
            "a/.b.swp",
            ".swap.swo",
            "a/.#b",
            "a/#b#",
        ] {
            assert!(reserves(key), "{key}");
        }
        for key in [
            "datastream",
            "a/.datastream",
            "a/.datastream.toml",
            "a.swp",
            ".swp",
            ".env",
            "a/b",
            ".b.sw",
            "#a",
            "a#",
            "##",
            "4913",
        ] {
            assert!(!reserves(key), "{key}");
        }
    }
}
