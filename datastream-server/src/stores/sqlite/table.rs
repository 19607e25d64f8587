//! The user's table: its name, and whether it can be served rightly.
//!
//! It needs the four columns of the original, a key that is unique by itself and compared as bytes, and nothing
//! that an insert of these four would leave open. Whatever else it has is the user's.

use rusqlite::{Connection, Result, params};

/// A column, as SQLite describes it.
struct Column {
    name: String,
    /// The declared type, in capitals.
    kind: String,
    needs_value: bool,
    is_generated: bool,
}

/// The columns of the original, and the kinds that serve: by the rules of SQLite, a number in a column of another
/// kind would not come back as it was written.
const COLUMNS: [(&str, &[Affinity], &str); 4] = [
    ("key", &[Affinity::Text, Affinity::None], "TEXT"),
    // What we write there is a blob, which stays one; but of an integer that others write, REAL would make a fraction.
    ("value", &[Affinity::Text, Affinity::None, Affinity::Number, Affinity::Integer], "BLOB"),
    ("value_type", &[Affinity::Text, Affinity::None], "TEXT"),
    ("updated_at", &[Affinity::Text, Affinity::None, Affinity::Number], "DATETIME"),
];

/// The name of the table, quoted for a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether the database has no table at all, as one that is new.
pub(super) fn is_empty(connection: &Connection) -> Result<bool> {
    // What SQLite keeps for itself stays when a table goes.
    Ok(!connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?
        .exists([])?)
}

/// Why the table cannot be served rightly, in words that follow its name; `None` if it can.
pub(super) fn unfit(connection: &Connection, name: &str) -> Result<Option<String>> {
    let found =
        "SELECT type, strict FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?1)";
    let mut found = connection.prepare(found)?;
    let mut rows = found.query([name])?;
    let Some(row) = rows.next()? else {
        return Ok(Some("does not exist; name a table that does with ?table=NAME".to_owned()));
    };
    let (kind, is_strict): (String, bool) = (row.get(0)?, row.get(1)?);
    if kind != "table" {
        return Ok(Some(format!("is a {kind}; triggers can follow a table only")));
    }
    let columns = columns(connection, name)?;
    let rule = COLUMNS.iter().find_map(|(wanted, kinds, declared)| {
        match columns.iter().find(|column| column.name.eq_ignore_ascii_case(wanted)) {
            None => Some(format!("has no column {wanted}; it needs {wanted} {declared}")),
            Some(column) => column.unfit(wanted, kinds, declared, is_strict),
        }
    });
    if rule.is_some() {
        return Ok(rule);
    }
    let ours = |column: &Column| COLUMNS.iter().any(|(name, ..)| column.name.eq_ignore_ascii_case(name));
    if let Some(column) = columns.iter().find(|column| column.needs_value && !ours(column)) {
        let name = &column.name;
        return Ok(Some(format!(
            "needs a value in its column {name:?}, which a push has not; give it a default"
        )));
    }
    key_unfit(connection, name)
}

impl Column {
    fn unfit(&self, wanted: &str, kinds: &[Affinity], declared: &str, is_strict: bool) -> Option<String> {
        if self.is_generated {
            return Some(format!("computes its column {wanted}; it must be stored"));
        }
        // A STRICT table takes only what it declares.
        let takes_ours =
            self.kind == declared || self.kind == "ANY" || (declared == "DATETIME" && self.kind == "TEXT");
        let fits = if is_strict { takes_ours } else { kinds.contains(&Affinity::of(&self.kind)) };
        (!fits).then(|| {
            let (kind, strict) = (&self.kind, if is_strict { "STRICT and " } else { "" });
            format!("is {strict}declared with {wanted} {kind}; it needs {wanted} {declared}")
        })
    }
}

/// The key must be unique by itself, and two keys are the same only if their bytes are.
fn key_unfit(connection: &Connection, name: &str) -> Result<Option<String>> {
    let (_, collation, ..) = connection.column_metadata(Some("main"), name, "key")?;
    if let Some(collation) = collation.filter(|collation| collation.as_bytes() != b"BINARY") {
        let collation = collation.to_string_lossy();
        return Ok(Some(format!(
            "compares its keys by {collation}; keys are compared as bytes (COLLATE BINARY)"
        )));
    }
    let unique = "SELECT 1 FROM pragma_index_list(?1) AS list WHERE list.\"unique\" AND NOT list.partial AND
        (SELECT group_concat(lower(name) || ' ' || coll) FROM pragma_index_xinfo(list.name) WHERE key) = 'key BINARY'";
    let is_unique = connection.prepare(unique)?.exists(params![name])?;
    Ok((!is_unique).then(|| "has no unique key; it needs PRIMARY KEY or UNIQUE on key alone".to_owned()))
}

fn columns(connection: &Connection, name: &str) -> Result<Vec<Column>> {
    // A column that is the number of its row is given its value by SQLite.
    let sql = "SELECT name, upper(type), \"notnull\" AND dflt_value IS NULL AND hidden = 0 AND NOT (
            pk = 1 AND upper(type) = 'INTEGER' AND (SELECT max(pk) FROM pragma_table_info(?1)) = 1
            AND NOT (SELECT wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?1))
          ), hidden IN (2, 3)
        FROM pragma_table_xinfo(?1)";
    let mut query = connection.prepare(sql)?;
    let column = |row: &rusqlite::Row<'_>| {
        Ok(Column {
            name: row.get(0)?,
            kind: row.get(1)?,
            needs_value: row.get(2)?,
            is_generated: row.get(3)?,
        })
    };
    query.query_map([name], column)?.collect()
}

/// What SQLite makes of a value that is stored in a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    None,
    Real,
    Number,
}

impl Affinity {
    /// By the rules of <https://sqlite.org/datatype3.html>, section 3.1.
    fn of(kind: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        match () {
            () if has(&["INT"]) => Self::Integer,
            () if has(&["CHAR", "CLOB", "TEXT"]) => Self::Text,
            () if kind.is_empty() || has(&["BLOB"]) => Self::None,
            () if has(&["REAL", "FLOA", "DOUB"]) => Self::Real,
            () => Self::Number,
        }
    }
}
