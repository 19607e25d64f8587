//! Several clients that push at once until the server is gone, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
use rusqlite::Connection;

use crate::file_server::store_of;
use crate::wire::{Wire, data, within};

/// Integer settings that only ever grow, each with a pusher of its own.
#[derive(Debug)]
pub(crate) struct Counters(Vec<Counter>);

#[derive(Debug, Default)]
struct Counter {
    key: String,
    /// The last value whose push was acknowledged.
    acknowledged: i64,
    /// The last value that was pushed.
    attempted: i64,
    /// The revision of the last acknowledgement.
    revision: u64,
    acknowledgements: u64,
    /// How often a push was found that was never acknowledged.
    finds: u64,
}

impl Counters {
    /// So many counters, none of which was pushed.
    pub(crate) fn new(count: usize) -> Self {
        let keys = (0..count).map(|n| format!("counter/{n}"));
        Self(keys.map(|key| Counter { key, ..Counter::default() }).collect())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|counter| &*counter.key)
    }

    /// How many pushes were acknowledged, and how many others were found to be there all the same.
    pub(crate) fn tally(&self) -> (u64, u64) {
        let acknowledged = self.0.iter().map(|counter| counter.acknowledgements).sum();
        (acknowledged, self.0.iter().map(|counter| counter.finds).sum())
    }

    /// Pushes each counter once.
    pub(crate) async fn push_once(&mut self, wire: &Wire) {
        for counter in &mut self.0 {
            counter.push(wire).await.expect("the push is taken");
        }
    }

    /// Pushes all counters at once, each one time. Returns what was refused.
    pub(crate) async fn push_each(&mut self, wire: &Wire) -> Vec<tonic::Status> {
        let pushes = self.0.iter_mut().map(|counter| counter.push(wire));
        join_all(pushes).await.into_iter().filter_map(Result::err).collect()
    }

    /// The last value of each that was acknowledged.
    pub(crate) fn acknowledged(&self) -> BTreeMap<String, i64> {
        self.0.iter().map(|counter| (counter.key.clone(), counter.acknowledged)).collect()
    }

    /// Pushes all counters at once, each again and again, until the server is gone.
    pub(crate) async fn push_until_gone(&mut self, wire: Wire) {
        let pushers = self.0.iter_mut().map(async |counter| while counter.push(&wire).await.is_ok() {});
        within("the end of the pushes", join_all(pushers)).await;
    }

    /// What the file of a folder holds of the counters, read past the server; checked to be what a store may
    /// hold that was told what these counters were. What it holds now, it must not lose later.
    pub(crate) fn held_in(&mut self, folder: &Path) -> BTreeMap<String, i64> {
        let file = Connection::open(store_of(folder)).expect("the file opens");
        let query = "SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM data WHERE key = ?";
        let held = |counter: &mut Counter| {
            let value =
                file.query_row(query, [&counter.key], |row| row.get(0)).expect("the counter is there");
            let possible = counter.acknowledged..=counter.attempted;
            assert!(possible.contains(&value), "the file holds {value} of {counter:?}");
            counter.finds += u64::from(value > counter.acknowledged);
            counter.acknowledged = value;
            (counter.key.clone(), value)
        };
        self.0.iter_mut().map(held).collect()
    }
}

impl Counter {
    async fn push(&mut self, wire: &Wire) -> Result<(), tonic::Status> {
        self.attempted += 1;
        let position = wire.push(data(&self.key, "int", self.attempted.to_string())).await?;
        assert!(position.revision > self.revision, "{} does not come after {self:?}", position.revision);
        (self.acknowledged, self.revision) = (self.attempted, position.revision);
        self.acknowledgements += 1;
        Ok(())
    }
}
