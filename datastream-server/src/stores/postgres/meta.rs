//! What the store notes about itself in the database.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient};

/// The schema that this version writes, and the newest that it knows. To be raised with each released change of what is
/// added to a database: of two versions on one database the newer's stays.
pub(super) const SCHEMA: i64 = 1;
/// The oldest version, by its schema, that may run beside this one.
pub(super) const OLDEST: i64 = 1;

/// The notes.
#[derive(Debug)]
pub(super) struct Meta {
    /// The version of the schema.
    pub(super) schema_version: i64,
    /// The oldest version of this program, by its schema, that may use it.
    pub(super) oldest: i64,
    /// The table that is served, with its schema in front.
    pub(super) table: String,
    /// A digest of the functions and triggers.
    pub(super) definition: String,
    /// Whether the schema `datastream` is ours, and not one that was made for us.
    pub(super) made_schema: bool,
}

impl Meta {
    pub(super) fn is_newer(&self) -> bool {
        self.schema_version > SCHEMA
    }
}

pub(super) async fn has_schema(client: &impl GenericClient) -> Result<bool, Error> {
    // Asked of the table: `to_regnamespace` answers from a cache that may not know what another session has just made.
    let found = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'datastream')";
    client.query_typed_one(found, &[]).await?.try_get(0)
}

/// Whether the schema has things in it, and no notes of ours.
pub(super) async fn is_taken(client: &impl GenericClient) -> Result<bool, Error> {
    let found = "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('datastream'))
      AND to_regclass('datastream.meta') IS NULL";
    client.query_typed_one(found, &[]).await?.try_get(0)
}

/// The notes; `None` if the database has nothing of ours.
pub(super) async fn read(client: &impl GenericClient) -> Result<Option<Meta>, Error> {
    let found = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'meta'
      AND relnamespace = to_regnamespace('datastream'))";
    if !client.query_typed_one(found, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let mut notes = HashMap::new();
    for row in client.query_typed("SELECT name, value FROM datastream.meta", &[]).await? {
        notes.insert(row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?);
    }
    let number = |name| notes.get(name).and_then(|text: &String| text.parse().ok());
    Ok(number("schema_version").map(|schema_version| Meta {
        schema_version,
        oldest: number("oldest").unwrap_or(schema_version),
        table: notes.get("table").cloned().unwrap_or_default(),
        definition: notes.get("definition").cloned().unwrap_or_default(),
        made_schema: notes.contains_key("made_schema"),
    }))
}

/// Whether the database holds a history of ours.
pub(super) async fn is_whole(client: &impl GenericClient) -> Result<bool, Error> {
    let found = "SELECT to_regclass('datastream.log') IS NOT NULL AND to_regclass('datastream.request') IS NOT NULL
      AND EXISTS (SELECT FROM datastream.token) AND EXISTS (SELECT FROM datastream.meta WHERE name = 'identity')";
    client.query_typed_one(found, &[]).await?.try_get(0)
}

/// Notes the beginning of a history: a new identity, and the genesis.
pub(super) async fn begin(client: &impl GenericClient, table: &str, made_schema: bool) -> Result<(), Error> {
    client
        .batch_execute(
            "INSERT INTO datastream.meta (name, value) VALUES
               ('identity', encode(substring(uuid_send(gen_random_uuid()) FROM 9), 'hex')), ('compacted_to', '0');
             INSERT INTO datastream.token (revision, token, transaction, time)
             VALUES (1, substring(uuid_send(gen_random_uuid()) FROM 9), pg_current_xact_id(), clock_timestamp());
             SELECT setval('datastream.head', 1)",
        )
        .await?;
    if made_schema {
        put(client, "made_schema", "true").await?;
    }
    put(client, "table", table).await
}

/// Notes a text.
pub(super) async fn put(client: &impl GenericClient, name: &str, value: &str) -> Result<(), Error> {
    let put = "INSERT INTO datastream.meta (name, value) VALUES ($1, $2)
      ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    client.execute_typed(put, &[(&name, Type::TEXT), (&value, Type::TEXT)]).await.map(drop)
}
