//! Opening a file: what is refused is left as it was; what is taken gets the tables and triggers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::commit::annotate;
use super::error::OpenError;
use super::history;
use crate::store::{Commit, CommitError};

/// The user's table.
const TABLE: &str = "data";
/// The schema that this version writes, and the newest that it knows.
const SCHEMA: i64 = 1;
/// For how long a connection waits for a lock of another process.
const BUSY: Duration = Duration::from_secs(5);
/// The columns of [`TABLE`]: name, type, place in the primary key.
const COLUMNS: [(&str, &str, i64); 4] =
    [("key", "TEXT", 1), ("value", "BLOB", 0), ("value_type", "TEXT", 0), ("updated_at", "DATETIME", 0)];

/// The connections of a store, and the canonical path of its file.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) path: PathBuf,
}

pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let (path, exists) = locate(path)?;
    let failed = |error| OpenError::of(&path, error);
    let mut writer = connect(&path, !exists).map_err(failed)?;
    if exists {
        refuse_unfit(&writer, &path)?;
    }
    use_wal(&writer, &path)?;
    set_up(&mut writer, &path)?;
    let reader = connect(&path, false).map_err(failed)?;
    reader.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok(Opened { writer, reader, path })
}

/// The canonical path, and whether there is something in the file. It is not opened here: closing a file lets
/// go of every lock that this process has on it.
fn locate(path: &Path) -> Result<(PathBuf, bool), OpenError> {
    let asked = || path.to_owned();
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(OpenError::NotAFile { path: asked() }),
        Ok(found) => {
            let canonical = fs::canonicalize(path);
            let canonical =
                canonical.map_err(|error| OpenError::Other { path: asked(), source: error.into() })?;
            Ok((canonical, found.len() > 0))
        }
        Err(_) => {
            let name = path.file_name().ok_or_else(|| OpenError::NotAFile { path: asked() })?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
            let folder = folder.ok().filter(|folder| folder.is_dir());
            let folder = folder.ok_or_else(|| OpenError::NoFolder { path: asked() })?;
            Ok((folder.join(name), false))
        }
    }
}

fn connect(path: &Path, create: bool) -> rusqlite::Result<Connection> {
    let create = if create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Only reads, so that closing the connection leaves file and folder as they were.
fn refuse_unfit(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    if connection.is_readonly("main").map_err(failed)? {
        return Err(OpenError::NotWritable { path: path.to_owned(), source: None });
    }
    // A log that somebody left is theirs to bring in.
    let keep_log = |keep| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep);
    keep_log(has_log(path)).map_err(failed)?;
    examine(connection, path)?;
    keep_log(false).map_err(failed)?;
    Ok(())
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).exists()
}

/// Whether the database is one of ours; an error if it is neither that nor fit to become one.
fn examine(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let encoding: String =
        connection.pragma_query_value(None, "encoding", |row| row.get(0)).map_err(failed)?;
    if encoding != "UTF-8" {
        return Err(OpenError::Encoding { path: path.to_owned(), encoding });
    }
    let found = schema_version(connection).map_err(failed)?;
    if let Some(found) = found.filter(|found| *found > SCHEMA) {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA });
    }
    if !has_our_columns(connection).map_err(failed)? {
        return Err(OpenError::OtherTable { path: path.to_owned(), table: TABLE });
    }
    Ok(found.is_some())
}

fn schema_version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let found =
        connection.query_row("SELECT value FROM datastream_meta WHERE name = 'schema_version'", [], |row| {
            row.get(0)
        });
    match found {
        Ok(version) => Ok(Some(version)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        // SQLite's word for a table that is not there.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the table is absent or has exactly the columns of the original's.
fn has_our_columns(connection: &Connection) -> rusqlite::Result<bool> {
    let mut query = connection.prepare(
        "SELECT name, upper(type), pk FROM pragma_table_xinfo(?1)
         UNION ALL SELECT name, type, 0 FROM sqlite_schema WHERE name = ?1 AND type <> 'table'",
    )?;
    let rows = query.query_map([TABLE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let columns = rows.collect::<rusqlite::Result<Vec<(String, String, i64)>>>()?;
    let columns = columns.iter().map(|(name, kind, key)| (name.as_str(), kind.as_str(), *key));
    Ok(columns.len() == 0 || columns.eq(COLUMNS))
}

/// `synchronous = FULL`: with less, the last commits that were answered are lost with the power.
fn use_wal(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(OpenError::NoWal { path: path.to_owned() });
    }
    let pragmas = "PRAGMA synchronous = FULL; PRAGMA mmap_size = 0; PRAGMA journal_size_limit = 67108864;";
    connection.execute_batch(pragmas).map_err(failed)
}

fn set_up(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let ours = examine(&transaction, path)?;
    if !ours {
        drop_original_trigger(&transaction).map_err(failed)?;
    }
    let schema = include_str!("schema.sql").replace("{table}", &format!("\"{TABLE}\""));
    transaction.execute_batch(&schema).map_err(failed)?;
    if !ours {
        begin_history(&transaction)
            .map_err(|error| OpenError::Other { path: path.to_owned(), source: error.into() })?;
    }
    transaction.commit().map_err(failed)
}

/// The original's trigger updates a row inside its own update; ours takes its name.
fn drop_original_trigger(connection: &Connection) -> rusqlite::Result<()> {
    let theirs =
        "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = 'set_updated_at' AND tbl_name = ?1";
    if connection.prepare(theirs)?.exists([TABLE])? {
        connection.execute_batch("DROP TRIGGER set_updated_at")?;
    }
    Ok(())
}

/// Genesis, and one commit of all rows that are there.
fn begin_history(connection: &Connection) -> Result<(), CommitError> {
    connection.execute(
        "INSERT INTO datastream_meta (name, value)
         VALUES ('schema_version', ?1), ('identity', randomblob(8)), ('compacted_to', 0)",
        [SCHEMA],
    )?;
    connection.execute_batch(
        "INSERT INTO datastream_log (time, \"commit\") VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), 1)",
    )?;
    let genesis = history::head(connection)?.position.revision;
    connection.execute_batch(&format!(
        "INSERT INTO datastream_capture (key, value, value_type, time)
         SELECT key, value, value_type, updated_at FROM \"{TABLE}\""
    ))?;
    let commit = Commit { message: "adopted".into(), ..Commit::default() };
    annotate(connection, &commit, genesis, 0)?;
    Ok(())
}
