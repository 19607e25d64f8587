//! What the store notes about itself in the database.

use rusqlite::{Connection, ErrorCode, OptionalExtension, Result};

/// The schema that this version writes, and the newest that it knows.
pub(super) const SCHEMA: i64 = 2;
/// The name of the table that is served.
pub(super) const TABLE: &str = "table";
/// The journal mode that the file had before.
pub(super) const JOURNAL_MODE: &str = "journal_mode";

/// The schema that the database was written with; `None` if it has nothing of ours.
pub(super) fn schema_version(connection: &Connection) -> Result<Option<i64>> {
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

/// A text that was noted.
pub(super) fn text(connection: &Connection, name: &str) -> Result<Option<String>> {
    let sql = "SELECT value FROM datastream_meta WHERE name = ?1";
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}

/// Notes that the database has the schema of this version now.
pub(super) fn raise_schema(connection: &Connection) -> Result<()> {
    let raise = "UPDATE datastream_meta SET value = ?1 WHERE name = 'schema_version' AND value < ?1";
    connection.execute(raise, [SCHEMA]).map(drop)
}

/// Notes the beginning of a history: a new identity, and what the database was before.
pub(super) fn begin(connection: &Connection, table: &str, journal_mode: &str) -> Result<()> {
    // Names of another history, which something else took away, say nothing of this one.
    connection.execute("DELETE FROM datastream_request", [])?;
    connection.execute(
        "INSERT INTO datastream_meta (name, value) VALUES ('schema_version', ?1), ('identity', randomblob(8)),
           ('compacted_to', 0), (?2, ?3), (?4, ?5)",
        rusqlite::params![SCHEMA, TABLE, table, JOURNAL_MODE, journal_mode],
    )?;
    Ok(())
}
