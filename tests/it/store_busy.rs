//! Somebody else writes in the file of a server for longer than it waits.

use rusqlite::Connection;
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::file_server::store_of;
use crate::process::Server;
use crate::wire::{Wire, announced, data, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_somebody_else_writes_for_long_takes_no_push_and_is_read_on() {
    let folder = TempDir::new().expect("a folder");
    let store = format!("sqlite:{}", store_of(folder.path()).display());
    let server = Server::start(&["--store", &store, "--listen", "127.0.0.1:0", "--heartbeat", "50ms"]);
    let wire = Wire::to(&server.url()).await;
    wire.push_int("a", 1).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    assert_eq!(stream.next().await.to_string(), "State a=1");
    let foreign = Connection::open(store_of(folder.path())).expect("it opens");
    for (lock, value) in [("BEGIN IMMEDIATE", 2), ("BEGIN EXCLUSIVE", 3)] {
        foreign.execute_batch(lock).expect("nobody writes");
        let refused = tokio::spawn({
            let wire = wire.clone();
            async move { wire.push(data("a", "int", value.to_string())).await }
        });
        let mut heartbeats = 0;
        while !refused.is_finished() {
            let heartbeat = stream.heartbeat().await;
            assert!(heartbeat.source_age.is_none(), "{lock}: the store can be read");
            heartbeats += 1;
        }
        assert!(heartbeats > 5, "{lock}: {heartbeats} heartbeats in five seconds");
        let status = refused.await.expect("it does not panic").expect_err("somebody else writes");
        assert_eq!(status.code(), Code::Unavailable, "{lock}: {status:?}");
        assert!(status.get_details_retry_info().is_some(), "{lock}: it says when to try again");
        assert_eq!(wire.sync(announced(["a"])).await.data["a"].value, (value - 1).to_string());
        foreign.execute_batch("ROLLBACK").expect("it was begun");
        wire.push_int("a", value).await;
        let change = within("the change", stream.delivery()).await;
        assert_eq!(change.to_string(), format!("Change a={value}"));
    }
}
