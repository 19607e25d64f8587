//! Another file in the place of the one that is served: by a move, by a copy over it, by a restore, or none at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use datastream::position::Position;
use datastream_server::store::{HistoryQuery, Operation, Since, Store};
use datastream_server::stores::sqlite::SqliteStore;
use futures_util::FutureExt as _;
use rusqlite::Connection;

use super::reconciled::{reaches, rows, until};
use super::{File, commit, head};

/// A copy of the store as it is now, made as SQLite wants it.
fn copy(file: &File) -> PathBuf {
    let copy = file.folder.path().join("copy.db");
    let _ = std::fs::remove_file(&copy);
    file.foreign().execute("VACUUM INTO ?1", [copy.to_str().expect("UTF-8")]).expect("a copy");
    copy
}

/// A store whose copy is one commit behind it. Returns the copy, and where the store stands.
pub(super) async fn left_behind(file: &File) -> (SqliteStore, PathBuf, Position) {
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "int", "2")]).await;
    let copy = copy(file);
    let after = commit(&store, [Operation::put("a", "int", "2"), Operation::put("c", "int", "3")]).await;
    (store, copy, after)
}

/// Moves the copy to where the file is. Returns its rows, read before: until the store has let go of the file before,
/// SQLite would read the log of that one into this one.
pub(super) fn put_in_place(copy: &Path, file: &File) -> Vec<(String, Vec<u8>)> {
    let rows = rows(copy);
    std::fs::rename(copy, file.path()).expect("a move");
    rows
}

/// Whether everything of the store is in its file, so that a copy of the file is a copy of the store.
fn is_at_rest(file: &File) -> bool {
    let log = format!("{}-wal", file.path().display());
    std::fs::metadata(log).is_ok_and(|log| log.len() == 0)
}

#[tokio::test]
async fn a_file_moved_over_the_open_one_is_served_in_its_stead() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    let expected = put_in_place(&copy, &file);
    assert!(reaches(&store, expected, &before).await, "its history has another end");
    let next = commit(&store, [Operation::put("d", "int", "4")]).await;
    assert!(matches!(store.changes(&before).await, Ok(Since::Replaced)), "the same revision, another token");
    drop(store);
    assert_eq!(head(&file.store()).await, next, "it was written into the new file");
}

#[tokio::test]
async fn a_copy_of_the_present_that_is_moved_over_changes_nothing() {
    let file = File::new();
    let (store, _, before) = left_behind(&file).await;
    let expected = put_in_place(&copy(&file), &file);
    assert!(!reaches(&store, expected, &before).await, "no client need be reset");
    commit_when_open(&store).await;
}

/// A push that meets the moved file may fail, and is then made again.
async fn commit_when_open(store: &SqliteStore) {
    let push = async || {
        let commit = datastream_server::store::Commit::one(Operation::put("pushed", "int", "1"));
        store.commit(commit).await.is_ok()
    };
    until("a push is taken", push, |taken| *taken).await;
}

#[tokio::test]
async fn a_push_that_is_acknowledged_around_a_move_is_in_the_new_file() {
    for round in 0..20 {
        let file = File::new();
        let (store, copy, _) = left_behind(&file).await;
        let store = std::sync::Arc::new(store);
        let moved = tokio::task::spawn_blocking({
            let path = file.path();
            move || std::fs::rename(copy, path).expect("a move")
        });
        moved.await.expect("it does not panic");
        commit_when_open(&store).await;
        assert!(rows(&file.path()).iter().any(|(key, _)| key == "pushed"), "round {round}");
    }
}

#[tokio::test]
async fn an_older_copy_that_is_put_back_while_stopped_is_a_history_that_went_back() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    drop(store);
    let expected = put_in_place(&copy, &file);
    let store = file.store();
    assert!(reaches(&store, expected, &before).await);
    assert!(head(&store).await.revision < before.revision);
}

/// `.restore` writes through SQLite, into the very file.
#[tokio::test]
async fn a_restore_of_an_older_copy_is_seen_while_running() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    let restore = format!(".restore '{}'", copy.display());
    let done = Command::new("sqlite3").arg(file.path()).arg(restore).status().expect("sqlite3 is installed");
    assert!(done.success());
    assert!(reaches(&store, rows(&copy), &before).await);
    commit_when_open(&store).await;
    assert!(reaches(&store, rows(&file.path()), &before).await);
}

/// SQLite warns of it, and people do it: once the store is at rest, it is in the file alone.
#[tokio::test]
async fn an_older_copy_that_is_copied_over_the_file_is_seen_while_running() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    until("the log is in the file", async || is_at_rest(&file), |rests| *rests).await;
    let expected = rows(&copy);
    std::fs::copy(copy, file.path()).expect("a copy");
    assert!(reaches(&store, expected, &before).await);
    commit_when_open(&store).await;
    assert!(reaches(&store, rows(&file.path()), &before).await);
    drop(store);
    let check: String =
        file.foreign().query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok");
}

/// The time of the file is that of the beginning of the copy, and the store may have looked since then.
#[tokio::test]
async fn a_copy_that_was_looked_at_before_its_end_is_seen() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    until("the log is in the file", async || is_at_rest(&file), |rests| *rests).await;
    let (expected, bytes) = (rows(&copy), std::fs::read(&copy).expect("it is there"));
    let mut over = std::fs::File::options().write(true).open(file.path()).expect("it opens");
    let begun = SystemTime::now();
    over.set_modified(begun).expect("it is ours");
    // By then it has looked; where it has not, it does later.
    tokio::time::sleep(Duration::from_millis(100)).await;
    over.write_all(&bytes).and_then(|()| over.set_len(bytes.len() as u64)).expect("it is copied");
    over.set_modified(begun).expect("it is ours");
    drop(over);
    assert!(reaches(&store, expected, &before).await);
}

#[tokio::test]
async fn a_file_that_is_gone_deletes_nothing_and_is_served_again_when_it_is_back() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    std::fs::remove_file(file.path()).expect("it was there");
    let failing = async || store.changes(&before).await.is_err();
    until("the store is not available", failing, |failing| *failing).await;
    assert!(!file.path().exists(), "no empty file takes its place");
    std::fs::write(file.path(), b"something else").expect("a file");
    assert!(store.changes(&before).await.is_err());
    let expected = put_in_place(&copy, &file);
    assert!(reaches(&store, expected, &before).await);
}

/// What a crashed server left in its log belongs to the file that was there.
#[tokio::test]
async fn the_log_of_the_file_before_is_not_read_into_the_one_that_took_its_place() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    // Somebody reads, so that the log is not brought into the file.
    let reading = file.foreign();
    reading.execute_batch("BEGIN; SELECT count(*) FROM data").expect("a read");
    commit(&store, [Operation::put("only in the log", "int", "1")]).await;
    assert!(!is_at_rest(&file));
    let expected = put_in_place(&copy, &file);
    drop(reading);
    assert!(reaches(&store, expected, &before).await);
    let check = Connection::open(file.path())
        .and_then(|foreign| foreign.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)));
    assert_eq!(check.expect("a check"), "ok");
}

/// Nor by a question about the past that comes before the store has seen what happened.
#[tokio::test]
async fn who_asks_for_the_past_reads_no_log_into_another_file() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    let reading = file.foreign();
    reading.execute_batch("BEGIN; SELECT count(*) FROM data").expect("a read");
    for value in 0..40 {
        commit(&store, [Operation::put(&format!("only in the log/{value}"), "int", "1")]).await;
    }
    let expected = put_in_place(&copy, &file);
    let everything = HistoryQuery { of: None, before: None, limit: 10, bytes: 1 << 20 };
    // Of either file, or of none.
    let _ = (store.usage().await, store.history(everything).await);
    drop(reading);
    assert!(reaches(&store, expected, &before).await);
    let usage = store.usage().await.expect("it can be read").expect("it is known");
    assert!(usage.changes < 40, "it is of the file that is served");
}

/// A call may be dropped at any time, and begins the opening of another file.
#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_file_half_opened() {
    for _ in 0..10 {
        let file = File::new();
        let (store, copy, before) = left_behind(&file).await;
        let expected = put_in_place(&copy, &file);
        let asked = async || {
            let _ = store.load().now_or_never();
            let said = store.changes(&before).await.map_err(|error| format!("{error:?}"));
            let refused = said.as_ref().is_err_and(|error| error.contains("Served"));
            assert!(!refused, "it is by this store that it is served: {said:?}");
            said
        };
        let _ = until("it is opened", asked, |said| matches!(said, Ok(Since::Replaced))).await;
        assert!(reaches(&store, expected, &before).await);
    }
}

/// The store that is left brings its log into the file that was moved, wherever that is.
#[tokio::test]
async fn a_file_that_is_moved_away_and_back_has_every_push() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("first", "int", "1")]).await;
    let before = commit(&store, [Operation::put("last", "int", "2")]).await;
    let away = file.folder.path().join("away.db");
    std::fs::rename(file.path(), &away).expect("a move");
    let failing = async || store.changes(&before).await.is_err();
    until("the store is not available", failing, |failing| *failing).await;
    assert_eq!(rows(&away).len(), 2, "they are where the file is");
    std::fs::rename(&away, file.path()).expect("a move back");
    let expected = vec![("first".to_owned(), b"1".to_vec()), ("last".to_owned(), b"2".to_vec())];
    assert!(!reaches(&store, expected, &before).await, "it is the same history");
}

/// As an operator does it: the file is moved over the open one, and the server is started again.
#[tokio::test]
async fn an_older_copy_stays_when_the_store_is_closed_before_it_has_seen_it() {
    for _ in 0..10 {
        let file = File::new();
        let (store, copy, before) = left_behind(&file).await;
        let expected = put_in_place(&copy, &file);
        drop(store);
        let store = file.store();
        assert!(reaches(&store, expected, &before).await);
    }
}

/// The file itself did not move, so its log is not touched: others may have it open.
#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_elsewhere_leaves_the_log_of_the_file_before() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let [first, second, link] = ["first.db", "second.db", "link.db"].map(|name| folder.path().join(name));
    drop(SqliteStore::open(&second).expect("a new file"));
    std::os::unix::fs::symlink(&first, &link).expect("a link");
    std::fs::write(&first, b"").expect("an empty file");
    let store = SqliteStore::open(&link).expect("a new file");
    let reading = Connection::open(&first).expect("a foreign connection");
    let count = |sql: &str| reading.query_row(sql, [], |row| row.get::<_, i64>(0));
    reading.execute_batch("BEGIN; SELECT count(*) FROM data").expect("a read");
    let before = commit(&store, [Operation::put("a", "int", "1")]).await;
    let other = folder.path().join("other.db");
    std::os::unix::fs::symlink(&second, &other).expect("a link");
    std::fs::rename(&other, &link).expect("the link leads elsewhere");
    assert!(reaches(&store, Vec::new(), &before).await);
    reading.execute_batch("COMMIT").expect("its end");
    assert_eq!(count("SELECT count(*) FROM data").expect("the file and its log are whole"), 1);
    assert_eq!(rows(&first).len(), 1);
}

/// Closing any descriptor of a file gives up SQLite's locks on it, and then the next one who leaves removes the log.
#[tokio::test]
async fn a_second_store_that_is_refused_takes_no_lock_from_the_first() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1")]).await;
    for _ in 0..3 {
        file.open().expect_err("it is served");
    }
    let count = || {
        let script = "SELECT count(*) FROM data";
        let said =
            Command::new("sqlite3").arg(file.path()).arg(script).output().expect("sqlite3 is installed");
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    };
    assert_eq!(count(), "1");
    commit(&store, [Operation::put("b", "int", "1")]).await;
    assert_eq!(count(), "2", "the first one's log is where others look for it");
}

/// The copy was made before the file was adopted: it has nothing of ours.
#[tokio::test]
async fn a_restore_of_what_was_never_served_is_adopted_while_running() {
    let file = File::new();
    let original =
        "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT, updated_at DATETIME);
        INSERT INTO data (key, value) VALUES ('a', 1)";
    file.foreign().execute_batch(original).expect("a table");
    let copy = copy(&file);
    let store = file.store();
    let before = commit(&store, [Operation::put("a", "int", "2"), Operation::put("b", "int", "2")]).await;
    let restore = format!(".restore '{}'", copy.display());
    let done = Command::new("sqlite3").arg(file.path()).arg(restore).status().expect("sqlite3 is installed");
    assert!(done.success());
    assert!(reaches(&store, rows(&copy), &before).await);
    commit_when_open(&store).await;
}

#[tokio::test]
async fn at_rest_nothing_is_written() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("a", "int", "1")]).await;
    let modified = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).expect("a file");
    let log = PathBuf::from(format!("{}-wal", file.path().display()));
    let written = || modified(&log);
    // A file that is being emptied is empty before it has the time of that.
    let is_emptied = async || is_at_rest(&file) && written() >= modified(&file.path());
    until("the log is in the file", is_emptied, |rests| *rests).await;
    let at_rest = written();
    // Longer than it takes until the log is emptied after a write.
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    assert_eq!(written(), at_rest);
}
