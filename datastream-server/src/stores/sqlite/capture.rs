//! What this store adds to a user's database, and takes away again.
//!
//! The log and its tokens are tables of our own (`schema.sql`), and one view leads into them. On the user's table
//! there are triggers only. View and triggers are compared with what they should be whenever the schema has changed: a
//! table that was dropped and made again, or renamed, has lost them.
//!
//! Each trigger that runs is a program that SQLite begins and ends, some twentieth of what the write costs (counted by
//! callgrind). So one follows the row, one writes the log, and what an ordinary write does not need is in one of its own.

use rusqlite::{Connection, OptionalExtension, Result};

use super::table::quoted;

/// The trigger of the original, whose name ours takes.
const UPDATED_AT: &str = "set_updated_at";

/// The time now, as our tables hold it.
pub(super) const NOW: &str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";

/// The one way into the log: what a key holds now, in whatever form a program wrote it; `now`, which is always given; and
/// `time`, where it was written at another. The view holds nothing.
const CAPTURE: &str = "CREATE VIEW datastream_capture (key, value, value_type, time, now) AS
SELECT NULL, NULL, NULL, NULL, NULL WHERE 0";

/// A value is logged in the form of the log, and only if it differs from what the log has last; where that has nothing, there
/// is nothing to delete. With it the token of its position is drawn, in the transaction of the change, whoever makes it.
/// That all of it is VALUES, and the condition a WHEN, spares SQLite a temporary table for each.
///
/// No row values: before SQLite 3.15 a program could then not even read the user's table. With 3.11 all of this was tried.
const LOG: &str = "CREATE TRIGGER datastream_capture_log INSTEAD OF INSERT ON datastream_capture
WHEN typeof(NEW.key) = 'text' AND NOT coalesce(
  (SELECT value IS {value} AND type IS {type} FROM datastream_log WHERE key = NEW.key ORDER BY revision DESC LIMIT 1),
  NEW.value IS NULL)
BEGIN
  INSERT INTO datastream_log (key, value, type, time) VALUES (
    NEW.key, {value}, {type}, coalesce(strftime('%Y-%m-%d %H:%M:%f', NEW.time), NEW.now));
  INSERT INTO datastream_token (revision, token, time) VALUES (last_insert_rowid(), randomblob(8), NEW.now);
END";

/// The bytes of the value of a row. A number with a fraction is written with as many digits as it needs, by every version of
/// SQLite. A collation of the user's may be unknown here, so none of theirs counts.
const VALUE: &str = "CAST(CASE WHEN typeof({row}.value) <> 'real' THEN {row}.value
    WHEN CAST(printf('%!.15g', {row}.value) AS REAL) COLLATE BINARY = {row}.value THEN printf('%!.15g', {row}.value)
    ELSE printf('%!.17g', {row}.value) END AS BLOB)";

/// Its type, where the row has none that of its storage.
const TYPE: &str =
    "CASE WHEN {row}.value IS NULL THEN NULL ELSE coalesce(nullif(CAST({row}.value_type AS TEXT) COLLATE BINARY, ''),
    CASE typeof({row}.value)
      WHEN 'integer' THEN 'int' WHEN 'real' THEN 'float' WHEN 'text' THEN 'string' ELSE 'bytes' END) END";

/// The triggers on the user's table: the name, the event, and the key that it touches.
const TRIGGERS: [(&str, &str, &str, &str); 4] = [
    ("datastream_insert", "INSERT", "", "NEW.key"),
    ("datastream_update", "UPDATE OF key, value, value_type", "", "NEW.key"),
    ("datastream_rename", "UPDATE OF key", " WHEN OLD.key IS NOT NEW.key", "OLD.key"),
    ("datastream_delete", "DELETE", "", "OLD.key"),
];

/// Such a trigger logs what the row holds when it runs, and not what the statement wrote. A trigger of the user's may have
/// changed that since, and SQLite runs the newest first. Two look-ups of a row cost less than the temporary table that
/// SQLite fills for every INSERT from a SELECT here.
const FOLLOW: &str = "CREATE TRIGGER {name} AFTER {event} ON {table}{when}
BEGIN
  INSERT INTO datastream_capture (key, value, value_type, now) VALUES ({key},
    (SELECT value FROM {table} WHERE key = {key}), (SELECT value_type FROM {table} WHERE key = {key}), {now});
END";

/// What the first schema had, beside triggers that go with their view.
const EARLIER: &str = "DROP TRIGGER IF EXISTS datastream_token_draw; DROP VIEW IF EXISTS datastream_change";

/// Of the name and effect of the original's trigger, which updates a row inside its own update. The last
/// condition ends it where a foreign connection has recursive triggers on.
const SET_UPDATED_AT: &str = "CREATE TRIGGER set_updated_at AFTER UPDATE ON {table}
WHEN NEW.updated_at IS OLD.updated_at AND NEW.updated_at IS NOT CURRENT_TIMESTAMP
BEGIN
  UPDATE {table} SET updated_at = CURRENT_TIMESTAMP WHERE key IS NEW.key;
END";

/// The table as the original makes it, for a database that has none.
const TABLE: &str = "CREATE TABLE {table} (
  key TEXT PRIMARY KEY,
  value BLOB,
  value_type TEXT,
  updated_at DATETIME DEFAULT CURRENT_TIMESTAMP
)";

/// Makes the table, with the trigger that the original gives it.
pub(super) fn create_table(connection: &Connection, table: &str) -> Result<()> {
    connection.execute_batch(&on(TABLE, table))?;
    connection.execute_batch(&on(SET_UPDATED_AT, table))
}

/// Notes the trigger of a table that was made here, so that [`remove`] leaves it.
pub(super) fn keep_trigger(connection: &Connection, table: &str) -> Result<()> {
    keep(connection, &on(SET_UPDATED_AT, table))
}

fn keep(connection: &Connection, trigger: &str) -> Result<()> {
    let keep = "INSERT OR REPLACE INTO datastream_meta (name, value) VALUES (?1, ?2)";
    connection.execute(keep, [UPDATED_AT, trigger]).map(drop)
}

/// Adds what is missing: to a database that has nothing of ours, or has lost some of it.
pub(super) fn install(connection: &Connection, table: &str) -> Result<()> {
    connection.execute_batch(include_str!("schema.sql"))?;
    connection.execute_batch(EARLIER)?;
    // Its triggers go with a view that is replaced, so it is the first.
    keep_object(connection, "VIEW", "datastream_capture", CAPTURE)?;
    let [value, kind] = logged("NEW");
    let log = LOG.replace("{value}", &value).replace("{type}", &kind);
    keep_object(connection, "TRIGGER", "datastream_capture_log", &log)?;
    for (name, event, when, key) in TRIGGERS {
        let follow = FOLLOW.replace("{name}", name).replace("{event}", event).replace("{when}", when);
        let follow = follow.replace("{key}", key).replace("{now}", NOW);
        keep_object(connection, "TRIGGER", name, &on(&follow, table))?;
    }
    replace_original(connection, table)
}

/// What the log holds of a row of the user's table: its value, and its type.
pub(super) fn logged(row: &str) -> [String; 2] {
    [VALUE, TYPE].map(|expression| expression.replace("{row}", row))
}

/// Makes what is to be there, unless it is, as it is `wanted`.
fn keep_object(connection: &Connection, kind: &str, name: &str, wanted: &str) -> Result<()> {
    match object(connection, kind, name)? {
        Some(found) if found.sql == wanted => Ok(()),
        _ => connection.execute_batch(&format!("DROP {kind} IF EXISTS {name}; {wanted}")),
    }
}

/// The original's own trigger updates the row inside its update; what it was is kept for [`remove`].
fn replace_original(connection: &Connection, table: &str) -> Result<()> {
    let theirs = object(connection, "TRIGGER", UPDATED_AT)?.filter(|found| {
        found.table.eq_ignore_ascii_case(table) && found.sql.to_uppercase().contains("BEFORE UPDATE")
    });
    let Some(theirs) = theirs else { return Ok(()) };
    keep(connection, &theirs.sql)?;
    connection.execute_batch(&format!("DROP TRIGGER {UPDATED_AT}; {}", on(SET_UPDATED_AT, table)))
}

/// Takes everything of ours away, and puts the original's trigger back where it was, if `table` has its name still.
pub(super) fn remove(connection: &Connection, table: &str) -> Result<()> {
    let original: Option<String> = connection
        .query_row("SELECT value FROM datastream_meta WHERE name = ?1", [UPDATED_AT], |row| row.get(0))
        .optional()?;
    // Where the table has another name by now, SQLite wrote that into the triggers on it.
    let ours = object(connection, "TRIGGER", UPDATED_AT)?
        .filter(|found| found.sql == on(SET_UPDATED_AT, &found.table));
    if let Some(ours) = ours {
        connection.execute_batch(&format!("DROP TRIGGER {UPDATED_AT}"))?;
        let original = original.filter(|_| ours.table.eq_ignore_ascii_case(table));
        connection.execute_batch(&original.unwrap_or_default())?;
    }
    for (name, ..) in TRIGGERS {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}"))?;
    }
    connection.execute_batch(EARLIER)?;
    connection.execute_batch(
        "DROP VIEW IF EXISTS datastream_capture;
         DROP TABLE IF EXISTS datastream_log;
         DROP TABLE IF EXISTS datastream_token;
         DROP TABLE IF EXISTS datastream_request;
         DROP TABLE IF EXISTS datastream_meta;",
    )
}

/// A trigger or a view, as it is written, and the table that a trigger is on.
struct Object {
    sql: String,
    table: String,
}

fn object(connection: &Connection, kind: &str, name: &str) -> Result<Option<Object>> {
    let found = "SELECT sql, tbl_name FROM sqlite_schema WHERE type = lower(?1) AND name = ?2";
    let read = |row: &rusqlite::Row<'_>| Ok(Object { sql: row.get(0)?, table: row.get(1)? });
    connection.query_row(found, [kind, name], read).optional()
}

fn on(sql: &str, table: &str) -> String {
    sql.replace("{table}", &quoted(table))
}
