//! The store `directory`: a folder with a file for each setting, whose path below it is the key.
//!
//! Files are written by renaming over them, and an edit by anybody is seen at once. Nothing outside the folder is reached,
//! whatever links lead there: each step into it is one name, opened as what it is (`tree.rs`). A name says no more of a type
//! than its extension does, so types are in a file beside (`types_file.rs`). Servers of ours on one folder take turns.

mod error;
mod own;
mod stamp;
mod tree;
mod walk;
mod watch;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

pub use self::error::OpenError;
use self::own::{Own, Turn};
use self::stamp::{Identity, Stamp, Version};
use self::tree::Tree;
use self::walk::Skipped;
use self::watch::Bell;
use super::objects::{Denied, Listing, Objects, Place, Reading};
use super::types_file::{self, TypesFile};
use crate::store::{Store, StoreError, Stored};

/// What can be set of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often all of it is looked at, whatever the system tells of changes. Default: 5 s.
    pub poll: Duration,
}

impl Options {
    /// Reads what stands behind the `?` of an address: `poll=30s`.
    ///
    /// # Errors
    ///
    /// What is wrong, in one line.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("poll", interval) => options.poll = super::poll_interval(interval)?,
                (other, _) => return Err(format!("file has no option {other:?}; it has poll")),
            }
        }
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { poll: Duration::from_secs(5) }
    }
}

/// Serves the folder at `path`, which exists.
///
/// # Errors
///
/// [`OpenError`], which says in one line what to do.
pub async fn open(path: &Path, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    let path = path.to_owned();
    let folder =
        tokio::task::spawn_blocking(move || Folder::open(path)).await.map_err(OpenError::other)??;
    let folder = Directory { folder: Arc::new(folder) };
    let store = Objects::start(folder, options.poll).await.map_err(OpenError::other)?;
    Ok(Arc::new(store))
}

/// A folder, as a place of objects.
struct Directory {
    folder: Arc<Folder>,
}

/// A folder: all of this blocks.
struct Folder {
    path: PathBuf,
    state: Mutex<State>,
    bell: Bell,
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
    fn open(path: PathBuf) -> Result<Self, OpenError> {
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

    fn unavailable(&self, what: &str, error: &io::Error) -> StoreError {
        error::of_io(&format!("{what} in {}", self.path.display()), error)
    }

    /// The folder that is served, if that is what the path still leads to.
    fn root(&self) -> Result<Dir, StoreError> {
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

    /// Every file there is. Another folder at the path is served from then on, but an empty one is not taken for deletions:
    /// it may be what lies below a disk that is not mounted.
    fn list(&self) -> Result<Listing<Version>, StoreError> {
        let root = self.root_now()?;
        let failed = |error: io::Error| self.unavailable("the folder", &error);
        let identity = stamp::identity(&root).map_err(failed)?;
        let is_other = identity != self.state().identity;
        if is_other && root.entries().map_err(failed)?.next().is_none() {
            let text = format!(
                "{} is another folder now, and empty: is something not mounted?",
                self.path.display()
            );
            return Err(StoreError::Unavailable(text.into()));
        }
        self.bell.follow(&self.path, is_other);
        let tree = Tree::at(&root);
        let types = self.types(&tree).map_err(failed)?;
        let mut found = walk::Found::new(&types);
        found.walk(&root).map_err(failed)?;
        let mut state = self.state();
        state.identity = identity;
        state.skipped.tell(&self.path, found.skipped);
        self.bell.is_unsettled(found.is_unsettled);
        Ok(Listing { objects: found.objects, unreadable: found.unreadable })
    }

    fn read(&self, key: &str) -> Result<Reading<Version>, StoreError> {
        let root = self.root()?;
        let tree = Tree::at(&root);
        let types = self.types(&tree).map_err(|error| self.unavailable(types_file::NAME, &error))?;
        Ok(tree.read(key, types.type_of(key)))
    }

    /// The types as the file has them now; the last good ones while it cannot be read.
    fn types(&self, tree: &Tree<'_>) -> io::Result<Arc<TypesFile>> {
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
    fn types_to_edit(&self, tree: &Tree<'_>) -> Result<TypesFile, StoreError> {
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

impl Directory {
    /// Where it may block.
    async fn run<T, E>(&self, work: impl FnOnce(&Folder) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let folder = self.folder.clone();
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))
    }
}

#[async_trait]
impl Place for Directory {
    type Version = Version;
    type Turn = Turn;

    const READERS: usize = 16;

    async fn list(&self) -> Result<Listing<Version>, StoreError> {
        self.run(Folder::list).await
    }

    async fn read(&self, key: &str, _: Option<&Version>) -> Result<Reading<Version>, StoreError> {
        let key = key.to_owned();
        self.run(move |folder| folder.read(&key)).await
    }

    async fn turn(&self) -> Result<Turn, StoreError> {
        self.run(Folder::turn).await
    }

    async fn write(&self, key: &str, stored: &Stored, over: Option<&Version>) -> Result<Version, Denied> {
        let (key, stored, over) = (key.to_owned(), stored.clone(), over.cloned());
        self.run(move |folder| folder.write(&key, &stored, over.as_ref())).await
    }

    async fn remove(&self, key: &str, over: &Version) -> Result<(), Denied> {
        let (key, over) = (key.to_owned(), over.clone());
        self.run(move |folder| folder.remove(&key, &over)).await
    }

    fn reserves(&self, key: &str) -> bool {
        own::reserves(key)
    }

    async fn is_seeded(&self) -> Result<bool, StoreError> {
        self.run(|folder| Ok(Own::existing(&folder.root()?).is_some_and(|own| own.is_seeded()))).await
    }

    async fn mark_seeded(&self) -> Result<(), StoreError> {
        self.run(|folder| {
            let own = Own::made(&folder.root()?).map_err(|error| folder.unavailable(own::FOLDER, &error))?;
            own.mark_seeded().map_err(|error| folder.unavailable(own::FOLDER, &error))
        })
        .await
    }

    async fn rung(&self) {
        self.folder.bell.rung().await;
    }

    fn nests(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "directory"
    }
}
