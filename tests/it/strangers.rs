//! A stranger writes the table in every way that SQLite has, beside pushes of ours: whenever both pause, the table, the
//! log, the server and the clients say the same.
//!
//! The stranger knows nothing of this project. Some of what it does no trigger sees: rows that REPLACE deletes in
//! silence, a table that was swapped, triggers that were dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datastream_client::{Client, Watch};
use datastream_server::Config;
use datastream_server::stores::sqlite::{Options, SqliteStore};
use datastream_server::testing::TestServer;
use fastrand::Rng;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::wire::{DEADLINE, Wire, data, unannounced};

/// Between two pauses.
const STATEMENTS: usize = 25;
const PUSHES: usize = 5;
const KEYS: usize = 12;

/// The table, with a second unique column, through which REPLACE deletes in silence.
const TABLE: &str = "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, name TEXT UNIQUE)";

/// The type and the text of each live key.
type Content = BTreeMap<String, (String, Vec<u8>)>;

/// How many statements the stranger makes: `DATASTREAM_STATEMENTS`, or the size of the gate.
fn statements() -> usize {
    std::env::var("DATASTREAM_STATEMENTS")
        .map_or(2000, |number| number.parse().expect("DATASTREAM_STATEMENTS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_stranger_writes_table_log_server_and_client_are_equal_in_every_pause() {
    let seed = std::env::var("DATASTREAM_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("DATASTREAM_SEED is a number"));
    println!("DATASTREAM_SEED={seed}");
    let (began, total) = (Instant::now(), statements());
    let mut scene = Scene::start(seed).await;
    let mut made = 0;
    while made < total {
        made += scene.write_and_push().await;
        scene.all_are_equal(made).await;
    }
    let kinds = &scene.stranger.kinds;
    println!("{made} statements of {} kinds in {:.1?}: {kinds:?}", kinds.len(), began.elapsed());
    assert!(total < 1000 || kinds.len() >= 10, "hardly any kind was tried: {kinds:?}");
}

struct Scene {
    stranger: Stranger,
    rng: Rng,
    _server: TestServer,
    wire: Arc<Wire>,
    client: Client,
    _handles: Vec<Watch<Bytes>>,
    path: PathBuf,
    _folder: TempDir,
}

impl Scene {
    async fn start(seed: u64) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("settings.db");
        let stranger = Stranger::open(&path, seed);
        stranger.run(TABLE);
        let options = Options::default().reconcile(Duration::from_millis(20));
        let store = SqliteStore::open_with(&path, options).expect("it is fit");
        let server = TestServer::start_with(Arc::new(store), Config::default());
        let wire = Arc::new(Wire::to(&server.url()).await);
        let client = Client::connect(server.url());
        let handles = (0..KEYS).map(|number| client.watch::<Bytes>(key(number))).collect();
        let rng = Rng::with_seed(seed.wrapping_add(1));
        Self { stranger, rng, _server: server, wire, client, _handles: handles, path, _folder: folder }
    }

    /// Returns how many statements the stranger made.
    async fn write_and_push(&mut self) -> usize {
        let mut stranger = std::mem::replace(&mut self.stranger, Stranger::open(&self.path, 0));
        let writing = tokio::task::spawn_blocking(move || {
            let made = (0..STATEMENTS).map(|_| stranger.statement()).sum::<usize>();
            (stranger, made)
        });
        for _ in 0..PUSHES {
            let (key, value) = (key(self.rng.usize(..KEYS)), self.rng.u8(..).to_string());
            // One of another type than the key's is refused, and one that meets a table that is being swapped.
            let _ = self.wire.push(data(&key, "int", value)).await;
        }
        let (stranger, made) = writing.await.expect("the stranger's statements are right");
        self.stranger = stranger;
        made
    }

    async fn all_are_equal(&self, made: usize) {
        let until = Instant::now() + DEADLINE;
        loop {
            let table = self.stranger.table();
            let [log, server, client] = [self.stranger.log(), self.served().await, self.shown()];
            if [&log, &server, &client] == [&table; 3] {
                return;
            }
            assert!(
                Instant::now() < until,
                "a law is broken after {made} statements:\ntable {table:?}\nlog {log:?}\nserver {server:?}\nclient {client:?}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn served(&self) -> Content {
        let all = self.wire.sync(unannounced([""; 0])).await.data.into_values();
        all.map(|data| (data.key, (data.value_type, data.value.to_vec()))).collect()
    }

    fn shown(&self) -> Content {
        let snapshot = self.client.snapshot();
        let texts = snapshot.keys().filter_map(|key| Some((key.to_owned(), snapshot.text(key)?)));
        texts.map(|(key, (text, kind))| (key, (kind.to_owned(), text.to_vec()))).collect()
    }
}

fn key(number: usize) -> String {
    format!("k{number}")
}

/// A program that writes the table as it likes.
struct Stranger {
    connection: Connection,
    rng: Rng,
    /// How often each kind of statement was made.
    kinds: BTreeMap<&'static str, usize>,
}

impl Stranger {
    fn open(path: &Path, seed: u64) -> Self {
        let connection = Connection::open(path).expect("a foreign connection");
        connection.busy_timeout(DEADLINE).expect("a timeout");
        connection.set_prepared_statement_cache_capacity(0);
        Self { connection, rng: Rng::with_seed(seed), kinds: BTreeMap::new() }
    }

    fn run(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Makes one or more statements. Returns how many.
    fn statement(&mut self) -> usize {
        let (kind, sql) = match self.rng.u8(..) {
            0..2 => ("vacuum", "VACUUM".to_owned()),
            2..4 => ("swap the table", self.swap()),
            4..7 => ("drop the triggers and write", self.drop_triggers()),
            7..10 => ("add and drop a column", self.column()),
            10..13 => ("add and drop an index", "CREATE INDEX i ON data (value); DROP INDEX i".to_owned()),
            13..17 => ("delete all", "DELETE FROM data".to_owned()),
            17..22 => ("recursive triggers", format!("PRAGMA recursive_triggers = {}", self.rng.u8(..2))),
            22..26 => ("checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)".to_owned()),
            26..40 => (
                "transaction",
                format!("BEGIN; {}; {}; {}; COMMIT", self.put(), self.change(), self.remove()),
            ),
            40..50 => ("rolled back", format!("BEGIN; {}; {}; ROLLBACK", self.put(), self.remove())),
            50..80 => ("replace through the name", self.put_named()),
            80..130 => ("put", self.put()),
            130..160 => ("upsert", self.upsert()),
            160..190 => ("change", self.change()),
            190..205 => ("rename", self.rename()),
            205..215 => ("change the type", self.retype()),
            215..225 => ("change the time", "UPDATE data SET updated_at = '1999-01-01 00:00:00'".to_owned()),
            225..235 => ("outside the grammar", self.put_odd()),
            _ => ("delete", self.remove()),
        };
        self.run(&sql);
        *self.kinds.entry(kind).or_default() += 1;
        sql.split(';').count()
    }

    fn key(&mut self) -> String {
        key(self.rng.usize(..KEYS))
    }

    /// A value of each storage class.
    fn value(&mut self) -> String {
        let number = self.rng.u8(..);
        match self.rng.u8(..8) {
            0 => "NULL".to_owned(),
            1 => format!("{number}.5"),
            2 => format!("'text {number}'"),
            3 => format!("x'{number:02x}ff'"),
            4 => format!("' {number}'"),
            _ => number.to_string(),
        }
    }

    fn put(&mut self) -> String {
        let kind = ["NULL", "''", "'int'", "'string'"][self.rng.usize(..4)];
        format!(
            "REPLACE INTO data (key, value, value_type) VALUES ('{}', {}, {kind})",
            self.key(),
            self.value()
        )
    }

    fn put_named(&mut self) -> String {
        let name = self.rng.u8(..4);
        format!("REPLACE INTO data (key, value, name) VALUES ('{}', {}, 'n{name}')", self.key(), self.value())
    }

    fn put_odd(&mut self) -> String {
        let key = ["NULL", "''", "'/a'", "'a//b'", "x'6b30'", "'a' || char(27)"][self.rng.usize(..6)];
        format!("REPLACE INTO data (key, value) VALUES ({key}, {})", self.value())
    }

    fn upsert(&mut self) -> String {
        let set = "ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        format!("INSERT INTO data (key, value) VALUES ('{}', {}) {set}", self.key(), self.value())
    }

    fn change(&mut self) -> String {
        format!("UPDATE data SET value = {} WHERE key >= '{}'", self.value(), self.key())
    }

    fn retype(&mut self) -> String {
        format!("UPDATE data SET value_type = 'string' WHERE key = '{}'", self.key())
    }

    fn rename(&mut self) -> String {
        format!("UPDATE OR REPLACE data SET key = '{}' WHERE key = '{}'", self.key(), self.key())
    }

    fn remove(&mut self) -> String {
        format!("DELETE FROM data WHERE key = '{}'", self.key())
    }

    fn swap(&mut self) -> String {
        let all = "key, value, value_type, updated_at, name";
        format!(
            "BEGIN; ALTER TABLE data RENAME TO former; {TABLE}; INSERT INTO data ({all}) SELECT {all} FROM former; \
             {}; DROP TABLE former; COMMIT",
            self.remove()
        )
    }

    fn drop_triggers(&mut self) -> String {
        let dropped =
            ["insert", "update", "delete"].map(|on| format!("DROP TRIGGER IF EXISTS datastream_{on}"));
        format!("{}; {}; {}", dropped.join("; "), self.put(), self.remove())
    }

    fn column(&mut self) -> String {
        format!(
            "ALTER TABLE data ADD COLUMN more DEFAULT 1; {}; ALTER TABLE data DROP COLUMN more",
            self.put()
        )
    }

    /// What the table holds, as a client is to see it.
    fn table(&self) -> Content {
        self.content(
            "SELECT key, CASE WHEN coalesce(value_type, '') <> '' THEN value_type ELSE
               CASE typeof(value) WHEN 'integer' THEN 'int' WHEN 'real' THEN 'float' WHEN 'text' THEN 'string'
               ELSE 'bytes' END END, CAST(value AS BLOB)
             FROM data WHERE value NOT NULL AND typeof(key) = 'text' AND key GLOB 'k[0-9]*'",
        )
    }

    /// What the log has last.
    fn log(&self) -> Content {
        self.content(
            "SELECT key, type, value FROM (SELECT max(revision) AS revision FROM datastream_log GROUP BY key)
               JOIN datastream_log USING (revision)
             WHERE value NOT NULL AND key GLOB 'k[0-9]*'",
        )
    }

    fn content(&self, sql: &str) -> Content {
        let mut query = self.connection.prepare(sql).expect(sql);
        let rows = query.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
        rows.and_then(Iterator::collect).expect(sql)
    }
}
