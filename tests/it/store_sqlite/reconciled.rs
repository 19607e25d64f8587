//! What triggers cannot see: it enters the log all the same, at the latest with the next comparison.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use datastream::position::Position;
use datastream_server::store::{Operation, Since, Snapshot, Store};
use datastream_server::stores::sqlite::{OpenError, Options, SqliteStore, detach};
use rusqlite::Connection;

use super::{DEADLINE, File, changes, commit, head, told};

/// A table whose rows REPLACE can delete in silence.
const TWO_UNIQUE: &str =
    "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT, updated_at TEXT,
    name TEXT UNIQUE); INSERT INTO data (key, value, name) VALUES ('old', 1, 'n'), ('other', 2, 'm')";
const REPLACE: &str = "REPLACE INTO data (key, value, name) VALUES ('new', 3, 'n')";

fn often() -> Options {
    Options::default().reconcile(Duration::from_millis(50))
}

/// The live keys of a store, with their texts.
async fn live(store: &SqliteStore) -> Vec<(String, Vec<u8>)> {
    live_of(&store.load().await.expect("load"))
}

fn live_of(snapshot: &Snapshot) -> Vec<(String, Vec<u8>)> {
    let live = snapshot
        .changes
        .iter()
        .filter_map(|change| Some((change.key.to_string(), change.value.as_ref()?.value.to_vec())));
    let mut live: Vec<_> = live.collect();
    live.sort();
    live
}

/// The same of a table.
pub(super) fn rows(path: &Path) -> Vec<(String, Vec<u8>)> {
    let foreign = Connection::open(path).expect("a foreign connection");
    let sql = "SELECT key, CAST(value AS BLOB) FROM data WHERE value NOT NULL ORDER BY key";
    let mut query = foreign.prepare(sql).expect("the table");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.and_then(Iterator::collect).expect("rows")
}

/// Waits until `holds` is true of what `read` finds.
pub(super) async fn until<T>(what: &str, mut read: impl AsyncFnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        let found = read().await;
        if holds(&found) {
            return found;
        }
        assert!(Instant::now() < until, "{what} in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Follows the store from `after`, as a server does, until it holds what the table holds. Returns whether its
/// history was replaced on the way.
async fn converges(store: &SqliteStore, file: &File, after: &Position) -> bool {
    reaches(store, rows(&file.path()), after).await
}

/// The same, until it holds `expected`.
pub(super) async fn reaches(store: &SqliteStore, expected: Vec<(String, Vec<u8>)>, after: &Position) -> bool {
    let mut position = after.clone();
    let mut replaced = false;
    let look = async || {
        let equal = store.load().await.is_ok_and(|snapshot| live_of(&snapshot) == expected);
        match store.changes(&position).await {
            Ok(Since::Changes(batch)) => position = batch.position,
            Ok(Since::Replaced) => (replaced, position) = (true, head(store).await),
            Err(_) => return false,
        }
        equal
    };
    until("store and table are equal", look, |equal| *equal).await;
    replaced
}

#[tokio::test]
async fn a_row_that_replace_deleted_in_silence_is_deleted_with_the_next_comparison() {
    let file = File::new();
    file.foreign().execute_batch(TWO_UNIQUE).expect("a table");
    let store = SqliteStore::open_with(&file.path(), often()).expect("it is fit");
    let before = head(&store).await;
    file.foreign().execute(REPLACE, []).expect("a silent delete");
    assert!(!converges(&store, &file, &before).await);
    let batch = changes(&store, &before).await;
    assert!(told(&batch.changes).contains(&("old", None)));
    let author = "SELECT author FROM datastream_log WHERE key = 'old' ORDER BY revision DESC LIMIT 1";
    let author: String = file.foreign().query_row(author, [], |row| row.get(0)).expect("the log");
    assert_eq!(author, "reconcile");
}

#[tokio::test]
async fn a_row_that_went_in_silence_is_gone_after_a_restart() {
    let file = File::new();
    file.foreign().execute_batch(TWO_UNIQUE).expect("a table");
    let store = file.store();
    let before = head(&store).await;
    drop(store);
    file.foreign().execute(REPLACE, []).expect("a silent delete");
    let store = file.store();
    assert!(!converges(&store, &file, &before).await);
}

/// It was acknowledged, so it must be there: the log says that it stands, the table does not.
#[tokio::test]
async fn a_push_of_what_went_in_silence_is_written() {
    let file = File::new();
    file.foreign().execute_batch(TWO_UNIQUE).expect("a table");
    let store = file.store();
    file.foreign().execute(REPLACE, []).expect("a silent delete");
    commit(&store, [Operation::put("old", "int", "1")]).await;
    assert_eq!(live(&store).await, rows(&file.path()));
    assert!(rows(&file.path()).iter().any(|(key, _)| key == "old"));
}

#[tokio::test]
async fn a_table_that_is_made_again_is_followed_and_a_missing_one_deletes_nothing() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "int", "2")]).await;
    let before = head(&store).await;
    let foreign = file.foreign();
    let sql: String = foreign
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'data'", [], |row| row.get(0))
        .expect("the table");
    foreign.execute_batch("DROP TABLE data").expect("a drop");
    let failing = async || store.changes(&before).await.is_err();
    until("the store is not available", failing, |failing| *failing).await;
    let refused = store.commit(datastream_server::store::Commit::one(Operation::put("c", "int", "1"))).await;
    assert!(refused.is_err(), "there is no table to write");
    let kept: i64 = file
        .foreign()
        .query_row("SELECT count(*) FROM datastream_log WHERE value IS NULL AND key NOT NULL", [], |row| {
            row.get(0)
        })
        .expect("the log");
    assert_eq!(kept, 0, "nothing was deleted");
    foreign.execute_batch(&sql).expect("the table again");
    foreign.execute_batch("INSERT INTO data (key, value) VALUES ('b', 2), ('c', 3)").expect("rows");
    assert!(!converges(&store, &file, &before).await, "the history goes on");
    foreign.execute_batch("UPDATE data SET value = 4 WHERE key = 'c'").expect("an update");
    assert!(!converges(&store, &file, &before).await, "the triggers are there again");
}

#[tokio::test]
async fn a_table_that_is_swapped_by_its_name_is_followed() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "int", "2")]).await;
    let before = head(&store).await;
    file.foreign()
        .execute_batch(
            "BEGIN; ALTER TABLE data RENAME TO former;
             CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT, updated_at DATETIME);
             INSERT INTO data SELECT * FROM former WHERE key = 'a'; UPDATE data SET value = '9'; COMMIT;",
        )
        .expect("a swap");
    assert!(!converges(&store, &file, &before).await);
    file.foreign()
        .execute_batch("INSERT INTO data (key, value) VALUES ('new', 1); UPDATE former SET value = 'x'")
        .expect("a write");
    assert!(!converges(&store, &file, &before).await, "the triggers are on the new table");
}

#[tokio::test]
async fn triggers_that_were_dropped_are_made_again() {
    let file = File::new();
    let store = file.store();
    let before = head(&store).await;
    let foreign = file.foreign();
    for trigger in ["insert", "update", "rename", "delete"] {
        foreign.execute_batch(&format!("DROP TRIGGER datastream_{trigger}")).expect("a trigger");
    }
    foreign.execute_batch("DROP VIEW datastream_capture").expect("a view, and its trigger");
    foreign
        .execute_batch("INSERT INTO data (key, value) VALUES ('a', 1)")
        .expect("a write past the triggers");
    assert!(!converges(&store, &file, &before).await);
    foreign.execute_batch("UPDATE data SET value = 2").expect("a write");
    assert!(!converges(&store, &file, &before).await);
}

/// The comparison must see what it missed, or the test of it proves nothing: with no comparison it is not seen.
#[tokio::test]
async fn what_no_trigger_sees_waits_for_the_comparison() {
    let file = File::new();
    file.foreign().execute_batch(TWO_UNIQUE).expect("a table");
    let store = file.store();
    file.foreign().execute(REPLACE, []).expect("a silent delete");
    assert_ne!(live(&store).await, rows(&file.path()));
}

#[tokio::test]
async fn a_vacuum_changes_nothing() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1")]).await;
    commit(&store, [Operation::delete("a")]).await;
    let before = head(&store).await;
    file.foreign().execute_batch("VACUUM").expect("a vacuum");
    commit(&store, [Operation::put("b", "int", "1")]).await;
    let batch = changes(&store, &before).await;
    assert_eq!(told(&batch.changes), [("b", Some(("int", &b"1"[..])))]);
}

#[tokio::test]
async fn a_writer_with_recursive_triggers_is_understood() {
    let file = File::new();
    file.foreign().execute_batch(TWO_UNIQUE).expect("a table");
    let store = file.store();
    let before = head(&store).await;
    let foreign = file.foreign();
    foreign.execute_batch("PRAGMA recursive_triggers = 1").expect("a pragma");
    foreign.execute(REPLACE, []).expect("a replace");
    foreign.execute("REPLACE INTO data (key, value, name) VALUES ('other', 5, 'm')", []).expect("a replace");
    assert!(!converges(&store, &file, &before).await);
}

/// With sqlite3's own dump, of the whole and of the table alone, into a file that takes the place of the first.
#[tokio::test]
async fn a_dump_that_is_reloaded_is_followed() {
    for what in [".dump", ".dump data"] {
        let file = File::new();
        let store = file.store();
        commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "string", "x'y\n")]).await;
        commit(&store, [Operation::delete("b")]).await;
        let before = head(&store).await;
        let reloaded = file.folder.path().join("reloaded.db");
        let script =
            format!("sqlite3 '{}' '{what}' | sqlite3 '{}'", file.path().display(), reloaded.display());
        let done = Command::new("sh").args(["-c", &script]).status().expect("sqlite3 is installed");
        assert!(done.success());
        Connection::open(&reloaded)
            .and_then(|reloaded| reloaded.execute_batch("INSERT INTO data (key, value) VALUES ('late', 1)"))
            .expect("a write into the copy");
        let expected = rows(&reloaded);
        std::fs::rename(&reloaded, file.path()).expect("a move");
        let is_other = reaches(&store, expected, &before).await;
        assert_eq!(is_other, what == ".dump data", "{what}: the history is in the whole dump only");
    }
}

/// More rows than one step compares, among them keys that are no text, no UTF-8, or at the ends of the order.
#[tokio::test]
async fn a_comparison_comes_to_its_end_whatever_the_keys_are() {
    let file = File::new();
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1700)
        INSERT INTO data (key, value, name) SELECT 'key ' || i, i, i FROM n;
        INSERT INTO data (key, value) VALUES (NULL, 1), (x'ff', 1), (x'', 1), ('', 1), (CAST(x'ff' AS TEXT), 1),
            (CAST(x'80fe' AS TEXT), 1), (char(0x10ffff), 1)";
    file.foreign().execute_batch(&format!("{TWO_UNIQUE}; {many}")).expect("a table");
    let store = SqliteStore::open_with(&file.path(), often()).expect("it is fit");
    let before = head(&store).await;
    let foreign = file.foreign();
    // In silence: every second of the rows.
    let silent = "REPLACE INTO data (key, value, name) SELECT 'other ' || name, 0, name FROM data WHERE value % 2 = 1 AND name";
    foreign.execute_batch(silent).expect("silent deletes");
    let live = "SELECT count(*) FROM datastream_log AS log WHERE value NOT NULL AND key LIKE 'key %'
        AND NOT EXISTS (SELECT 1 FROM datastream_log WHERE key = log.key AND revision > log.revision)";
    let count = async || foreign.query_row(live, [], |row| row.get::<_, i64>(0)).expect("the log");
    until("what went in silence is deleted", count, |live| *live == 850).await;
    assert!(changes(&store, &before).await.changes.len() >= 1700);
    drop(store);
    file.store();
}

/// SQLite runs the newest trigger first, and what it does inside an update comes before that one's own triggers.
#[tokio::test]
async fn what_a_trigger_of_the_user_makes_of_a_value_is_what_arrives() {
    let file = File::new();
    let store = file.store();
    let before = head(&store).await;
    let foreign = file.foreign();
    for event in ["INSERT", "UPDATE OF value"] {
        foreign
            .execute_batch(&format!(
                "CREATE TRIGGER \"normal {event}\" AFTER {event} ON data WHEN NEW.value <> upper(NEW.value)
                 BEGIN UPDATE data SET value = upper(NEW.value) WHERE key = NEW.key; END"
            ))
            .expect("a trigger");
    }
    foreign.execute_batch("INSERT INTO data (key, value) VALUES ('a', 'abc')").expect("an insert");
    assert!(!converges(&store, &file, &before).await);
    foreign.execute_batch("UPDATE data SET value = 'def'").expect("an update");
    assert!(!converges(&store, &file, &before).await);
    commit(&store, [Operation::put("b", "string", "x")]).await;
    assert!(!converges(&store, &file, &before).await);
    let corrected = "SELECT count(*) FROM datastream_log WHERE author = 'reconcile'";
    let corrected: i64 = foreign.query_row(corrected, [], |row| row.get(0)).expect("the log");
    assert_eq!(corrected, 0);
}

/// The shell is of another version, and would write such a number otherwise.
#[tokio::test]
async fn a_fraction_is_one_text_whoever_writes_it() {
    let file = File::new();
    file.foreign().execute_batch(TWO_UNIQUE).expect("a table");
    let store = SqliteStore::open_with(&file.path(), often()).expect("it is fit");
    for (sql, text) in
        [("0.1 + 0.2", "0.30000000000000004"), ("0.1", "0.1"), ("1e300", "1.0e+300"), ("-0.5", "-0.5")]
    {
        let write = format!("REPLACE INTO data (key, value) VALUES ('f', {sql})");
        let done =
            Command::new("sqlite3").arg(file.path()).arg(write).status().expect("sqlite3 is installed");
        assert!(done.success());
        let value = async || live(&store).await.into_iter().find(|(key, _)| key == "f");
        let found = until("the number", value, |found| {
            found.as_ref().is_some_and(|(_, value)| value == text.as_bytes())
        });
        found.await;
    }
    // Some comparisons later.
    let before = head(&store).await;
    file.foreign().execute(REPLACE, []).expect("a silent delete");
    let gone = async || live(&store).await.iter().all(|(key, _)| key != "old");
    until("a comparison", gone, |gone| *gone).await;
    assert!(told(&changes(&store, &before).await.changes).iter().all(|(key, _)| *key != "f"));
    let logged = "SELECT count(*) FROM datastream_log WHERE key = 'f'";
    let logged: i64 = file.foreign().query_row(logged, [], |row| row.get(0)).expect("the log");
    assert_eq!(logged, 4, "each of them once");
}

/// Another program holds the file for longer than a comparison waits, just when the table was made again.
#[tokio::test]
async fn a_comparison_that_fails_is_made_again_soon() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1")]).await;
    let before = head(&store).await;
    let foreign = file.foreign();
    let table: String = foreign
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'data'", [], |row| row.get(0))
        .expect("the table");
    foreign
        .execute_batch(&format!("BEGIN; DROP TABLE data; {table}; COMMIT; BEGIN IMMEDIATE"))
        .expect("a lock");
    // A comparison waits 5 s for the lock: this is how long the other program holds it, and no wait for anything.
    tokio::time::sleep(Duration::from_secs(6)).await;
    foreign.execute_batch("COMMIT; INSERT INTO data (key, value) VALUES ('b', 2)").expect("a write");
    assert!(!converges(&store, &file, &before).await);
}

#[tokio::test]
async fn a_file_that_lost_a_part_of_ours_is_refused_until_it_is_detached() {
    for part in ["datastream_token", "datastream_log"] {
        let file = File::new();
        commit(&file.store(), [Operation::put("a", "int", "1")]).await;
        file.foreign().execute_batch(&format!("DROP TABLE {part}")).expect("a drop");
        let refused = file.open().expect_err("a part is missing");
        assert!(matches!(refused, OpenError::Incomplete { .. }), "{part}: {refused:?}");
        assert!(refused.to_string().contains("detach"));
        detach(&file.path()).expect("the rest is ours");
        assert_eq!(live(&file.store()).await, rows(&file.path()), "{part}");
    }
}
