//! A repository, here or as a remote, and somebody with a clone.

use std::sync::Arc;

use async_trait::async_trait;
use datastream_server::store::Store;
use datastream_server::stores::git::{Address, GitStore};
use datastream_server::testing::conformance::{ForeignWrite, ForeignWriter, Open, Subject};
use futures_util::FutureExt as _;

use crate::git::{Person, Repository};

pub(super) fn open(store: fn(&Repository) -> String) -> Open {
    Arc::new(move || {
        async move {
            let repository = Repository::empty();
            let address = Address::parse(&store(&repository)).expect("an address");
            let store: Arc<dyn Store> =
                Arc::new(GitStore::open(&address).await.expect("an empty repository"));
            let foreign = Some(Box::new(Pusher(Arc::new(repository.person()))) as Box<dyn ForeignWriter>);
            Subject { store, foreign, kept: Box::new(repository) }
        }
        .boxed()
    })
}

/// Somebody with a clone.
struct Pusher(Arc<Person>);

#[async_trait]
impl ForeignWriter for Pusher {
    async fn write(&self, transaction: &[ForeignWrite]) {
        let (person, writes) = (self.0.clone(), transaction.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let files =
                writes.iter().map(|write| (&*write.key, write.value.as_ref().map(|(_, text)| &**text)));
            person.change(&files.collect::<Vec<_>>());
        });
        written.await.expect("it is pushed");
    }
}
