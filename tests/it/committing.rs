//! What a commit promises to many at once: under competition, cut connections, kills, compaction and restores.
//!
//! `DATASTREAM_OPERATIONS`, `DATASTREAM_COMMITS`, `DATASTREAM_DELIVERIES`, `DATASTREAM_COMPACTION_SECONDS` and
//! `DATASTREAM_RESTORES` say how much of each is done; without them it is what the gate does.

mod compaction;
mod compare_and_set;
mod once;
mod register;
mod restore;
mod samples;
mod truth;
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datastream::proto::{CommitRequest, Position};
use datastream_server::store::Store;
use datastream_server::stores::MemoryStore;
use datastream_server::stores::sqlite::SqliteStore;
use tonic::{Code, Status};

use crate::control::Control;
use crate::wire::within;

/// Makes a new store. A folder is there for those that want one.
type Open = fn(&Path) -> Arc<dyn Store>;

const STORES: [(&str, Open); 2] = [
    ("memory", |_| Arc::new(MemoryStore::new())),
    ("sqlite", |folder| Arc::new(SqliteStore::open(&folder.join("settings.db")).expect("a new file"))),
];

/// How long to wait before a call is made again.
const RETRY: Duration = Duration::from_millis(2);

/// The size of a test: what the environment says, or what the gate does.
pub(crate) fn size(variable: &str, gate: usize) -> usize {
    std::env::var(variable)
        .map_or(gate, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Whether nobody knows what became of the call: it broke on the way. Everything else is the word of a server.
fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

/// Makes the same commit again and again until a server answers.
pub(crate) async fn insist(control: &Control, request: &CommitRequest) -> Result<Position, Status> {
    let made = async {
        loop {
            match control.make(request.clone()).await {
                Err(status) if is_lost(&status) => tokio::time::sleep(RETRY).await,
                told => return told,
            }
        }
    };
    within("an answer", made).await
}
