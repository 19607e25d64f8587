//! What the database holds of the keys of a commit.

use std::collections::HashMap;

use tokio_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use super::attempt::Attempt;
use super::history::stored;
use super::table::Table;
use crate::store::{Held, Operation, Stored};

/// What is known of the keys of a commit, while nobody else can change them.
pub(super) struct Known {
    /// The rows of the table.
    pub(super) rows: HashMap<String, Option<Stored>>,
    /// The latest change of each.
    pub(super) latest: HashMap<String, Held>,
}

impl Known {
    /// Locks the rows, in the order of their keys, and then reads the log, which has all that was committed by then.
    pub(super) async fn lock(
        transaction: &Transaction<'_>,
        table: &Table,
        operations: &[Operation],
    ) -> Result<Self, Attempt> {
        let keys: Vec<&str> = operations.iter().map(|operation| &*operation.key).collect();
        let keys = [(&keys as &(dyn ToSql + Sync), Type::TEXT_ARRAY)];
        let lock = "SELECT key::text, {type}, {value} FROM {table} AS held WHERE key = ANY ($1)
          ORDER BY key FOR NO KEY UPDATE";
        let mut known = Self { rows: HashMap::new(), latest: HashMap::new() };
        for row in transaction.query_typed(&table.fill(lock), &keys).await? {
            known.rows.insert(row.try_get(0)?, stored(&row, 1)?);
        }
        let latest =
            "SELECT DISTINCT ON (key) key, type, value, revision FROM datastream.log WHERE key = ANY ($1)
          ORDER BY key, revision DESC";
        for row in transaction.query_typed(latest, &keys).await? {
            let revision = row.try_get::<_, i64>(3)?.cast_unsigned();
            known
                .latest
                .insert(row.try_get(0)?, Held { value: stored(&row, 1)?, is_left_out: false, revision });
        }
        let is_logged = |operation: &Operation| known.row(&operation.key) == known.live(&operation.key);
        if operations.iter().all(is_logged) { Ok(known) } else { Err(Attempt::Bypassed) }
    }

    fn row(&self, key: &str) -> Option<&Stored> {
        self.rows.get(key).and_then(Option::as_ref)
    }

    pub(super) fn live(&self, key: &str) -> Option<&Stored> {
        self.latest.get(key).and_then(|held| held.value.as_ref())
    }
}
