//! Writing and removing a file, in a turn: on the condition that it is what was decided upon.

use std::io;

use cap_std::fs::{Dir, Metadata};

use super::folder::Folder;
use super::own::{self, Own};
use super::stamp::{Stamp, Version};
use super::tree::{Blocked, Entry, Tree, sync};
use crate::store::{Refused, StoreError, Stored};
use crate::stores::objects::Denied;
use crate::stores::types_file;

impl Folder {
    /// The type comes first: a value of another type is never there under the one before.
    pub(super) fn write(
        &self,
        key: &str,
        stored: &Stored,
        over: Option<&Version>,
    ) -> Result<Version, Denied> {
        let failed = |error: io::Error| self.denied(key, &error);
        let root = self.root()?;
        let tree = Tree::at(&root);
        let own = Own::made(&root).map_err(|error| self.denied(own::FOLDER, &error))?;
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
        self.check(&tree, key, over)?;
        let before = self.types(&tree).map_err(|error| self.denied(types_file::NAME, &error))?;
        let mut types = (*before).clone();
        let is_retyped = types.set(key, &stored.value_type);
        if is_retyped {
            self.types_to_edit(&tree).map_err(|error| types_in_the_way(&error))?;
            self.write_types(&root, &own, &types.to_string())?;
        }
        let placed = match tree.stamp(key) {
            Ok(now) if now != over.map(|over| over.stamp) => Err(Denied::Lost),
            Ok(_) => draft.place(&folder, name).map_err(failed),
            Err(error) => Err(failed(error)),
        };
        if placed.is_err() && is_retyped {
            // A push that was not made leaves the type as it was.
            self.write_types(&root, &own, &before.to_string())?;
        }
        placed?;
        sync(&folder).map_err(unknown)?;
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
        sync(&folder).map_err(unknown)?;
        remove_empty(&tree, key);
        // The file is gone, whatever becomes of what is said of it.
        let forgotten = self.types_to_edit(&tree).map_err(Denied::from).and_then(|mut types| {
            if !types.remove(key) {
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

/// Up to the root, which stays.
fn remove_empty(tree: &Tree<'_>, key: &str) {
    let mut path = key;
    while let Some((above, _)) = path.rsplit_once('/') {
        let Ok((folder, name)) = tree.parent(above, false) else { return };
        if folder.remove_dir(name).and_then(|()| sync(&folder)).is_err() {
            return;
        }
        path = above;
    }
}

/// It was done, and may not be kept, or be something else by now.
fn unknown(error: io::Error) -> Denied {
    Denied::Unknown(error.into())
}

/// The file that is to say the type is broken, and an edit would lose what somebody meant.
fn types_in_the_way(error: &StoreError) -> Denied {
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let by = format!("`{}`, which is to say its type ({why}),", types_file::NAME);
    Refused::InTheWay { by }.into()
}

fn in_the_way(by: &str) -> Denied {
    Refused::InTheWay { by: datastream::key::shown(by).to_string() }.into()
}
