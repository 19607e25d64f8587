//! What a foreign write costs with our triggers on the table, beside the same write on a table without them.
//!
//! `cargo bench --bench trigger_cost`. Both files lie in the same folder and are written by the same library, turn by
//! turn; the store is closed, so that only what is in the file is measured. It also says what a comparison of the
//! table with the log costs. Nothing fails: the figures are for the documents.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastream_server::store::Store as _;
use datastream_server::stores::sqlite::SqliteStore;
use rusqlite::Connection;
use tempfile::TempDir;

const TABLE: &str = "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP)";
const KEYS: i64 = 1000;
const ROUNDS: i64 = 7;
/// Rows of the comparison.
const ROWS: i64 = 100_000;

fn main() {
    let folder = TempDir::new().expect("a folder");
    let plain = table(&folder.path().join("plain.db"), KEYS);
    let followed = folder.path().join("followed.db");
    drop(table(&followed, KEYS));
    drop(SqliteStore::open(&followed).expect("it is fit"));
    let followed = open(&followed);
    // One statement is one transaction, and waits for the disk; of one of 1,000 only the work is left.
    for (what, statements, together) in
        [("a write, a transaction each", 200, false), ("1,000 writes in one transaction", 1000, true)]
    {
        let mut took = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (side, connection) in [&plain, &followed].into_iter().enumerate() {
                took[side].push(write(connection, round, statements, together));
            }
        }
        let [without, with] = took.map(|mut took| {
            took.sort();
            took[took.len() / 2] / u32::try_from(statements).expect("it is small")
        });
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{what}: {without:.1?} each without triggers, {with:.1?} with them: {ratio:.2} x");
    }
    compare(&folder.path().join("large.db"));
}

fn table(path: &Path, keys: i64) -> Connection {
    let connection = open(path);
    connection.execute_batch(TABLE).expect("a table");
    let rows = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
        INSERT INTO data (key, value, value_type) SELECT 'some/prefix/key ' || i, i, 'int' FROM n";
    connection.execute(rows, [keys]).expect("rows");
    connection
}

/// As our server keeps a file: with a write-ahead log, and durable.
fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a file");
    let _: String =
        connection.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0)).expect("a write-ahead log");
    connection.execute_batch("PRAGMA synchronous = FULL").expect("a pragma");
    connection
}

fn write(connection: &Connection, round: i64, statements: i64, together: bool) -> Duration {
    let mut update =
        connection.prepare_cached("UPDATE data SET value = ?1 WHERE key = ?2").expect("a statement");
    let began = Instant::now();
    if together {
        connection.execute_batch("BEGIN").expect("a transaction");
    }
    for number in 0..statements {
        let key = format!("some/prefix/key {}", number % KEYS);
        update.execute((round * statements + number + 1_000_000, key)).expect("a write");
    }
    if together {
        connection.execute_batch("COMMIT").expect("its end");
    }
    began.elapsed()
}

/// A file is compared when it is opened.
fn compare(path: &Path) {
    drop(table(path, ROWS));
    let began = Instant::now();
    drop(SqliteStore::open(path).expect("it is fit"));
    let adopted = began.elapsed();
    let began = Instant::now();
    let store = Arc::new(SqliteStore::open(path).expect("it is ours"));
    let compared = began.elapsed();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let began = Instant::now();
    let loaded = runtime.block_on(store.load()).expect("load").changes.len();
    println!(
        "{loaded} rows: adopted in {adopted:.1?}, compared at a start in {compared:.1?}, read in {:.1?}",
        began.elapsed()
    );
}
