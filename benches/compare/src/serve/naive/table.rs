//! A table of SQLite that is written a transaction at a time.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use datastream::proto::Data;
use rusqlite::{Connection, Result, params};

pub struct Table(Mutex<Connection>);

impl Table {
    pub fn open(path: PathBuf) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT, updated_at TEXT)",
        )?;
        Ok(Self(Mutex::new(connection)))
    }

    pub fn write(&self, data: &Data) -> Result<()> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut insert =
            connection.prepare_cached("INSERT OR REPLACE INTO data VALUES (?, ?, ?, datetime())")?;
        insert.execute(params![data.key, &data.value[..], data.value_type])?;
        Ok(())
    }
}
