//! What this store adds to a user's database, and takes away again.
//!
//! The log, its tokens and the views that lead into it are objects of our own (`schema.sql`). On the user's table
//! there are triggers only, and these are compared with what they should be whenever the schema has changed: a
//! table that was dropped and made again, or renamed, has lost them.

use rusqlite::{Connection, OptionalExtension, Result};

use super::table::quoted;

/// The trigger of the original, whose name ours takes.
const UPDATED_AT: &str = "set_updated_at";

/// The triggers on the user's table: the name, the event, and the keys that it touches; NULL is none.
const TRIGGERS: [(&str, &str, &[&str]); 3] = [
    ("datastream_insert", "INSERT", &["NEW.key"]),
    (
        "datastream_update",
        "UPDATE OF key, value, value_type",
        &["CASE WHEN OLD.key IS NOT NEW.key THEN OLD.key END", "NEW.key"],
    ),
    ("datastream_delete", "DELETE", &["OLD.key"]),
];

/// A trigger.
const FOLLOW: &str = "CREATE TRIGGER {name} AFTER {event} ON {table}
BEGIN{logged}
END";

/// What it does for each of its keys: it logs what the row holds when it runs, and not what the statement wrote. A trigger
/// of the user's may have changed that since, and SQLite runs the newest first. Two look-ups of a row cost less than the
/// temporary table that SQLite fills for every INSERT from a SELECT here.
const LOGGED: &str = "
  INSERT INTO datastream_capture (key, value, value_type) VALUES ({key},
    (SELECT value FROM {table} WHERE key = {key}), (SELECT value_type FROM {table} WHERE key = {key}));";

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
    for (name, event, keys) in TRIGGERS {
        let logged: String = keys.iter().map(|key| LOGGED.replace("{key}", key)).collect();
        let follow = FOLLOW.replace("{name}", name).replace("{event}", event).replace("{logged}", &logged);
        let wanted = on(&follow, table);
        if trigger(connection, name)?.is_none_or(|found| found.sql != wanted) {
            connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}; {wanted}"))?;
        }
    }
    replace_original(connection, table)
}

/// The original's own trigger updates the row inside its update; what it was is kept for [`remove`].
fn replace_original(connection: &Connection, table: &str) -> Result<()> {
    let theirs = trigger(connection, UPDATED_AT)?.filter(|found| {
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
    let ours = trigger(connection, UPDATED_AT)?.filter(|found| found.sql == on(SET_UPDATED_AT, &found.table));
    if let Some(ours) = ours {
        connection.execute_batch(&format!("DROP TRIGGER {UPDATED_AT}"))?;
        let original = original.filter(|_| ours.table.eq_ignore_ascii_case(table));
        connection.execute_batch(&original.unwrap_or_default())?;
    }
    for (name, ..) in TRIGGERS {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}"))?;
    }
    connection.execute_batch(
        "DROP VIEW IF EXISTS datastream_capture;
         DROP VIEW IF EXISTS datastream_change;
         DROP TABLE IF EXISTS datastream_log;
         DROP TABLE IF EXISTS datastream_token;
         DROP TABLE IF EXISTS datastream_request;
         DROP TABLE IF EXISTS datastream_meta;",
    )
}

/// A trigger, as it is written, and the table that it is on.
struct Trigger {
    sql: String,
    table: String,
}

fn trigger(connection: &Connection, name: &str) -> Result<Option<Trigger>> {
    let found = "SELECT sql, tbl_name FROM sqlite_schema WHERE type = 'trigger' AND name = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok(Trigger { sql: row.get(0)?, table: row.get(1)? });
    connection.query_row(found, [name], read).optional()
}

fn on(sql: &str, table: &str) -> String {
    sql.replace("{table}", &quoted(table))
}
