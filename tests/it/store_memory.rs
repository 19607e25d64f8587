//! What only the store `memory` does; what every store promises is in `laws.rs`.

use datastream_server::store::Store;
use datastream_server::stores::memory::MemoryStore;

#[tokio::test]
async fn two_stores_have_two_histories() {
    let [one, other] = [MemoryStore::new(), MemoryStore::new()];
    let [one, other] =
        [one.load().await, other.load().await].map(|snapshot| snapshot.expect("load").position);
    assert_eq!(one.revision, other.revision);
    assert_ne!(one.token, other.token);
}
