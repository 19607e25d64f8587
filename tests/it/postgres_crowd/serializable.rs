//! Who asks for serializable transactions is refused what nobody could have done one after the other. What we add to a
//! transaction must not look like that.

use datastream_server::stores::postgres::{self, Address};

use crate::postgres::Cluster;
use crate::store_postgres::TABLE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serializable_update_does_not_fail_for_one_of_other_rows() {
    let update = |key: &str| format!("UPDATE data SET value = '1' WHERE key = '{key}'");
    in_between(&[update("a"), update("b")].join(";"), &update("c")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serializable_insert_does_not_fail_for_one_of_other_rows() {
    let insert = |keys: &str| format!("INSERT INTO data (key, value) SELECT unnest(ARRAY[{keys}]), '1'");
    in_between(&insert("'d', 'e'"), &insert("'f'")).await;
}

/// The late one seems to come before the early one, which writes what it has read. If it seemed to come after the other as
/// well, because we had searched, for that one, where the late one writes, it would fail.
async fn in_between(others: &str, its: &str) {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    database.psql("INSERT INTO data (key, value) SELECT key, '0' FROM unnest(ARRAY['a', 'b', 'c']) AS key");
    database.psql("CREATE TABLE theirs (number int); INSERT INTO theirs VALUES (0)");
    let address = Address::parse(&database.url()).expect("an address");
    let _store = postgres::open(address).await.expect("the table can be served");
    let [late, early, other] = [database.connect().await, database.connect().await, database.connect().await];
    let run = async |session: &tokio_postgres::Client, sql: String| {
        session.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    };
    let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
    run(&late, format!("{begin}; SELECT FROM theirs")).await;
    run(&early, format!("{begin}; UPDATE theirs SET number = number + 1; COMMIT")).await;
    run(&other, format!("{begin}; {others}; COMMIT")).await;
    run(&late, format!("{its}; COMMIT")).await;
}
