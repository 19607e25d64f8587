//! The store `directory`: a folder with a file for each setting, whose path below it is the key.
//!
//! Files are written by renaming over them, and an edit by anybody is seen at once. Nothing outside the folder is reached,
//! whatever links lead there: each step into it is one name, opened as what it is (`tree.rs`). A name says no more of a type
//! than its extension does, so types are in a file beside (`types_file.rs`). Servers of ours on one folder take turns.

mod error;
mod folder;
mod own;
mod stamp;
mod tree;
mod walk;
mod watch;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::error::OpenError;
use self::folder::Folder;
use self::own::{Own, Turn};
use self::stamp::Version;
use super::objects::{Denied, Listing, Objects, Place, Reading};
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
                ("poll", interval) => options.poll = super::interval("poll", interval)?,
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

    async fn read(&self, key: &str) -> Result<Reading<Version>, StoreError> {
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

    async fn keep(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.run(move |folder| folder.keep(&key)).await
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
