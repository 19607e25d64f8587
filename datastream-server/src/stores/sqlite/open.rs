//! Opening a file: what is refused is left as it was; what is taken gets the tables and triggers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::capture::NOW;
use super::commit::annotate;
use super::error::OpenError;
use super::file::Lock;
use super::{capture, history, meta, reconcile, table};
use crate::store::{Commit, CommitError};

/// For how long a connection waits for a lock of another process.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// The connections of a store, the canonical path of its file, and the right to it.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) past: Connection,
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
}

/// What a database is to us.
enum Found {
    /// It has no table at all.
    Empty,
    /// It has the user's table, and nothing of ours.
    Theirs,
    /// It was served before.
    Ours,
}

/// Opens the file at `path` to serve `table`. A file that is not there is made if `create` is set.
pub(super) fn open(path: &Path, table: &str, create: bool) -> Result<Opened, OpenError> {
    let (path, exists) = locate(path)?;
    if !exists && !create {
        return Err(OpenError::Gone { path });
    }
    let is_new = !path.exists();
    let lock = Lock::take(&path, !exists)?;
    let prepared = prepare(&path, table, exists);
    if prepared.is_err() && is_new {
        // It is empty, and nobody else serves it. Why it could not be more says more than what fails now.
        let _ = fs::remove_file(&path);
    }
    let writer = prepared?;
    let read_only = || {
        let connection = connect(&path)?;
        connection.pragma_update(None, "query_only", true).map(|()| connection)
    };
    let failed = |error| OpenError::of(&path, error);
    let (reader, past) = (read_only().map_err(failed)?, read_only().map_err(failed)?);
    Ok(Opened { writer, reader, past, path, lock })
}

/// The connection that writes, to a file that has what it needs. It is set up before it is switched to WAL mode: a
/// transaction that finds no room leaves no trace, the switch does.
fn prepare(path: &Path, table: &str, exists: bool) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let mut writer = connect(path).map_err(failed)?;
    if exists {
        refuse_unfit(&writer, path, table)?;
    }
    let journal_mode = journal_mode(&writer).map_err(failed)?;
    set_up(&mut writer, path, table, &journal_mode)?;
    use_wal(&writer, path)?;
    Ok(writer)
}

/// The canonical path, and whether there is something in the file. It is not opened here: closing a file lets
/// go of every lock that this process has on it.
pub(super) fn locate(path: &Path) -> Result<(PathBuf, bool), OpenError> {
    let asked = || path.to_owned();
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(OpenError::NotAFile { path: asked() }),
        Ok(found) => {
            let canonical = fs::canonicalize(path).map_err(|error| OpenError::of_io(path, error))?;
            Ok((canonical, found.len() > 0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            let name = path.file_name().ok_or_else(|| OpenError::NotAFile { path: asked() })?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
            let folder = folder.ok().filter(|folder| folder.is_dir());
            let folder = folder.ok_or_else(|| OpenError::NoFolder { path: asked() })?;
            Ok((folder.join(name), false))
        }
        // It leads to nothing, or to itself.
        Err(_) if path.is_symlink() => Err(OpenError::BrokenLink { path: asked() }),
        // Of a path through a file that is no folder.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(OpenError::NoFolder { path: asked() })
        }
        Err(error) => Err(OpenError::of_io(path, error)),
    }
}

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Only reads, so that closing the connection leaves file and folder as they were.
fn refuse_unfit(connection: &Connection, path: &Path, table: &str) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    if connection.is_readonly("main").map_err(failed)? {
        return Err(OpenError::NotWritable { path: path.to_owned(), source: None });
    }
    keep_log_of(connection, path).map_err(failed)?;
    examine(connection, path, table)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    Ok(())
}

/// A log that somebody left is theirs to bring in, until it is clear that the file is ours.
pub(super) fn keep_log_of(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = Path::new(&log).exists();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log).map(drop)
}

/// What the database is to us; an error if it can be nothing.
fn examine(connection: &Connection, path: &Path, table: &str) -> Result<Found, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let at = || path.to_owned();
    let encoding: String =
        connection.pragma_query_value(None, "encoding", |row| row.get(0)).map_err(failed)?;
    if encoding != "UTF-8" {
        return Err(OpenError::Encoding { path: at(), encoding });
    }
    let schema = meta::schema_version(connection).map_err(failed)?;
    if let Some(found) = schema.filter(|found| *found > meta::SCHEMA) {
        return Err(OpenError::Newer { path: at(), found, known: meta::SCHEMA });
    }
    if table::is_empty(connection).map_err(failed)? {
        return Ok(Found::Empty);
    }
    if schema.is_some() {
        let served = meta::text(connection, meta::TABLE).map_err(failed)?.unwrap_or_default();
        if !served.eq_ignore_ascii_case(table) {
            return Err(OpenError::OtherTable { path: at(), served, asked: table.to_owned() });
        }
    }
    match table::unfit(connection, table).map_err(failed)? {
        Some(rule) => Err(OpenError::Unfit { path: at(), table: table.to_owned(), rule }),
        None if schema.is_some() && history::whole(connection).map_err(failed)?.is_none() => {
            Err(OpenError::Incomplete { path: at() })
        }
        None if schema.is_some() => Ok(Found::Ours),
        None => Ok(Found::Theirs),
    }
}

fn journal_mode(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, "journal_mode", |row| row.get(0))
}

/// `synchronous = FULL`: with less, the last commits that were answered are lost with the power.
fn use_wal(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(OpenError::NoWal { path: path.to_owned() });
    }
    // A statement that was prepared stays so. Else SQLite plans one that compares a revision with a parameter anew for each
    // value of that: a seventh of what a push costs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
    let pragmas = "PRAGMA synchronous = FULL; PRAGMA mmap_size = 0; PRAGMA journal_size_limit = 67108864;";
    connection.execute_batch(pragmas).map_err(failed)
}

fn set_up(
    connection: &mut Connection,
    path: &Path,
    table: &str,
    journal_mode: &str,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found = examine(&transaction, path, table)?;
    let prepared = match found {
        Found::Empty => capture::create_table(&transaction, table)
            .map_err(CommitError::from)
            .and_then(|()| begin_history(&transaction, table, journal_mode))
            .and_then(|()| Ok(capture::keep_trigger(&transaction, table)?)),
        Found::Theirs => begin_history(&transaction, table, journal_mode),
        Found::Ours => keep_history(&transaction, table),
    };
    prepared.map_err(|error| OpenError::of_commit(path, error))?;
    transaction.commit().map_err(failed)
}

/// Brings triggers and log of a table that was served before to what they should be.
pub(super) fn keep_history(connection: &Connection, table: &str) -> Result<(), CommitError> {
    capture::install(connection, table)?;
    meta::raise_schema(connection)?;
    reconcile::compare(connection, table)
}

/// Genesis, and one commit of all rows that are there.
fn begin_history(connection: &Connection, table: &str, journal_mode: &str) -> Result<(), CommitError> {
    capture::install(connection, table)?;
    meta::begin(connection, table, journal_mode)?;
    connection.execute_batch(&format!(
        "INSERT INTO datastream_log (time, \"commit\") VALUES ({NOW}, 1);
         INSERT INTO datastream_token (revision, token, time) VALUES (last_insert_rowid(), randomblob(8), {NOW})"
    ))?;
    let genesis = history::newest(connection)?.revision;
    connection.execute_batch(&format!(
        "INSERT INTO datastream_capture (key, value, value_type, time, now)
         SELECT key, value, value_type, updated_at, {NOW} FROM {}",
        table::quoted(table)
    ))?;
    let commit = Commit { message: "adopted".into(), ..Commit::default() };
    annotate(connection, &commit, genesis, 0)?;
    Ok(())
}
