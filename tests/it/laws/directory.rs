//! A folder, and a program that writes files.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datastream_server::stores::directory;
use datastream_server::testing::conformance::{ForeignWrite, ForeignWriter, Open, Subject};
use futures_util::FutureExt as _;

pub(super) fn open() -> Open {
    Arc::new(|| {
        async {
            let folder = tempfile::tempdir().expect("a folder");
            let store =
                directory::open(folder.path(), directory::Options::default()).await.expect("it opens");
            let editor = Editor(folder.path().to_owned());
            Subject { store, foreign: Some(Box::new(editor)), kept: Box::new(folder) }
        }
        .boxed()
    })
}

/// A program that writes files, each for itself.
struct Editor(PathBuf);

#[async_trait]
impl ForeignWriter for Editor {
    async fn write(&self, writes: &[ForeignWrite]) {
        for ForeignWrite { key, value } in writes {
            let path = self.0.join(key);
            match value {
                Some((_, text)) => std::fs::write(path, text).expect("it can be written"),
                None if path.exists() => std::fs::remove_file(path).expect("it can be removed"),
                None => {}
            }
        }
    }
}
