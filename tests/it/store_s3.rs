//! The store `s3` keeps what every store promises, and what only it can: it follows a bucket that anybody writes, and
//! refuses to write where updates would be lost.

mod defects;
mod faults;
mod garage;
mod refused;
mod rules;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use datastream_server::store::Store;
use datastream_server::stores::s3;

use crate::s3::Server;
use crate::store_words::{changes, commit, head, known, refused, setting, state};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A bucket that keeps conditions, and a store of it that looks when it is told to: else only each hour.
async fn served() -> (Server, Arc<dyn Store>) {
    let server = Server::start().await;
    let store = open(&server, "&poll=1h").await;
    (server, store)
}

async fn open(server: &Server, options: &str) -> Arc<dyn Store> {
    s3::open(&server.store(options)).await.expect("it can be served")
}

/// Waits until the store tells so many settings, without asking it to look.
async fn arrive(store: &Arc<dyn Store>, expected: &[(String, String, String)]) {
    let arrives = async {
        while known(store).await != expected {
            store.rung().await;
        }
    };
    let arrived = tokio::time::timeout(DEADLINE, arrives).await;
    assert!(arrived.is_ok(), "{:?} is not {expected:?}", known(store).await);
}
