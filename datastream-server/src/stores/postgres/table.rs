//! The user's table: where it is, whether it can be served rightly, and what this user may do with it.
//!
//! It needs the four columns of the original, a key that is unique by itself and compared as bytes, and nothing that an
//! insert of these four would leave open. Whatever else it has is the user's.

use tokio_postgres::types::{Oid, Type};
use tokio_postgres::{Client, Error, GenericClient, Row};

/// The columns of the original, the types that serve, and what to declare.
const COLUMNS: [(&str, &[&str], &str); 4] = [
    ("key", &["text", "character varying"], "text PRIMARY KEY"),
    ("value", &["bytea", "text", "character varying"], "bytea"),
    ("value_type", &["text", "character varying"], "text"),
    ("updated_at", &["timestamp with time zone", "timestamp without time zone"], "timestamptz"),
];

/// A table that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Its schema and name.
    pub(super) name: String,
    /// The same, quoted for a statement.
    pub(super) quoted: String,
    /// The types of its columns.
    pub(super) kinds: String,
    /// Whether values are text, and not bytes.
    is_text: bool,
    /// Whether times are without a zone; they are UTC then.
    is_zoneless: bool,
    /// Whether the user has the rights of its owner, which a trigger on it takes.
    pub(super) is_owner: bool,
    pub(super) may_select: bool,
}

/// A name, quoted for a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Looks for a table by its name, which may have its schema in front. The inner error says why it cannot be served
/// rightly, in words that follow its name.
pub(super) async fn find(client: &Client, name: &str) -> Result<Result<Table, String>, Error> {
    let words: Vec<_> = name.splitn(2, '.').map(quoted).collect();
    let found = client
        .query_typed_opt(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
               c.relhassubclass OR c.relispartition, row_security_active(c.oid), pg_has_role(c.relowner, 'USAGE'),
               has_table_privilege(c.oid, 'SELECT'), c.relhasrules
             FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
            &[(&words.join("."), Type::TEXT)],
        )
        .await?;
    let Some(row) = found else {
        return Ok(Err(format!(
            "does not exist; create it: CREATE TABLE {name} (key text PRIMARY KEY, value bytea, value_type text, \
             updated_at timestamptz DEFAULT now()), or name another with ?table=NAME"
        )));
    };
    if let Some(rule) = kind_unfit(&row)? {
        return Ok(Err(rule));
    }
    let oid: Oid = row.try_get(0)?;
    let columns = columns(client, oid).await?;
    if let Some(rule) = columns_unfit(&columns) {
        return Ok(Err(rule));
    }
    if !is_key_unique(client, oid).await? {
        return Ok(Err(
            "has no unique key; it needs PRIMARY KEY or UNIQUE on key alone, not deferrable".to_owned()
        ));
    }
    let kind = |name| columns.iter().find(|column| column.name == name).map_or("", |column| &column.kind);
    let (schema, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Ok(Table {
        quoted: format!("{}.{}", quoted(&schema), quoted(&name)),
        name: format!("{schema}.{name}"),
        kinds: COLUMNS.map(|(name, ..)| kind(name)).join(", "),
        is_text: kind("value") != "bytea",
        is_zoneless: kind("updated_at") == "timestamp without time zone",
        is_owner: row.try_get(7)?,
        may_select: row.try_get(8)?,
    }))
}

/// What speaks against the relation as a whole.
fn kind_unfit(row: &Row) -> Result<Option<String>, Error> {
    let (kind, persistence): (&str, &str) = (row.try_get(3)?, row.try_get(4)?);
    let (has_parts, hides_rows, has_rules): (bool, bool, bool) =
        (row.try_get(5)?, row.try_get(6)?, row.try_get(9)?);
    let rule = match (kind, persistence) {
        ("p", _) => "is partitioned; triggers can follow a plain table only",
        ("v" | "m" | "f", _) => "is a view or a foreign table; triggers can follow a plain table only",
        ("r", "p") if has_parts => "inherits or is inherited from; triggers can follow a plain table only",
        ("r", "p") if has_rules => "has rules (CREATE RULE), which rewrite a push; use triggers instead",
        ("r", "p") if hides_rows => {
            "hides rows from this user (row level security); let it see all rows (BYPASSRLS)"
        }
        ("r", "p") => return Ok(None),
        ("r", _) => "is not logged, so that a crash empties it: ALTER TABLE ... SET LOGGED",
        _ => "is no table",
    };
    Ok(Some(rule.to_owned()))
}

struct Column {
    name: String,
    kind: String,
    is_generated: bool,
    /// An insert without it fails.
    needs_value: bool,
    /// Other bytes are another text.
    is_exact: bool,
}

async fn columns(client: &Client, oid: Oid) -> Result<Vec<Column>, Error> {
    let rows = client
        .query_typed(
            "SELECT a.attname::text, format_type(a.atttypid, NULL), a.attgenerated <> '',
               a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', coalesce(c.collisdeterministic, true)
             FROM pg_attribute AS a LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped",
            &[(&oid, Type::OID)],
        )
        .await?;
    let column = |row: &Row| {
        Ok(Column {
            name: row.try_get(0)?,
            kind: row.try_get(1)?,
            is_generated: row.try_get(2)?,
            needs_value: row.try_get(3)?,
            is_exact: row.try_get(4)?,
        })
    };
    rows.iter().map(column).collect()
}

fn columns_unfit(columns: &[Column]) -> Option<String> {
    for (wanted, kinds, declared) in COLUMNS {
        let Some(column) = columns.iter().find(|column| column.name == wanted) else {
            return Some(format!("has no column {wanted}; it needs {wanted} {declared}"));
        };
        if !kinds.contains(&&*column.kind) {
            return Some(format!("is declared with {wanted} {}; it needs {wanted} {declared}", column.kind));
        }
        if column.is_generated {
            return Some(format!("computes its column {wanted}; it must be stored"));
        }
        if wanted == "key" && !column.is_exact {
            return Some("compares its keys by a collation that takes some for others; it needs key text COLLATE \"C\"".to_owned());
        }
    }
    let ours = |column: &&Column| COLUMNS.iter().any(|(name, ..)| column.name == *name);
    let needy = columns.iter().find(|column| column.needs_value && !ours(column))?;
    Some(format!("needs a value in its column {:?}, which a push has not; give it a default", needy.name))
}

/// A constraint that is checked late is none that ON CONFLICT could use.
async fn is_key_unique(client: &Client, oid: Oid) -> Result<bool, Error> {
    let row = client
        .query_typed_one(
            "SELECT EXISTS (
               SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               WHERE i.indrelid = $1 AND a.attname = 'key' AND i.indnkeyatts = 1 AND i.indisunique AND i.indisvalid
                 AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL)",
            &[(&oid, Type::OID)],
        )
        .await?;
    row.try_get(0)
}

impl Table {
    /// Whether our triggers are on what has its name now, and fire always.
    pub(super) async fn is_followed(&self, client: &impl GenericClient) -> Result<bool, Error> {
        let row = client
            .query_typed_one(
                "SELECT count(*) = 3 FROM pg_trigger AS t
                 WHERE t.tgenabled = 'A' AND (t.tgrelid, t.tgname::text, t.tgfoid) IN (
                   (to_regclass($1), 'datastream_note', to_regprocedure('datastream.note()')),
                   (to_regclass($1), 'datastream_truncate', to_regprocedure('datastream.note()')),
                   (to_regclass('datastream.pending'), 'datastream_follow', to_regprocedure('datastream.follow()')))",
                &[(&self.quoted, Type::TEXT)],
            )
            .await?;
        row.try_get(0)
    }

    /// A statement for this table: the words in braces are filled in. The table is called `held` where it is read. What is
    /// read fits whichever types its columns come to have.
    pub(super) fn fill(&self, sql: &str) -> String {
        let mut filled = sql.replace("{table}", &self.quoted);
        for (word, meant) in READ {
            filled = filled.replace(word, meant);
        }
        let (value, now) = (
            if self.is_text { "convert_from($2, 'UTF8')" } else { "$2" },
            if self.is_zoneless { "now() AT TIME ZONE 'UTC'" } else { "now()" },
        );
        filled.replace("{$value}", value).replace("{now}", now)
    }
}

/// How the columns are read, whatever their types are. A value without a type has that of its column.
const READ: [(&str, &str); 3] = [
    (
        "{value}",
        "CASE WHEN pg_typeof(held.value) = 'bytea'::regtype THEN held.value::bytea
           ELSE convert_to(held.value::text, 'UTF8') END",
    ),
    (
        "{type}",
        "coalesce(nullif(held.value_type::text, ''),
           CASE WHEN pg_typeof(held.value) = 'bytea'::regtype THEN 'bytes' ELSE 'string' END)",
    ),
    (
        "{time}",
        "CASE WHEN pg_typeof(held.updated_at) = 'timestamp'::regtype THEN held.updated_at::timestamp AT TIME ZONE 'UTC'
           ELSE held.updated_at::timestamptz END",
    ),
];
