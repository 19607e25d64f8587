//! What the program says, and leaves, of a store file that it cannot serve: one line, exit code 2, every byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::file_server::store_of;
use crate::process::{Server, command};
use crate::server_process::{foreign, refused};
use crate::small_disk::SmallDisk;

/// Everything in a folder: the bytes of files, where links lead.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("an entry").path());
    let content = |path: &Path| match fs::read_link(path) {
        Ok(target) => target.into_os_string().into_encoded_bytes(),
        Err(_) if path.is_dir() => Vec::new(),
        Err(_) => fs::read(path).expect("it is a file"),
    };
    entries.map(|path| (path.clone(), content(&path))).collect()
}

/// The program must refuse the store of `folder`, say why in one line, and leave everything as it is.
fn is_refused(folder: &Path, case: &str, reason: &str) {
    let before = contents(folder);
    let said = says_no(folder);
    assert!(said.contains(reason), "{case}: {said}");
    assert!(contents(folder) == before, "{case}: something in the folder changed");
}

/// The one line with which the program refuses the store of `folder`.
fn says_no(folder: &Path) -> String {
    let store = format!("sqlite:{}", store_of(folder).display());
    let said = refused(&["--store", &store, "--listen", "127.0.0.1:0"]);
    assert!(said.lines().count() == 1 && said.contains("settings.db"), "{said}");
    said
}

/// A file is made in each of them, which is then refused for the reason given.
#[test]
fn a_file_that_is_no_store_is_named_in_one_line_and_left_as_it_is() {
    type Case = (&'static str, &'static str, fn(&Path));
    let cases: [Case; 12] = [
        ("text", "not a SQLite database", |file| {
            fs::write(file, "no database. ".repeat(400)).expect("written")
        }),
        ("a torn page", "not a SQLite database", |file| fs::write(file, "SQLite format 3").expect("written")),
        ("another's database", "does not exist", |file| make(file, "CREATE TABLE other (x)")),
        ("a view", "is a view", |file| make(file, "CREATE VIEW data AS SELECT 1 AS key, 2 AS value")),
        ("no value column", "no column value;", |file| {
            make(file, "CREATE TABLE data (key TEXT PRIMARY KEY, value_type TEXT, updated_at DATETIME)");
        }),
        ("no updated_at column", "no column updated_at;", |file| {
            make(file, "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT)");
        }),
        ("a key of another kind", "key INTEGER", |file| {
            make(file, "CREATE TABLE data (key INTEGER PRIMARY KEY, value, value_type, updated_at)");
        }),
        ("a value of another kind", "value REAL", |file| {
            make(
                file,
                "CREATE TABLE data (key TEXT PRIMARY KEY, value REAL, value_type TEXT, updated_at DATETIME)",
            );
        }),
        ("a key that is not unique", "no unique key", |file| {
            make(file, "CREATE TABLE data (key TEXT, value BLOB, value_type TEXT, updated_at DATETIME)");
        }),
        ("UTF-16", "UTF-16", |file| make(file, "PRAGMA encoding = 'UTF-16'; CREATE TABLE other (x)")),
        ("of a newer version", "newer version", |file| {
            serve_once(file);
            foreign(file, "UPDATE datastream_meta SET value = 1000 WHERE name = 'schema_version'");
        }),
        ("a damaged page", "damaged", |file| {
            make(file, &format!("{ORIGINAL}; CREATE TABLE other AS SELECT zeroblob(9000) AS x"));
            let mut bytes = fs::read(file).expect("it is there");
            bytes[100..2000].fill(0xff);
            fs::write(file, bytes).expect("written");
        }),
    ];
    for (case, reason, make) in cases {
        let folder = TempDir::new().expect("a folder");
        make(&store_of(folder.path()));
        is_refused(folder.path(), case, reason);
    }
}

#[test]
fn a_path_that_leads_to_no_file_is_named_in_one_line() {
    type Case = (&'static str, &'static str, fn(&Path));
    let cases: [Case; 4] = [
        ("a directory", "not a file", |file| fs::create_dir(file).expect("a folder")),
        ("a link to a directory", "not a file", |file| symlink(".", file).expect("a link")),
        ("a link to itself", "symbolic link", |file| symlink(file, file).expect("a link")),
        ("a link to nothing", "symbolic link", |file| symlink("missing", file).expect("a link")),
    ];
    for (case, reason, make) in cases {
        let folder = TempDir::new().expect("a folder");
        make(&store_of(folder.path()));
        is_refused(folder.path(), case, reason);
    }
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("file"), "").expect("written");
    for missing in ["missing", "file"] {
        let said = says_no(&folder.path().join(missing));
        assert!(said.contains("its folder does not exist"), "{said}");
    }
    assert_eq!(contents(folder.path()).len(), 1);
}

/// For as long as a connection waits, which is five seconds. The file is not read while it is locked: closing it would
/// let go of every lock that this process has on it.
#[test]
fn a_file_that_is_locked_for_good_is_named_in_one_line() {
    let folder = TempDir::new().expect("a folder");
    make(&store_of(folder.path()), ORIGINAL);
    let before = contents(folder.path());
    let holder = Connection::open(store_of(folder.path())).expect("it opens");
    for lock in ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"] {
        holder.execute_batch(lock).expect("it is free");
        let said = says_no(folder.path());
        assert!(said.contains("locked by another process"), "{lock}: {said}");
        holder.execute_batch("ROLLBACK").expect("it was begun");
    }
    drop(holder);
    assert!(contents(folder.path()) == before, "something in the folder changed");
}

#[test]
fn a_file_that_is_served_already_is_named_in_one_line_and_served_on() {
    let folder = TempDir::new().expect("a folder");
    let store = format!("sqlite:{}", store_of(folder.path()).display());
    let first = Server::start(&["--store", &store, "--listen", "127.0.0.1:0"]);
    is_refused(folder.path(), "a second server", "served by another process");
    first.terminate();
    serve_once(&store_of(folder.path()));
}

#[test]
fn a_file_on_a_full_disk_is_named_in_one_line_and_left_as_it_is() {
    let Some(disk) = SmallDisk::mount("a full disk at the start") else { return };
    let file = store_of(disk.inside());
    let store = format!("sqlite:{}", file.display());
    let refused = |case| {
        let before = contents(&disk.outside());
        let mut command = disk.enter(&command(&["--store", &store, "--listen", "127.0.0.1:0"]));
        let output = command.output().expect("nsenter can be run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{case}: {said}");
        assert!(said.contains("disk is full") && said.contains("settings.db"), "{case}: {said}");
        let mut after = contents(&disk.outside());
        // What SQLite leaves beside a file in WAL mode: a log without a byte, and an index of it, which is made anew.
        after.retain(|path, bytes| {
            before.contains_key(path) || !(bytes.is_empty() || path.to_string_lossy().ends_with("-shm"))
        });
        assert!(after == before, "{case}: something in the folder changed");
    };
    disk.fill();
    refused("no file yet");
    disk.free();
    disk.sqlite3(&file, ORIGINAL);
    disk.fill();
    refused("the original's file");
    disk.free();
    disk.sqlite3(&file, "PRAGMA journal_mode = wal");
    disk.fill();
    refused("the original's file in WAL mode");
}

const ORIGINAL: &str = "CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB, value_type TEXT,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP); INSERT INTO data (key, value) VALUES ('a', 'b')";

fn make(file: &Path, sql: &str) {
    let made = Connection::open(file).and_then(|connection| connection.execute_batch(sql));
    made.expect("a database");
}

fn serve_once(file: &Path) {
    let store = format!("sqlite:{}", file.display());
    Server::start(&["--store", &store, "--listen", "127.0.0.1:0"]).terminate();
}
