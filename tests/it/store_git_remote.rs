//! The store `git`, and the world: a remote over HTTP or ssh with its passwords, its bad days and its rules, servers that
//! share it, and repositories whose owner means ill.
//!
//! The tests have threads for their tasks, since git blocks the one that runs it.

mod bells;
mod credentials;
mod histories;
mod hostile;
mod mirror;
mod outages;
mod refusals;
#[cfg(target_os = "linux")]
mod ssh;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datastream_server::Config;
use datastream_server::store::Store;
use datastream_server::stores::git::{Address, GitStore, OpenError};
use datastream_server::testing::TestServer;

use crate::git::Repository;
use crate::git_http::{GitHttp, PASSWORD};
use crate::wire::{Deliveries, within};

/// A repository that a host serves, and a file with the token for it.
struct Hosted {
    repository: Repository,
    host: GitHttp,
}

impl Hosted {
    async fn holding(files: &[(&str, &str)]) -> Self {
        let repository = Repository::holding(files);
        std::fs::write(repository.folder().join("token"), PASSWORD).expect("a file");
        let host = GitHttp::serve(repository.folder()).await;
        Self { repository, host }
    }

    fn token_file(&self) -> PathBuf {
        self.repository.folder().join("token")
    }

    /// As `--store` takes it, with a mirror of this name, and these options.
    fn store(&self, mirror: &str, options: &str) -> String {
        self.through(&self.host, mirror, options)
    }

    /// The same through another host of the same repository.
    fn through(&self, host: &GitHttp, mirror: &str, options: &str) -> String {
        let mirror = self.repository.folder().join(mirror);
        host.store(&format!(
            "token_file={}&mirror={}&{options}",
            self.token_file().display(),
            mirror.display()
        ))
    }
}

async fn open(store: &str) -> Result<GitStore, OpenError> {
    GitStore::open(&Address::parse(store).expect("an address")).await
}

/// A server in this process.
async fn serve(store: &str) -> (Arc<dyn Store>, TestServer) {
    let store: Arc<dyn Store> = Arc::new(open(store).await.expect("the branch can be served"));
    (store.clone(), TestServer::start_with(store, Config::default().heartbeat(Duration::from_millis(50))))
}

/// The next age that a stream is told.
async fn age(stream: &mut Deliveries) -> Duration {
    let told = async {
        loop {
            if let Some(age) = stream.next().await.source_age {
                return Duration::try_from(age).expect("it is not negative");
            }
        }
    };
    within("an age", told).await
}

/// Waits until nobody is told of an age any more.
async fn is_fresh(stream: &mut Deliveries) {
    within("a fresh state", async { while stream.next().await.source_age.is_some() {} }).await;
}

/// What lives in a store.
async fn values(store: &Arc<dyn Store>) -> Vec<(String, String)> {
    let snapshot = store.load().await.expect("load");
    let live = snapshot.changes.iter().filter_map(|change| {
        let value = String::from_utf8_lossy(&change.value.as_ref()?.value).into_owned();
        Some((change.key.to_string(), value))
    });
    live.collect()
}
