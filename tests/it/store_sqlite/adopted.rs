//! Tables that others made: which are served, what is added to them, and what is left when it is taken out again.

use std::path::Path;

use datastream_server::store::{Operation, Store};
use datastream_server::stores::sqlite::{OpenError, Options, SqliteStore, detach};
use rusqlite::Connection;

use super::{File, Told, changes, commit, head, told};

/// The original's table, trigger and rows, as its server makes them.
const ORIGINAL: &str = "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT,
        updated_at DATETIME DEFAULT CURRENT_TIMESTAMP);
    CREATE TRIGGER set_updated_at BEFORE UPDATE ON data FOR EACH ROW BEGIN
        UPDATE data SET updated_at = CURRENT_TIMESTAMP WHERE key = OLD.key; END;
    INSERT OR REPLACE INTO data (key, value, value_type, updated_at) VALUES
        ('max_connections', '10', 'int', '2023-02-10 00:00:00'), ('rate_limit', '1000', 'int', '2023-02-10T00:00:00Z'),
        ('debug_enabled', 'false', 'bool', '2023-02-10 00:00:00');";

/// A table with everything that a user may add: it is the second of its file, and its name needs quotes.
const RICH: &str = "CREATE TABLE data (another_table);
    CREATE TABLE \"my \"\"settings\" (
        id INTEGER PRIMARY KEY, owner TEXT NOT NULL DEFAULT 'nobody', Key VARCHAR(200) NOT NULL UNIQUE, value,
        note TEXT, Value_Type TEXT, updated_at TIMESTAMP, length INTEGER AS (length(value)) VIRTUAL);
    INSERT INTO \"my \"\"settings\" (key, value, value_type, owner, note) VALUES
        ('i', 7, NULL, 'ada', 'kept'), ('r', 0.5, NULL, 'ada', NULL), ('t', 'x', NULL, 'ada', NULL),
        ('b', x'00ff', NULL, 'ada', NULL), ('n', NULL, NULL, 'ada', NULL);";

fn rich() -> Options {
    Options::default().table("my \"settings")
}

fn made(sql: &str) -> File {
    let file = File::new();
    file.foreign().execute_batch(sql).expect("a database");
    file
}

/// What SQLite holds of a table: its rows, whatever their columns, and everything that is written on it.
fn contents(path: &Path, table: &str) -> Vec<String> {
    let connection = Connection::open(path).expect("a database");
    let texts = |sql: &str| -> Vec<String> {
        let mut query = connection.prepare(sql).expect(sql);
        let columns = query.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
            Ok(format!("{:?}", values.collect::<Result<Vec<_>, _>>()?))
        };
        query.query_map([], row).and_then(Iterator::collect).expect(sql)
    };
    let quoted = table.replace('"', "\"\"");
    let mut all = texts(&format!("SELECT * FROM \"{quoted}\" ORDER BY key"));
    all.extend(texts(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name <> 'sqlite_sequence' ORDER BY name",
    ));
    all.extend(texts("PRAGMA journal_mode"));
    all
}

#[tokio::test]
async fn a_table_of_any_name_and_with_columns_of_its_own_is_served() {
    let file = made(RICH);
    let store = SqliteStore::open_with(&file.path(), rich()).expect("it is fit");
    let snapshot = store.load().await.expect("load");
    let mut all = snapshot.changes.clone();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    let stored: [Told<'_>; 4] = [
        ("b", Some(("bytes", b"\0\xff"))),
        ("i", Some(("int", b"7"))),
        ("r", Some(("float", b"0.5"))),
        ("t", Some(("string", b"x"))),
    ];
    assert_eq!(told(&all), stored);
    commit(&store, [Operation::put("i", "int", "8"), Operation::put("new", "int", "1")]).await;
    let row = "SELECT owner || ':' || coalesce(note, '') || ':' || value_type FROM \"my \"\"settings\" WHERE key = ?1";
    let row = |key: &str| -> String { file.foreign().query_row(row, [key], |row| row.get(0)).expect(key) };
    assert_eq!((row("i"), row("new")), ("ada:kept:int".to_owned(), "nobody::int".to_owned()));
}

#[tokio::test]
async fn a_table_without_rowid_is_served() {
    let file = made(
        "CREATE TABLE data (updated_at TEXT, key TEXT NOT NULL PRIMARY KEY, value TEXT, value_type TEXT) WITHOUT ROWID;
         INSERT INTO data (key, value) VALUES ('a', '1');",
    );
    let store = file.store();
    let before = head(&store).await;
    commit(&store, [Operation::put("b", "int", "1")]).await;
    file.foreign()
        .execute_batch("REPLACE INTO data (key, value) VALUES ('a', '2'); DELETE FROM data WHERE key = 'b'")
        .expect("a foreign write");
    let now = changes(&store, &before).await;
    let last: Vec<_> = told(&now.changes).into_iter().rev().take(2).collect();
    assert_eq!(last, [("b", None), ("a", Some(("string", &b"2"[..])))]);
}

/// Shows 6: after `detach` there is no difference to a file that was never served.
#[tokio::test]
async fn a_detached_table_is_as_one_that_was_never_served() {
    for (sql, table, options) in [(ORIGINAL, "data", Options::default()), (RICH, "my \"settings", rich())] {
        let (file, twin) = (made(sql), made(sql));
        let store = SqliteStore::open_with(&file.path(), options).expect("it is fit");
        let quoted = table.replace('"', "\"\"");
        for path in [file.path(), twin.path()] {
            let foreign = Connection::open(path).expect("a foreign connection");
            let written = format!(
                "INSERT INTO \"{quoted}\" (key, value, updated_at) VALUES ('foreign', 1, '2020-01-01 00:00:00');
                 UPDATE \"{quoted}\" SET value = 2, updated_at = '2020-01-02 00:00:00' WHERE key = 'foreign'"
            );
            foreign.execute_batch(&written).expect("a foreign write");
        }
        commit(&store, [Operation::put("gone", "int", "1")]).await;
        commit(&store, [Operation::delete("gone")]).await;
        assert!(matches!(detach(&file.path()), Err(OpenError::Served { .. })), "not under a running server");
        drop(store);
        assert_ne!(contents(&file.path(), table), contents(&twin.path(), table));
        assert_eq!(detach(&file.path()).expect("it is ours"), table);
        assert_eq!(contents(&file.path(), table), contents(&twin.path(), table));
        assert!(matches!(detach(&file.path()), Err(OpenError::NotAdopted { .. })));
        let file_check: String =
            file.foreign().query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
        assert_eq!(file_check, "ok");
    }
}

/// The effect of the original's trigger stays, and a table that had none gets none.
#[tokio::test]
async fn updated_at_is_kept_as_the_original_keeps_it() {
    let touched = |file: &File| -> i64 {
        let foreign = file.foreign();
        foreign
            .execute_batch("UPDATE data SET value = '11' WHERE key = 'max_connections'")
            .expect("an update");
        let newer = "SELECT count(*) FROM data WHERE updated_at > '2024-01-01' AND updated_at GLOB '????-??-?? ??:??:??'";
        foreign.query_row(newer, [], |row| row.get(0)).expect("a count")
    };
    let with = made(ORIGINAL);
    let _store = with.store();
    assert_eq!(touched(&with), 1);
    let without = made(&ORIGINAL.replace(
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON data FOR EACH ROW BEGIN
        UPDATE data SET updated_at = CURRENT_TIMESTAMP WHERE key = OLD.key; END;",
        "",
    ));
    let _store = without.store();
    assert_eq!(touched(&without), 0);
}

/// A table that would not come back as it was written is refused, with one line that says why.
#[test]
fn a_table_that_cannot_be_served_rightly_is_refused() {
    let columns = "value BLOB, value_type TEXT, updated_at DATETIME";
    let cases = [
        (format!("CREATE TABLE data (key TEXT COLLATE NOCASE PRIMARY KEY, {columns})"), "NOCASE"),
        (format!("CREATE TABLE data (key TEXT COLLATE RTRIM UNIQUE, {columns})"), "RTRIM"),
        (format!("CREATE TABLE data (key TEXT, {columns})"), "no unique key"),
        (
            format!("CREATE TABLE data (key TEXT, env TEXT, {columns}, PRIMARY KEY (env, key))"),
            "no unique key",
        ),
        (
            format!(
                "CREATE TABLE data (key TEXT, {columns}); CREATE UNIQUE INDEX u ON data (key) WHERE value NOT NULL"
            ),
            "no unique key",
        ),
        (
            format!(
                "CREATE TABLE data (key TEXT, {columns}); CREATE UNIQUE INDEX u ON data (key COLLATE NOCASE)"
            ),
            "no unique key",
        ),
        (format!("CREATE TABLE data (key INTEGER PRIMARY KEY, {columns})"), "key INTEGER"),
        (format!("CREATE TABLE data (key NUMERIC UNIQUE, {columns})"), "key NUMERIC"),
        ("CREATE TABLE data (key TEXT PRIMARY KEY, value, updated_at)".to_owned(), "no column value_type"),
        (
            "CREATE TABLE data (key TEXT PRIMARY KEY, value, value_type INT, updated_at)".to_owned(),
            "value_type INT",
        ),
        (
            "CREATE TABLE data (key TEXT PRIMARY KEY, value, value_type, updated_at REAL)".to_owned(),
            "updated_at REAL",
        ),
        (
            "CREATE TABLE data (key TEXT PRIMARY KEY, raw, value AS (raw), value_type, updated_at)"
                .to_owned(),
            "computes its column value",
        ),
        (
            "CREATE TABLE data (key TEXT PRIMARY KEY, value TEXT, value_type TEXT, updated_at TEXT) STRICT"
                .to_owned(),
            "STRICT",
        ),
        (format!("CREATE TABLE data (key TEXT PRIMARY KEY, {columns}, owner TEXT NOT NULL)"), "\"owner\""),
        (
            format!("CREATE VIRTUAL TABLE data USING fts5(key, {})", "value, value_type, updated_at"),
            "virtual",
        ),
        ("CREATE TABLE accounts (id INTEGER PRIMARY KEY)".to_owned(), "does not exist"),
    ];
    for (sql, reason) in cases {
        let file = made(&sql);
        let before = file.contents();
        let error = file.open().expect_err(&sql);
        assert!(matches!(error, OpenError::Unfit { .. }), "{sql}: {error:?}");
        let line = error.to_string();
        assert!(
            line.contains(reason) && line.contains("settings.db") && !line.contains('\n'),
            "{sql}: {line}"
        );
        assert_eq!(file.contents(), before, "{sql}");
    }
}

#[test]
fn one_that_takes_all_kinds_may_be_strict() {
    let file =
        made("CREATE TABLE data (key TEXT PRIMARY KEY, value ANY, value_type TEXT, updated_at TEXT) STRICT");
    file.store();
}

#[tokio::test]
async fn a_file_serves_one_table_and_one_server() {
    let file = made(RICH);
    let store = SqliteStore::open_with(&file.path(), rich()).expect("it is fit");
    let error = SqliteStore::open_with(&file.path(), rich()).expect_err("it is taken");
    assert!(matches!(error, OpenError::Served { .. }), "{error:?}");
    commit(&store, [Operation::put("i", "int", "9")]).await;
    drop(store);
    let error = SqliteStore::open(&file.path()).expect_err("another table is adopted");
    assert!(matches!(&error, OpenError::OtherTable { served, .. } if served == "my \"settings"), "{error:?}");
}

/// SQLite renames the table in the triggers on it, and then they are ours still.
#[test]
fn a_table_that_was_renamed_is_detached_whole() {
    let file = made(ORIGINAL);
    drop(file.store());
    file.foreign().execute_batch("ALTER TABLE data RENAME TO settings").expect("another name");
    let refused = SqliteStore::open_with(&file.path(), Options::default().table("settings"));
    assert!(matches!(refused, Err(OpenError::OtherTable { .. })));
    detach(&file.path()).expect("it is ours");
    let ours =
        "SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%datastream%' OR sql LIKE '%AFTER UPDATE%'";
    let ours: i64 = file.foreign().query_row(ours, [], |row| row.get(0)).expect("a count");
    assert_eq!(ours, 0);
}

/// Their program has a collation that no other knows.
#[tokio::test]
async fn a_table_with_a_collation_of_its_owners_is_written() {
    let file = made(
        "CREATE TABLE data (key TEXT PRIMARY KEY, value TEXT COLLATE NOCASE, value_type TEXT COLLATE NOCASE, updated_at TEXT);
         INSERT INTO data (key, value, value_type) VALUES ('a', 'x', 'string');
         PRAGMA writable_schema = 1;
         UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'theirs') WHERE name = 'data';",
    );
    let store = file.store();
    let before = head(&store).await;
    commit(&store, [Operation::put("a", "string", "X"), Operation::put("b", "int", "1")]).await;
    let after = changes(&store, &before).await;
    let expected: [Told<'_>; 2] = [("a", Some(("string", b"X"))), ("b", Some(("int", b"1")))];
    assert_eq!(told(&after.changes), expected);
}

/// The way into the log as the first schema had it.
const FIRST_SCHEMA: &str = include_str!("first_schema.sql");

#[tokio::test]
async fn the_way_into_the_log_of_the_first_schema_is_replaced() {
    let file = File::new();
    commit(&file.store(), [Operation::put("a", "int", "1")]).await;
    let foreign = file.foreign();
    foreign.execute_batch(FIRST_SCHEMA).expect("the first schema");
    foreign.execute_batch("INSERT INTO data (key, value) VALUES ('b', 'x')").expect("it logs");
    let store = file.store();
    let before = head(&store).await;
    commit(&store, [Operation::put("a", "int", "2")]).await;
    foreign.execute_batch("UPDATE data SET value = 3.5, value_type = NULL WHERE key = 'a'").expect("a write");
    foreign.execute_batch("UPDATE data SET key = 'c' WHERE key = 'b'").expect("a rename");
    let expected: [Told<'_>; 4] = [
        ("a", Some(("int", b"2"))),
        ("a", Some(("float", b"3.5"))),
        ("b", None),
        ("c", Some(("string", b"x"))),
    ];
    let after = changes(&store, &before).await;
    assert_eq!(
        told(&after.changes),
        expected,
        "each change is logged once, by what this version makes of it"
    );
    let left = "SELECT count(*) FROM sqlite_schema WHERE name IN
        ('datastream_capture_typed', 'datastream_change', 'datastream_change_insert', 'datastream_token_draw')";
    assert_eq!(foreign.query_row(left, [], |row| row.get(0)), Ok(0));
}

#[tokio::test]
async fn the_first_schema_is_taken_out_whole() {
    let file = File::new();
    commit(&file.store(), [Operation::put("a", "int", "1")]).await;
    file.foreign().execute_batch(FIRST_SCHEMA).expect("the first schema");
    detach(&file.path()).expect("it is ours");
    let left = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'datastream%'";
    assert_eq!(file.foreign().query_row(left, [], |row| row.get(0)), Ok(0));
}

#[tokio::test]
async fn a_second_start_leaves_the_schema_alone() {
    let file = File::new();
    let version = || {
        file.foreign().query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0)).expect("a number")
    };
    drop(file.store());
    let before = version();
    drop(file.store());
    assert_eq!(version(), before);
}
