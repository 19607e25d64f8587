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

use datastream_server::store::Store;
use datastream_server::stores::directory::{self, Options};
use tempfile::TempDir;

use crate::store_words::{changes, commit, head, known, refused, setting, state};

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
