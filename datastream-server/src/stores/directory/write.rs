//! Writing and removing a file, in a turn: on the condition that it is what was decided upon.

use std::io;

use cap_std::fs::{Dir, Metadata};

use super::folder::Folder;
use super::own::{self, Own};
use super::stamp::{Stamp, Version};
use super::tree::{Blocked, Entry, Tree, is_missing, sync};
use crate::store::{Refused, StoreError, Stored};
use crate::stores::objects::Denied;
use crate::stores::types_file::{self, TypesError};

impl Folder {
    /// Who is refused leaves no folder that was made for it: it would be in the way of a key of its name.
    pub(super) fn write(
        &self,
        key: &str,
        stored: &Stored,
        over: Option<&Version>,
    ) -> Result<Version, Denied> {
        let root = self.root()?;
        let tree = Tree::at(&root);
        let found = tree.folders_to(key);
        let written = self.replace(&root, &tree, key, stored, over);
        if written.is_err() {
            remove_empty(&tree, key, found);
        }
        written
    }

    /// The type comes first: a value of another type is never there under the one before.
    fn replace(
        &self,
        root: &Dir,
        tree: &Tree<'_>,
        key: &str,
        stored: &Stored,
        over: Option<&Version>,
    ) -> Result<Version, Denied> {
        let failed = |error: io::Error| self.denied(key, &error);
        let own = Own::made(root).map_err(|error| self.denied(own::FOLDER, &error))?;
        let (folder, name) = match tree.parent(key, true) {
            Ok(parent) => parent,
            Err(Blocked::By(by)) => return Err(in_the_way(&by)),
            Err(Blocked::Missing) => return Err(Denied::Lost),
            Err(Blocked::Failed(error)) => return Err(failed(error)),
        };
        let found = match tree.entry(&folder, name).map_err(failed)? {
            Entry::Nothing => None,
            Entry::File(found) => Some(found),
            // Only an empty folder can be removed so.
            Entry::Other(by) => folder.remove_dir(name).map(|()| None).map_err(|_| in_the_way(&by))?,
        };
        let permissions = found.as_ref().map(Metadata::permissions);
        let draft = own.draft(&stored.value, permissions).map_err(failed)?;
        // As late as can be: what an editor saves after this, and before the end, is lost to it.
        self.check(tree, key, over)?;
        let before = self.types(tree).map_err(|error| self.denied(types_file::NAME, &error))?;
        let mut types = (*before).clone();
        let is_retyped = types.try_set(key, &stored.value_type).map_err(|error| not_edited(&error))?;
        if is_retyped {
            self.types_to_edit(tree).map_err(|error| types_in_the_way(&error))?;
            self.write_types(root, &own, &types.to_string())?;
        }
        let placed = match tree.stamp(key) {
            Ok(now) if now != over.map(|over| over.stamp) => Err(Denied::Lost),
            Ok(_) => draft.place(&folder, name).map_err(failed),
            Err(error) => Err(failed(error)),
        };
        if placed.is_err() && is_retyped {
            // A push that was not made leaves the type as it was.
            self.write_types(root, &own, &before.to_string())?;
        }
        placed?;
        sync(&folder).map_err(unkept)?;
        match tree.entry(&folder, name).map_err(unknown)? {
            Entry::File(found) => {
                Ok(Version { stamp: Stamp::of(&found), value_type: stored.value_type.clone() })
            }
            // Somebody was quick.
            _ => Err(Denied::Unknown("it was replaced at once".into())),
        }
    }

    /// The folders that become empty go with it, and last what is said of its type.
    pub(super) fn remove(&self, key: &str, over: &Version) -> Result<(), Denied> {
        let failed = |error: io::Error| self.denied(key, &error);
        let root = self.root()?;
        let tree = Tree::at(&root);
        let (folder, name) = match tree.parent(key, false) {
            Ok(parent) => parent,
            Err(Blocked::Failed(error)) => return Err(failed(error)),
            Err(_) => return Err(Denied::Lost),
        };
        self.check(&tree, key, Some(over))?;
        folder.remove_file(name).map_err(failed)?;
        sync(&folder).map_err(unkept)?;
        remove_empty(&tree, key, 0);
        // The file is gone, whatever becomes of what is said of it.
        let forgotten = self.types_to_edit(&tree).map_err(Denied::from).and_then(|mut types| {
            if !types.try_remove(key).map_err(|error| not_edited(&error))? {
                return Ok(());
            }
            let own = Own::made(&root).map_err(|error| self.denied(own::FOLDER, &error))?;
            self.write_types(&root, &own, &types.to_string())
        });
        if let Err(error) = forgotten {
            tracing::warn!(folder = %self.path.display(), ?error, "the type of a key that is gone stays in the file");
        }
        Ok(())
    }

    /// Has the system keep what was done to the file, or the file that is gone.
    pub(super) fn keep(&self, key: &str) -> Result<(), StoreError> {
        let root = self.root()?;
        let kept = match Tree::at(&root).parent(key, false) {
            Ok((folder, _)) => sync(&folder),
            Err(Blocked::Failed(error)) => Err(error),
            // Somebody has taken its folder away, and all that was in it.
            Err(Blocked::Missing | Blocked::By(_)) => Ok(()),
        };
        kept.map_err(|error| self.unavailable(key, &error))
    }

    /// That the file is what was decided upon, or still is not there.
    fn check(&self, tree: &Tree<'_>, key: &str, over: Option<&Version>) -> Result<(), Denied> {
        let types = self.types(tree).map_err(|error| self.denied(types_file::NAME, &error))?;
        let stamp = tree.stamp(key).map_err(|error| self.denied(key, &error))?;
        let now = stamp.map(|stamp| Version { stamp, value_type: types.type_of(key) });
        if now.as_ref() == over { Ok(()) } else { Err(Denied::Lost) }
    }

    fn write_types(&self, root: &Dir, own: &Own, text: &str) -> Result<(), Denied> {
        let permissions = root.symlink_metadata(types_file::NAME).ok().map(|found| found.permissions());
        let draft = own.draft(text.as_bytes(), permissions);
        draft
            .and_then(|draft| draft.place(root, types_file::NAME))
            .and_then(|()| sync(root))
            .map_err(|error| self.denied(types_file::NAME, &error))
    }

    fn denied(&self, what: &str, error: &io::Error) -> Denied {
        // A name that the system cannot have.
        if matches!(error.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput) {
            return Refused::Rules.into();
        }
        self.unavailable(what, error).into()
    }
}

/// Up to the folder whose path takes so many bytes, which stays; 0 is the root.
fn remove_empty(tree: &Tree<'_>, key: &str, stays: usize) {
    let above = key.rmatch_indices('/').map(|(end, _)| &key[..end]);
    for path in above.take_while(|path| path.len() > stays) {
        let removed = match tree.parent(path, false) {
            Ok((folder, name)) => folder.remove_dir(name).and_then(|()| sync(&folder)),
            Err(Blocked::Missing) => continue,
            Err(_) => return,
        };
        if removed.is_err_and(|error| !is_missing(&error)) {
            return;
        }
    }
}

/// It was done, and may be something else by now.
fn unknown(error: io::Error) -> Denied {
    Denied::Unknown(error.into())
}

/// It was done, and the system says that it may not be kept.
fn unkept(error: io::Error) -> Denied {
    Denied::Unkept(error.into())
}

/// The file that is to say the type is broken, and an edit would lose what somebody meant.
fn not_edited(error: &TypesError) -> Denied {
    types_in_the_way(&StoreError::Unavailable(error.to_string().into()))
}

fn types_in_the_way(error: &StoreError) -> Denied {
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let by = format!("`{}`, which is to say its type ({why}),", types_file::NAME);
    Refused::InTheWay { by }.into()
}

fn in_the_way(by: &str) -> Denied {
    Refused::InTheWay { by: datastream::key::shown(by).to_string() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else nothing could be written any more.
    #[test]
    fn what_somebody_took_away_with_its_folder_is_kept_as_it_is() {
        let served = tempfile::TempDir::new().expect("a folder");
        std::fs::write(served.path().join("a"), "1").expect("a file");
        let folder = Folder::open(served.path().to_owned()).expect("it can be served");
        for key in ["a", "gone", "gone/b/c", "a/b"] {
            folder.keep(key).expect(key);
        }
        std::fs::remove_dir_all(served.path()).expect("it goes");
        folder.keep("a").expect_err("nobody knows what is there");
    }
}
