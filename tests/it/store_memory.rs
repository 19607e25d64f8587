//! The store `memory` keeps what every store promises.

use std::sync::Arc;

use datastream_server::store::Store;
use datastream_server::stores::memory::MemoryStore;
use datastream_server::testing::conformance;

#[tokio::test]
async fn it_conforms() {
    conformance::run(async || Arc::new(MemoryStore::new()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn two_stores_have_two_histories() {
    let [one, other] = [MemoryStore::new(), MemoryStore::new()];
    let [one, other] =
        [one.load().await, other.load().await].map(|snapshot| snapshot.expect("load").position);
    assert_eq!(one.revision, other.revision);
    assert_ne!(one.token, other.token);
}
