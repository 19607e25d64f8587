//! The store `postgres` keeps what every store promises, and what only it can: it sees what others write into its table,
//! whatever they do there, and it is served by several servers at once.

/// The user's table, as the documentation has it.
pub(crate) const TABLE: &str = "CREATE TABLE data (
  key text PRIMARY KEY,
  value bytea,
  value_type text,
  updated_at timestamptz DEFAULT now()
)";
