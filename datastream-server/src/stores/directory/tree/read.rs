//! Reading a file: what is in it, with the stamp that it had all the while, and its type.

use std::io::{self, ErrorKind, Read as _};
use std::sync::Arc;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsSyncExt as _};
use cap_std::fs::{Dir, File, OpenOptions};

use super::{Blocked, Entry, Tree};
use crate::config::MAX_VALUE_BYTES;
use crate::store::Stored;
use crate::stores::directory::stamp::{Stamp, Version};
use crate::stores::objects::{Object, Reading};

/// How many times a file is read that changes meanwhile.
const ATTEMPTS: usize = 3;

impl Tree<'_> {
    /// The text of the file at `key`.
    pub(in crate::stores::directory) fn text(&self, key: &str) -> io::Result<String> {
        match self.contents(key)? {
            Some((_, Some(bytes))) => String::from_utf8(bytes)
                .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8")),
            Some((_, None)) => Err(io::Error::new(ErrorKind::FileTooLarge, "it is too large")),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The file at `key`, as an object of the type that `type_of` finds. Who writes both begins with the type: so one that is
    /// found after the value, which still stands then, is that of the value, but for the moment between the two.
    ///
    /// # Errors
    ///
    /// That of `type_of`.
    pub(in crate::stores::directory) fn read(
        &self,
        key: &str,
        type_of: impl Fn() -> io::Result<Arc<str>>,
    ) -> io::Result<Reading<Version>> {
        for _ in 0..ATTEMPTS {
            let (stamp, bytes) = match self.contents(key) {
                Ok(None) => return Ok(Reading::Absent),
                Err(error) => return Ok(Reading::Unreadable(error.to_string())),
                Ok(Some(found)) => found,
            };
            let value_type = type_of()?;
            if self.stamp(key).is_ok_and(|now| now == Some(stamp)) {
                return Ok(Reading::There(Object {
                    stored: bytes.map(|value| Stored { value: value.into(), value_type: value_type.clone() }),
                    bytes: stamp.bytes,
                    time: stamp.modified,
                    version: Version { stamp, value_type },
                }));
            }
        }
        Ok(Reading::Unreadable(changing().to_string()))
    }

    /// What is in the file at `key`, if that is not too much, with the stamp that it had all the while.
    fn contents(&self, key: &str) -> io::Result<Option<(Stamp, Option<Vec<u8>>)>> {
        let (folder, name) = match self.parent(key, false) {
            Ok(parent) => parent,
            Err(Blocked::Failed(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        for _ in 0..ATTEMPTS {
            let Entry::File(_) = self.entry(&folder, name)? else { return Ok(None) };
            let file = match open(&folder, name) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
            let before = Stamp::of(&file.metadata()?);
            if before.bytes > MAX_VALUE_BYTES as u64 {
                return Ok(Some((before, None)));
            }
            let mut bytes = Vec::new();
            (&file).take(MAX_VALUE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
            if Stamp::of(&file.metadata()?) == before && bytes.len() as u64 == before.bytes {
                return Ok(Some((before, Some(bytes))));
            }
        }
        Err(changing())
    }
}

fn changing() -> io::Error {
    io::Error::new(ErrorKind::ResourceBusy, "it changes while it is read")
}

/// What was a file a moment ago may be a pipe by now, on which nobody is to wait.
fn open(folder: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    let file = folder.open_with(name, &options)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::NotFound.into()) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use cap_std::ambient_authority;
    use tempfile::TempDir;

    use super::*;

    /// Reads a file that somebody replaces, once, before its type is found (`is_before`) or after.
    fn read_while_both_change(is_before: bool) -> (Vec<u8>, Arc<str>) {
        let folder = TempDir::new().expect("a folder");
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).expect("it is there");
        root.write("a", "old").expect("written");
        let is_new = Cell::new(false);
        let change = || {
            if !is_new.replace(true) {
                root.write("draft", "new").and_then(|()| root.rename("draft", &root, "a")).expect("replaced");
            }
        };
        let reading = Tree::at(&root).read("a", || {
            if is_before {
                change();
            }
            let found = if is_new.get() { "new" } else { "old" };
            change();
            Ok(found.into())
        });
        let Ok(Reading::There(Object { stored: Some(stored), .. })) = reading else { panic!("{reading:?}") };
        (stored.value.to_vec(), stored.value_type)
    }

    #[test]
    fn a_value_and_its_type_that_change_while_they_are_read_are_of_one_time() {
        for is_before in [true, false] {
            assert_eq!(read_while_both_change(is_before), (b"new".to_vec(), "new".into()), "{is_before}");
        }
    }
}
