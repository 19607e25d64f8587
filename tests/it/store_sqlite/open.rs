//! Which files are taken, and what becomes of those that are not.

use std::path::Path;
use std::time::Duration;

use datastream_server::store::{Since, Store};
use datastream_server::stores::sqlite::{OpenError, SqliteStore};
use rusqlite::Connection;

use super::{File, told};

#[tokio::test]
async fn the_originals_file_is_adopted() {
    let file = File::new();
    let original = "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT,
            updated_at DATETIME DEFAULT CURRENT_TIMESTAMP);
        CREATE TRIGGER set_updated_at BEFORE UPDATE ON data BEGIN
            UPDATE data SET updated_at = CURRENT_TIMESTAMP WHERE key = NEW.key; END;
        INSERT INTO data VALUES ('a', x'3130', 'int', '2023-02-10T00:00:00Z'), ('n', NULL, NULL, NULL),
            ('b', 'false', 'bool', '2023-02-10 00:00:00');";
    file.foreign().execute_batch(original).expect("the original's table");
    let store = file.store();
    let snapshot = store.load().await.expect("load");
    let mut changes = snapshot.changes.clone();
    changes.sort_by_key(|change| change.revision);
    let a = ("a", Some(("int", &b"10"[..])));
    assert_eq!(told(&changes), [a, ("b", Some(("bool", &b"false"[..])))]);
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_675_987_200);
    assert!(changes.iter().all(|change| change.time == then));
    assert_eq!(snapshot.positions.len(), 2, "genesis, and one commit of all rows");
    let foreign = file.foreign();
    let trigger = "SELECT sql GLOB '* AFTER UPDATE *' FROM sqlite_schema WHERE name = 'set_updated_at'";
    assert!(foreign.query_row(trigger, [], |row| row.get::<_, bool>(0)).expect("the trigger"));
    foreign.execute("UPDATE data SET value = '20' WHERE key = 'a'", []).expect("an update");
    let since = match store.changes(&snapshot.position).await {
        Ok(Since::Changes(batch)) => batch.changes,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&since), [("a", Some(("int", &b"20"[..])))]);
}

/// Each is refused with one line that names the file, and nothing in its folder changes.
#[test]
fn a_refused_file_is_left_as_it_was() {
    type Case = (&'static str, fn(&Path), fn(&OpenError) -> bool);
    let cases: [Case; 6] = [
        ("text", |path| write(path, &[b'x'; 4096]), |error| matches!(error, OpenError::NotADatabase { .. })),
        ("short", |path| write(path, b"abc"), |error| matches!(error, OpenError::NotADatabase { .. })),
        (
            "newer",
            |path| {
                make(
                    path,
                    "CREATE TABLE datastream_meta (name TEXT PRIMARY KEY, value);
                     INSERT INTO datastream_meta VALUES ('schema_version', 99); PRAGMA journal_mode = wal",
                );
            },
            |error| matches!(error, OpenError::Newer { found: 99, .. }),
        ),
        (
            "other columns",
            |path| make(path, "CREATE TABLE data (id INTEGER PRIMARY KEY, key TEXT, value BLOB)"),
            |error| matches!(error, OpenError::Unfit { .. }),
        ),
        (
            "a view",
            |path| make(path, "CREATE VIEW data AS SELECT 1 AS key, 2 AS value"),
            |error| matches!(error, OpenError::Unfit { .. }),
        ),
        (
            "utf-16",
            |path| make(path, "PRAGMA encoding = 'UTF-16'; CREATE TABLE other (x)"),
            |error| matches!(error, OpenError::Encoding { .. }),
        ),
    ];
    for (name, make, expected) in cases {
        let file = File::new();
        make(&file.path());
        let before = file.contents();
        let error = file.open().expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
        let line = error.to_string();
        assert!(line.contains("settings.db") && !line.contains('\n'), "{name}: {line}");
        assert_eq!(file.contents(), before, "{name}");
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a file");
}

fn make(path: &Path, sql: &str) {
    Connection::open(path).and_then(|connection| connection.execute_batch(sql)).expect("a database");
}

/// Somebody's log, left by a crash, is not brought into a file that is refused.
#[test]
fn a_log_beside_a_refused_file_is_left_as_it_was() {
    let (file, crashed) = (File::new(), File::new());
    let live = crashed.foreign();
    live.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE data (id INTEGER PRIMARY KEY)")
        .expect("a table");
    for end in ["", "-wal"] {
        let name = |file: &File| format!("{}{end}", file.path().display());
        std::fs::copy(name(&crashed), name(&file)).expect("a copy");
    }
    let before = file.contents();
    assert!(matches!(file.open(), Err(OpenError::Unfit { .. })));
    let mut after = file.contents();
    // The index of a log that is still there; SQLite makes it anew.
    after.retain(|(path, _)| !path.to_string_lossy().ends_with("-shm"));
    assert_eq!(after, before);
}

#[test]
fn a_path_that_cannot_be_a_file_is_refused() {
    let file = File::new();
    assert!(matches!(SqliteStore::open(file.folder.path()), Err(OpenError::NotAFile { .. })));
    let nowhere = file.folder.path().join("missing/settings.db");
    assert!(matches!(SqliteStore::open(&nowhere), Err(OpenError::NoFolder { .. })));
    assert!(file.contents().is_empty());
}

/// As anybody but root, who may write everything.
#[cfg(unix)]
#[test]
fn what_may_not_be_written_is_refused() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let forbid =
        |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
    let file = File::new();
    let refused = || matches!(file.open(), Err(OpenError::NotWritable { .. }));
    forbid(file.folder.path(), 0o555);
    if std::fs::write(file.folder.path().join("probe"), []).is_ok() {
        return eprintln!("nothing is forbidden to this user: not checked");
    }
    assert!(refused(), "no file may be created in the folder");
    assert!(file.contents().is_empty());

    forbid(file.folder.path(), 0o755);
    drop(file.store());
    let before = file.contents();
    for (mode, folder_mode) in [(0o444, 0o755), (0o644, 0o555), (0o000, 0o755)] {
        forbid(&file.path(), mode);
        forbid(file.folder.path(), folder_mode);
        assert!(refused(), "file {mode:o} in a folder {folder_mode:o}");
        forbid(file.folder.path(), 0o755);
        forbid(&file.path(), 0o644);
        assert_eq!(file.contents(), before, "file {mode:o} in a folder {folder_mode:o}");
    }
}
