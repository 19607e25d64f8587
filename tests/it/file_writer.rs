//! A program that writes the file of a server, past it, and remembers what it wrote.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use crate::wire::DEADLINE;

/// Settings that nobody else writes. All calls block.
pub(crate) struct FileWriter {
    file: Connection,
    last: BTreeMap<String, i64>,
    /// The highest of them: each write has the next.
    value: i64,
}

impl FileWriter {
    /// Opens a file that a server has opened before.
    pub(crate) fn open(path: &Path) -> Self {
        let file = Connection::open(path).expect("the file opens");
        file.busy_timeout(DEADLINE).expect("SQLite can wait");
        Self { file, last: BTreeMap::new(), value: 0 }
    }

    /// Puts a value that was never there.
    pub(crate) fn put(&mut self, key: &str) {
        self.value += 1;
        let put = "INSERT INTO data (key, value, value_type) VALUES (?1, ?2, 'int')
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.file.execute(put, (key, self.value.to_string())).expect("it is written");
        self.last.insert(key.to_owned(), self.value);
    }

    /// What is there.
    pub(crate) fn last(&self) -> &BTreeMap<String, i64> {
        &self.last
    }
}
