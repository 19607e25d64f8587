//! A server of several on one database: a process, and a place where its clients find it whatever becomes of that.

use super::switch::Switch;
use crate::process::Server;

/// One of the servers.
pub(super) struct Member {
    front: Switch,
    store: String,
    process: Option<Server>,
}

impl Member {
    pub(super) async fn start(store: &str) -> Self {
        let process = start(store);
        let front = Switch::to(&process.url()).await;
        Self { front, store: store.to_owned(), process: Some(process) }
    }

    pub(super) fn url(&self) -> String {
        self.front.url()
    }

    /// Ends it as a crash would, and starts another in its place.
    pub(super) fn kill_and_start(&mut self) {
        self.process.take().expect("it runs").kill();
        let process = start(&self.store);
        self.front.point(&process.url());
        self.process = Some(process);
    }
}

/// It keeps all positions and all that was superseded, so that the whole history can be checked in the end.
fn start(store: &str) -> Server {
    let keep = ["--keep-positions", "24h", "--max-positions", "100000000", "--keep-versions", "100000000"];
    let flags = ["--store", store, "--listen", "127.0.0.1:0", "--log", "info,datastream_server::access=off"];
    Server::start(&[&flags[..], &keep].concat())
}
