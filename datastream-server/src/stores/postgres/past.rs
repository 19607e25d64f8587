//! What was, and how much of it is kept.

use datastream::key::Selector;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::history::{CHANGE, LARGEST, as_sql, change, head, snapshot_of};
use crate::store::{HistoryPage, HistoryQuery, Logged, StoreError, Usage};
use crate::stores::range::behind;

/// A part of the history, newest first.
///
/// A page is cut by the database, which need not read the values behind its end to know their size.
pub(super) async fn page(client: &mut Client, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
    let transaction = snapshot_of(client).await?;
    let head = head(&transaction, 0).await?;
    let (which, from, to) = match &query.of {
        None => ("true", String::new(), String::new()),
        Some(Selector::Key(key)) => ("key = $5", key.to_string(), String::new()),
        // What begins with the prefix lies before the prefix with its `/` raised by one.
        Some(Selector::Prefix(prefix)) => ("key > $5 AND key < $6", prefix.to_string(), behind(prefix)),
    };
    let (revision, key) = query.before.clone().unwrap_or((u64::MAX, "".into()));
    let sql = format!(
        "SELECT {CHANGE}, token, author, message FROM (
           SELECT log.*, token, sum(octet_length(key) + coalesce(octet_length(value), 0))
             OVER (ORDER BY log.revision DESC, key DESC) AS bytes,
             row_number() OVER (ORDER BY log.revision DESC, key DESC) AS number
           FROM (
             SELECT * FROM datastream.log
             WHERE (revision, key) < ($1, $3) AND octet_length(key) <= 512 AND coalesce(octet_length(type), 0) <= 256
               AND {which}
             ORDER BY revision DESC, key DESC LIMIT $4
           ) AS log LEFT JOIN datastream.token USING (revision)
         ) AS log
         WHERE bytes - octet_length(key) - coalesce(octet_length(value), 0) <= $7 OR number <= 2
         ORDER BY revision DESC, key DESC"
    );
    // One more than is asked for, and than fits, which tells that there is more.
    let (limit, bytes) = (as_sql(query.limit as u64 + 1), as_sql(query.bytes as u64));
    let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
        (&as_sql(revision), Type::INT8),
        (&LARGEST, Type::INT4),
        (&&*key, Type::TEXT),
        (&limit, Type::INT8),
        (&from, Type::TEXT),
        (&to, Type::TEXT),
        (&bytes, Type::INT8),
    ];
    let rows = transaction.query_typed(&sql, &parameters).await?;
    let page = query.page(rows.iter().map(|row| logged(row, &head)))?;
    transaction.commit().await?;
    Ok(page)
}

fn logged(row: &Row, head: &super::history::Head) -> Result<Logged, Error> {
    let change = change(row)?;
    let text = |at| row.try_get::<_, Option<String>>(at).map(Option::unwrap_or_default);
    Ok(Logged {
        position: head.position_of(change.revision, row.try_get(6)?),
        author: text(7)?,
        message: text(8)?,
        change,
    })
}

/// What was added to the database, its indices included.
pub(super) async fn usage(client: &mut Client) -> Result<Usage, StoreError> {
    let transaction = snapshot_of(client).await?;
    let row = transaction
        .query_typed_one(
            "SELECT (SELECT count(*) FROM datastream.log),
               (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
                WHERE relnamespace = to_regnamespace('datastream') AND relkind = 'r')",
            &[],
        )
        .await?;
    let (changes, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    transaction.commit().await?;
    Ok(Usage { changes: changes.cast_unsigned(), bytes: bytes.cast_unsigned() })
}
