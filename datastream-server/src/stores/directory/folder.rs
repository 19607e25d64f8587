//! A folder that is served: whether it is still the one at its path, what is in it, and the types that it says.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::own::Own;
use super::stamp::{self, Identity, Stamp, Version};
use super::tree::Tree;
use super::walk::{self, Skipped};
use super::watch::Bell;
use super::{OpenError, error};
use crate::store::StoreError;
use crate::stores::objects::{Listing, Reading};
use crate::stores::types_file::{self, TypesFile};

/// A folder: all of this blocks.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    state: Mutex<State>,
    pub(super) bell: Bell,
}

struct State {
    /// Of the folder whose files are served.
    identity: Identity,
    types: Arc<TypesFile>,
    /// Of the file that the types are from; `None` if it is to be read again.
    types_version: Option<Stamp>,
    /// What is wrong with the file, and was told.
    types_error: Option<String>,
    skipped: Skipped,
}

impl Folder {
    pub(super) fn open(path: PathBuf) -> Result<Self, OpenError> {
        let root = Dir::open_ambient_dir(&path, ambient_authority())
            .map_err(|error| OpenError::of_io(&path, error))?;
        let identity = stamp::identity(&root).map_err(|error| OpenError::of_io(&path, error))?;
        let types =
            read_types(&Tree::at(&root)).map_err(|what| OpenError::Types { path: path.clone(), what })?;
        let state = State {
            identity,
            types: Arc::new(types),
            types_version: None,
            types_error: None,
            skipped: Skipped::default(),
        };
        let folder = Self { bell: Bell::hung_at(&path), path, state: Mutex::new(state) };
        if let Some(mut own) = Own::existing(&root) {
            own.clean();
        }
        Ok(folder)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unavailable(&self, what: &str, error: &io::Error) -> StoreError {
        error::of_io(&format!("{what} in {}", self.path.display()), error)
    }

    /// The folder that is served, if that is what the path still leads to.
    pub(super) fn root(&self) -> Result<Dir, StoreError> {
        let root = self.root_now()?;
        let identity = stamp::identity(&root).map_err(|error| self.unavailable("the folder", &error))?;
        if identity != self.state().identity {
            return Err(StoreError::Unavailable(
                format!("{} is another folder now", self.path.display()).into(),
            ));
        }
        Ok(root)
    }

    fn root_now(&self) -> Result<Dir, StoreError> {
        let opened = Dir::open_ambient_dir(&self.path, ambient_authority());
        opened.map_err(|error| error::of_io(&self.path.display().to_string(), &error))
    }

    /// Every file there is. Another folder at the path is served from then on, but one without a setting is not taken for
    /// deletions: it may be what lies below a disk that is not mounted.
    pub(super) fn list(&self) -> Result<Listing<Version>, StoreError> {
        let root = self.root_now().inspect_err(|_| self.bell.is_lost())?;
        let failed = |error: io::Error| self.unavailable("the folder", &error);
        let identity = stamp::identity(&root).map_err(failed)?;
        let is_other = identity != self.state().identity;
        self.bell.follow(&self.path, is_other);
        let tree = Tree::at(&root);
        let types = self.types(&tree).map_err(failed)?;
        let mut found = walk::Found::new(&types);
        found.walk(&root).map_err(failed)?;
        if is_other && found.objects.is_empty() {
            // It hangs at this one now, and the one of before may come back.
            self.bell.is_lost();
            let text = format!(
                "{} is another folder now, without a setting: is something not mounted?",
                self.path.display()
            );
            return Err(StoreError::Unavailable(text.into()));
        }
        let mut state = self.state();
        state.identity = identity;
        state.skipped.tell(&self.path, found.skipped);
        self.bell.is_unsettled(found.is_unsettled);
        Ok(Listing { objects: found.objects, unreadable: found.unreadable })
    }

    pub(super) fn read(&self, key: &str) -> Result<Reading<Version>, StoreError> {
        let root = self.root()?;
        let tree = Tree::at(&root);
        let read = tree.read(key, || Ok(self.types(&tree)?.type_of(key)));
        read.map_err(|error| self.unavailable(types_file::NAME, &error))
    }

    /// The types as the file has them now; the last good ones while it cannot be read.
    pub(super) fn types(&self, tree: &Tree<'_>) -> io::Result<Arc<TypesFile>> {
        let found = tree.stamp(types_file::NAME)?;
        let mut state = self.state();
        if found.is_some() && found == state.types_version {
            return Ok(state.types.clone());
        }
        match read_types(tree) {
            Ok(types) => {
                state.types = Arc::new(types);
                state.types_error = None;
                state.types_version = found.filter(Stamp::is_settled);
            }
            Err(error) => {
                if state.types_error.as_ref() != Some(&error) {
                    tracing::warn!(folder = %self.path.display(), error, "the last types that could be read stay");
                }
                state.types_error = Some(error);
                state.types_version = None;
            }
        }
        Ok(state.types.clone())
    }

    /// The types, to be edited: not while somebody has left the file in a state that an edit would lose.
    pub(super) fn types_to_edit(&self, tree: &Tree<'_>) -> Result<TypesFile, StoreError> {
        let types = self.types(tree).map_err(|error| self.unavailable(types_file::NAME, &error))?;
        match &self.state().types_error {
            Some(error) => Err(StoreError::Unavailable(error.clone().into())),
            None => Ok((*types).clone()),
        }
    }
}

/// No file says nothing.
fn read_types(tree: &Tree<'_>) -> Result<TypesFile, String> {
    let text = match tree.text(types_file::NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TypesFile::default()),
        text => text.map_err(|error| format!("{}: {error}", types_file::NAME))?,
    };
    TypesFile::parse(&text).map_err(|error| error.to_string())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// As when a disk is mounted again: meanwhile another folder was at its path, and the bell hung there.
    #[tokio::test]
    async fn the_bell_hangs_at_the_folder_that_comes_back() {
        let around = tempfile::TempDir::new().expect("a folder");
        let [served, away, below] = ["served", "away", "below"].map(|name| around.path().join(name));
        fs::create_dir(&served).and_then(|()| fs::write(served.join("a"), "1")).expect("a folder");
        let folder = Folder::open(served.clone()).expect("it can be served");
        fs::rename(&served, &away).and_then(|()| fs::create_dir(&served)).expect("another folder");
        folder.list().expect_err("nothing is in it");
        fs::rename(&served, below).and_then(|()| fs::rename(away, &served)).expect("it comes back");
        folder.list().expect("it is there");
        while timeout(Duration::from_millis(200), folder.bell.rung()).await.is_ok() {}
        fs::write(served.join("a"), "2").expect("written");
        timeout(Duration::from_secs(10), folder.bell.rung()).await.expect("it rings");
    }
}
