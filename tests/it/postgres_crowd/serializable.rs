//! Who asks for serializable transactions is refused what nobody could have done one after the other. What we add to a
//! transaction must not look like that.

use datastream_server::stores::postgres::{self, Address};

use crate::postgres::Cluster;
use crate::store_postgres::TABLE;

/// As if all of them searched the same part of the same index: then the late one would seem to come before the early one,
/// whose write it has not read, and after the other, who has searched where it writes.
#[tokio::test]
async fn a_serializable_transaction_does_not_fail_for_one_that_writes_other_rows() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    database
        .psql("INSERT INTO data (key, value) SELECT key, '0' FROM unnest(ARRAY['a', 'b', 'c', 'd']) AS key");
    let address = Address::parse(&database.url()).expect("an address");
    let _store = postgres::open(address).await.expect("the table can be served");
    let [late, early, other] = [database.connect().await, database.connect().await, database.connect().await];
    let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
    let put = |key: &str| format!("UPDATE data SET value = '1' WHERE key = '{key}'");
    let run = async |session: &tokio_postgres::Client, sql: String| {
        session.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    };

    run(&late, format!("{begin}; SELECT FROM data WHERE key = 'a'")).await;
    run(&early, format!("{begin}; {}; COMMIT", put("a"))).await;
    run(&other, format!("{begin}; {}; {}; COMMIT", put("b"), put("c"))).await;
    run(&late, format!("{}; COMMIT", put("d"))).await;
}
