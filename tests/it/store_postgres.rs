//! The store `postgres` keeps what every store promises, and what only it can: it sees what others write into its table,
//! whatever they do there, and it is served by several servers at once.
//!
//! The tests have threads for their tasks, since `psql` blocks the one that runs it: what it waits for may be a task's to
//! end.

mod adopted;
mod altered;
mod connections;
mod foreign;
mod full;
mod outages;
mod polled;
mod pooler;
mod rules;
mod standby;
mod stubborn;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream_server::store::{Batch, Change, Commit, Operation, Since, Store};
use datastream_server::stores::postgres::{self, Address, OpenError};

use crate::postgres::{Cluster, Database};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// The user's table, as the documentation has it.
pub(crate) const TABLE: &str = "CREATE TABLE data (
  key text PRIMARY KEY,
  value bytea,
  value_type text,
  updated_at timestamptz DEFAULT now()
)";

/// A database with the table, of which there is a store.
async fn served() -> (Database, Arc<dyn Store>) {
    let database = Cluster::shared().database();
    let store = on(&database).await;
    (database, store)
}

/// A store of a table that is made in the database.
pub(crate) async fn on(database: &Database) -> Arc<dyn Store> {
    database.psql(TABLE);
    open(&database.url()).await.expect("the table can be served")
}

async fn open(url: &str) -> Result<Arc<dyn Store>, OpenError> {
    postgres::open(Address::parse(url).expect("an address")).await
}

async fn head(store: &Arc<dyn Store>) -> Position {
    store.load().await.expect("load").position
}

async fn commit(store: &Arc<dyn Store>, operations: impl Into<Vec<Operation>>) -> Position {
    let commit = Commit { operations: operations.into(), ..Commit::default() };
    store.commit(commit).await.expect("a commit that nothing speaks against")
}

async fn changes(store: &Arc<dyn Store>, after: &Position) -> Batch {
    match store.changes(after).await.expect("changes") {
        Since::Changes(batch) => batch,
        Since::Replaced => panic!("{after:?} is a position of this store"),
    }
}

/// A key with its type and text; a tombstone has neither.
type Told<'a> = (&'a str, Option<(&'a str, &'a [u8])>);

fn told(changes: &[Change]) -> Vec<Told<'_>> {
    let told = changes.iter().map(|change| {
        let value = change.value.as_ref();
        (&*change.key, value.map(|stored| (&*stored.value_type, &stored.value[..])))
    });
    told.collect()
}

/// What is live, by key.
async fn state(store: &Arc<dyn Store>) -> Vec<(String, String)> {
    let snapshot = store.load().await.expect("load");
    let live = snapshot.changes.iter().filter_map(|change| {
        let value = change.value.as_ref()?;
        Some((change.key.to_string(), String::from_utf8_lossy(&value.value).into_owned()))
    });
    let mut live: Vec<_> = live.collect();
    live.sort();
    live
}

/// Waits until `reached` says so.
async fn until<F: Future<Output = bool>>(what: &str, mut reached: impl FnMut() -> F) {
    let waiting = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what}: not in {DEADLINE:?}"));
}
