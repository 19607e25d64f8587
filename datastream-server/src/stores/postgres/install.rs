//! What is added to a database so that its table can be served, and how it is taken out again.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use super::address::Address;
use super::commit::writing;
use super::error::OpenError;
use super::meta::{self, Meta};
use super::table::{self, Table};

/// The oldest PostgreSQL that has what `schema.sql` uses: `gen_random_uuid` and the numbers of transactions that never
/// come again.
const OLDEST: i32 = 130_000;
/// For how long a start waits for who writes the table; who stays longer is told of.
pub(super) const AT_THE_START: Duration = Duration::from_secs(5);
/// The same while the table is served: others wait behind whoever waits for a table.
const MEANWHILE: Duration = Duration::from_millis(100);
/// How long all of it may take, for a large table.
const LIMIT: Duration = Duration::from_secs(600);
/// Of servers that start at once, one sets up.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(hashtext('datastream'))";

/// How a table can be served.
pub(super) enum Served {
    /// Triggers follow it.
    Followed(Table),
    /// The user lacks these rights, so it is read again and again.
    Polled(Table, String),
}

/// Sets the database up, or finds that it is, or that it cannot be. While it is served, `known` is the table as it was last
/// seen: then no history is begun, and what another build has made is left alone.
pub(super) async fn install(
    client: &mut Client,
    address: &Address,
    known: Option<&Table>,
) -> Result<Served, OpenError> {
    let failed = |error| OpenError::of(address, &error);
    check_server(client).await?;
    let table = find(client, address).await?;
    let (meta, is_followed) = match what_is_there(client, &table).await {
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let missing = "reading the schema datastream takes rights that its owner has to grant";
            return Ok(Served::Polled(table, missing.to_owned()));
        }
        there => there.map_err(failed)?,
    };
    match &meta {
        Some(meta) => check_meta(meta, &table)?,
        None if known.is_some() => {
            return Err(OpenError::NotAdopted { database: address.database().to_owned() });
        }
        None if meta::is_taken(client).await.map_err(failed)? => return Err(OpenError::Taken),
        None => {}
    }
    let definition = definition(&table);
    // A newer version of this program, which says that this one may go on, has definitions of its own.
    let is_current = match known {
        Some(known) => *known == table,
        None => meta.as_ref().is_some_and(|meta| meta.is_newer() || meta.definition == definition),
    };
    let missing = missing_rights(client, &table, meta.is_some()).await.map_err(failed)?;
    match (&meta, missing) {
        (Some(_), _) if is_followed && is_current => {}
        (Some(_), Some(missing)) if is_followed => {
            tracing::warn!(%missing, "what was added to the database is of another version, and stays");
        }
        (_, Some(missing)) => return Ok(Served::Polled(table, missing)),
        (_, None) => {
            let patience = if known.is_some() { MEANWHILE } else { AT_THE_START };
            set_up(client, address, &table, &definition, patience).await?;
        }
    }
    meta::is_whole(client)
        .await
        .map_err(failed)?
        .then_some(Served::Followed(table))
        .ok_or(OpenError::Incomplete)
}

async fn what_is_there(
    client: &Client,
    table: &Table,
) -> Result<(Option<Meta>, bool), tokio_postgres::Error> {
    let meta = meta::read(client).await?;
    let is_followed = meta.is_some() && table.is_followed(client).await?;
    Ok((meta, is_followed))
}

/// The table, if it can be served rightly.
async fn find(client: &Client, address: &Address) -> Result<Table, OpenError> {
    let found = table::find(client, &address.table).await.map_err(|error| OpenError::of(address, &error))?;
    let table = found.map_err(|rule| OpenError::Unfit { table: address.table.clone(), rule })?;
    if !table.may_select {
        let needed = format!("GRANT SELECT ON {} TO {:?}", table.quoted, address.user());
        return Err(OpenError::Rights { what: "reading the table", user: address.user().to_owned(), needed });
    }
    Ok(table)
}

async fn check_server(client: &Client) -> Result<(), OpenError> {
    let settings = "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
      current_setting('server_encoding')";
    let row = client.query_typed_one(settings, &[]).await.map_err(other)?;
    let (number, found): (i32, String) = (row.try_get(0).map_err(other)?, row.try_get(1).map_err(other)?);
    let encoding: String = row.try_get(2).map_err(other)?;
    match number {
        ..OLDEST => Err(OpenError::TooOld { found }),
        _ if encoding != "UTF8" => Err(OpenError::Encoding { encoding }),
        _ => Ok(()),
    }
}

fn other(error: tokio_postgres::Error) -> OpenError {
    OpenError::Other(super::error::said(&error))
}

fn check_meta(meta: &Meta, table: &Table) -> Result<(), OpenError> {
    if meta.oldest > meta::SCHEMA {
        return Err(OpenError::Newer { found: meta.schema_version, known: meta::SCHEMA });
    }
    if meta.table != table.name {
        return Err(OpenError::OtherTable { served: meta.table.clone(), asked: table.name.clone() });
    }
    Ok(())
}

/// What tells whether the database has what this version would add.
fn definition(table: &Table) -> String {
    let all = [include_str!("schema.sql"), include_str!("triggers.sql"), &table.kinds].concat();
    format!("{:08x}", crc32fast::hash(all.as_bytes()))
}

/// What setting up takes that this user has not, in words.
async fn missing_rights(
    client: &Client,
    table: &Table,
    is_set_up: bool,
) -> Result<Option<String>, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT coalesce(
                (SELECT has_schema_privilege(oid, 'CREATE') AND (NOT $1 OR pg_has_role(nspowner, 'USAGE'))
                 FROM pg_namespace WHERE nspname = 'datastream'),
                has_database_privilege(current_database(), 'CREATE')),
              pg_is_in_recovery(), current_user::text",
            &[(&is_set_up, Type::BOOL)],
        )
        .await?;
    let (may_create, is_replica, user): (bool, bool, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if is_replica {
        return Ok(Some("this is a replica, which cannot be changed".to_owned()));
    }
    let owner = (!table.is_owner).then(|| format!("triggers on {} take its owner's rights", table.quoted));
    let create = (!may_create).then(|| {
        format!("the schema datastream takes GRANT CREATE ON DATABASE to {user:?}, or one made for it: CREATE SCHEMA \
                 datastream AUTHORIZATION {user:?}")
    });
    let missing: Vec<_> = owner.into_iter().chain(create).collect();
    Ok((!missing.is_empty()).then(|| missing.join("; ")))
}

/// One migration: all of it, or nothing. It is to be repeatable, since another server may have made it meanwhile.
async fn set_up(
    client: &mut Client,
    address: &Address,
    table: &Table,
    definition: &str,
    patience: Duration,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(address, &error);
    let transaction = alone(client, patience).await.map_err(failed)?;
    add(&transaction, table, definition).await.map_err(failed)?;
    warn_of(&transaction, table).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// A transaction that waits so long for a table, and of which there is one at a time.
pub(super) async fn alone(
    client: &mut Client,
    patience: Duration,
) -> Result<Transaction<'_>, tokio_postgres::Error> {
    let transaction = writing(client, LIMIT).await?;
    let patience = patience.as_millis();
    let quiet = "SET LOCAL client_min_messages = 'warning'";
    transaction
        .batch_execute(&format!("{quiet}; {ONE_AT_A_TIME}; SET LOCAL lock_timeout = {patience}"))
        .await?;
    Ok(transaction)
}

async fn add(
    transaction: &Transaction<'_>,
    table: &Table,
    definition: &str,
) -> Result<(), tokio_postgres::Error> {
    let had_schema = meta::has_schema(transaction).await?;
    if !had_schema {
        transaction.batch_execute("CREATE SCHEMA datastream").await?;
    }
    let is_new = meta::read(transaction).await?.is_none();
    if !is_new && !table.is_followed(transaction).await? {
        // Before anything of ours, which who has written the table waits for.
        transaction.batch_execute(&table.fill("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
    }
    transaction.batch_execute(&table.fill(include_str!("schema.sql"))).await?;
    if is_new {
        meta::begin(transaction, &table.name, !had_schema).await?;
    }
    // Triggers lock the table, which is not needed where only what they call is another.
    if !table.is_followed(transaction).await? {
        transaction.batch_execute(&table.fill(include_str!("triggers.sql"))).await?;
    }
    if is_new {
        transaction.batch_execute(&table.fill(include_str!("adopt.sql"))).await?;
    }
    meta::put(transaction, "definition", definition).await?;
    meta::put(transaction, "schema_version", &meta::SCHEMA.to_string()).await?;
    meta::put(transaction, "oldest", &meta::OLDEST.to_string()).await?;
    // Where only tables were copied, the sequence lags behind them.
    let catch_up = "SELECT setval('datastream.head', greatest(
      (SELECT last_value FROM datastream.head), (SELECT max(revision) FROM datastream.token)))";
    transaction.query_typed(catch_up, &[]).await.map(drop)
}

/// What is set up all the same, and what its user should know of.
async fn warn_of(transaction: &Transaction<'_>, table: &Table) -> Result<(), tokio_postgres::Error> {
    let row = transaction
        .query_typed_one(
            "SELECT (SELECT string_agg(pubname::text, ', ') FROM pg_publication WHERE puballtables),
               (SELECT pg_get_userbyid(relowner)::text FROM pg_class
                WHERE oid = to_regclass($1) AND relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)),
               (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
            &[(&table.quoted, Type::TEXT)],
        )
        .await?;
    // A subscriber of all tables has none of ours, and stops at the first change of them.
    if let Some(publications) = row.try_get::<_, Option<String>>(0)? {
        tracing::warn!(
            publications,
            "the schema datastream is published with all tables: let the publication name tables, or make the schema at \
             each subscriber before"
        );
    }
    let (owner, is_superuser): (Option<String>, bool) = (row.try_get(1)?, row.try_get(2)?);
    if let Some(owner) = owner.filter(|_| is_superuser) {
        tracing::warn!(
            owner,
            "a superuser has set up the table of somebody else, who can make the triggers do what a superuser may: \
             set it up as its owner"
        );
    }
    Ok(())
}
