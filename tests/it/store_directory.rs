//! The store `directory` keeps what every store promises, and what only it can: people edit its files, and it reaches
//! nothing else.

mod edited;
mod outside;
mod rules;
mod shared;
mod types;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream_server::store::{Batch, Change, Commit, CommitError, Operation, Refused, Since, Store};
use datastream_server::stores::directory::{self, Options};
use tempfile::TempDir;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(10);

/// A folder of settings, with something beside it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::create_dir(folder.path().join("settings")).expect("a folder");
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("settings")
    }

    fn file(&self, key: &str) -> PathBuf {
        self.path().join(key)
    }

    fn write(&self, key: &str, text: impl AsRef<[u8]>) {
        let path = self.file(key);
        std::fs::create_dir_all(path.parent().expect("it is below the folder")).expect("a folder");
        std::fs::write(path, text).expect("it can be written");
    }

    /// A store that looks when it is told to, or asked: by the clock only each hour.
    async fn store(&self) -> Arc<dyn Store> {
        open(&self.path()).await
    }
}

async fn open(path: &Path) -> Arc<dyn Store> {
    directory::open(path, Options { poll: Duration::from_secs(3600) }).await.expect("it can be served")
}

async fn head(store: &Arc<dyn Store>) -> Position {
    store.load().await.expect("load").position
}

async fn commit(store: &Arc<dyn Store>, operation: Operation) -> Position {
    store.commit(Commit::one(operation)).await.expect("a commit that nothing speaks against")
}

async fn refused(store: &Arc<dyn Store>, operation: Operation) -> Refused {
    match store.commit(Commit::one(operation)).await {
        Err(CommitError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn changes(store: &Arc<dyn Store>, after: &Position) -> Batch {
    match store.changes(after).await.expect("changes") {
        Since::Changes(batch) => batch,
        Since::Replaced => panic!("{after:?} is a position of this store"),
    }
}

/// What the store says when it has just looked: key, type and text of what is live.
async fn state(store: &Arc<dyn Store>) -> Vec<(String, String, String)> {
    store.refresh().await.expect("it can look");
    known(store).await
}

/// What the store says without looking.
async fn known(store: &Arc<dyn Store>) -> Vec<(String, String, String)> {
    let snapshot = store.load().await.expect("load");
    let mut live: Vec<_> = snapshot.changes.iter().filter_map(told).collect();
    live.sort();
    live
}

fn told(change: &Change) -> Option<(String, String, String)> {
    let stored = change.value.as_ref()?;
    let text = String::from_utf8_lossy(&stored.value).into_owned();
    Some((change.key.to_string(), stored.value_type.to_string(), text))
}

/// A setting, as [`state`] tells it.
fn setting(key: &str, value_type: &str, text: &str) -> (String, String, String) {
    (key.to_owned(), value_type.to_owned(), text.to_owned())
}
