//! What is added to a database, and taken out again.

use std::sync::Arc;

use datastream_server::store::{Commit, Operation, Since, Store};
use datastream_server::stores::postgres::{Address, OpenError, detach};

use super::{TABLE, changes, commit, head, open, served, state, told, until};
use crate::postgres::{Cluster, Database};

const ROWS: &str = "INSERT INTO data (key, value, value_type, updated_at) VALUES
  ('a', '1', 'int', '2020-02-02 02:02:02Z'), ('b', 'x', NULL, NULL), ('n', NULL, 'int', NULL)";

/// What PostgreSQL itself says of all that is in the database.
fn dump(database: &Database) -> String {
    let url = database.url();
    let dump = std::process::Command::new("pg_dump")
        .args(["--no-owner", &url])
        .output()
        .expect("pg_dump can be run");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let text = String::from_utf8(dump.stdout).expect("it writes UTF-8");
    // A word that is drawn anew each time.
    text.lines().filter(|line| !line.contains("restrict")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_there_become_the_first_commit() {
    let database = Cluster::shared().database();
    database.psql(&format!("{TABLE}; {ROWS}"));
    let store = open(&database.url()).await.expect("the table can be served");
    let snapshot = store.load().await.expect("load");
    assert_eq!(snapshot.position.revision, 2);
    assert_eq!(told(&snapshot.changes), [("a", Some(("int", &b"1"[..]))), ("b", Some(("bytes", b"x")))]);
    let time = snapshot.changes[0].time.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert_eq!(time.as_secs(), 1_580_608_922, "the row's own time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_goes_on_with_the_history() {
    let (database, store) = served().await;
    let first = commit(&store, [Operation::put("a", "int", "1")]).await;
    commit(&store, [Operation::delete("a")]).await;
    let before = store.load().await.expect("load");
    drop(store);
    let definition = dump(&database);
    let store = open(&database.url()).await.expect("it is served again");
    let after = store.load().await.expect("load");
    assert_eq!((&after.position, &after.positions), (&before.position, &before.positions));
    assert_eq!(told(&changes(&store, &first).await.changes), [("a", None)]);
    assert_eq!(dump(&database), definition, "nothing is added twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_added_is_taken_out_again() {
    for prepared in ["", "CREATE SCHEMA datastream"] {
        let [database, untouched] = [(); 2].map(|()| Cluster::shared().database());
        for database in [&database, &untouched] {
            database.psql(&format!("{TABLE}; {ROWS}; {prepared}"));
        }
        let store = open(&database.url()).await.expect("the table can be served");
        database.psql("UPDATE data SET value = '2' WHERE key = 'a'");
        commit(&store, [Operation::delete("b")]).await;
        drop(store);
        untouched.psql("UPDATE data SET value = '2' WHERE key = 'a'; DELETE FROM data WHERE key = 'b'");
        let address = Address::parse(&database.url()).expect("an address");
        assert_eq!(detach(address.clone()).await.expect("it can be taken out"), "public.data");
        assert_eq!(dump(&database), dump(&untouched));
        let again = detach(address).await.expect_err("nothing is left");
        assert!(matches!(again, OpenError::NotAdopted { .. }), "{again}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_dumped_and_restored_goes_on_by_itself() {
    let (database, store) = served().await;
    let common = commit(&store, [Operation::put("a", "int", "1")]).await;
    let copy = Cluster::shared().database();
    let restore = std::process::Command::new("sh")
        .args(["-c", "pg_dump \"$0\" | psql -q -v ON_ERROR_STOP=1 \"$1\"", &database.url(), &copy.url()])
        .output()
        .expect("they can be run");
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    let copied = open(&copy.url()).await.expect("the copy can be served");
    assert_eq!(head(&copied).await, common);
    let here = commit(&store, [Operation::put("a", "int", "2")]).await;
    copy.psql("UPDATE data SET value = '3'");
    let there = head(&copied).await;
    assert_eq!(here.revision, there.revision);
    assert!(matches!(copied.changes(&here).await, Ok(Since::Replaced)), "another history");
    assert_eq!(changes(&copied, &common).await.position, there);
}

/// A newer one adds to the schema, and says which older ones may go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_run_on_one_database_as_long_as_the_newer_says_so() {
    let (database, store) = served().await;
    database.psql(
        "UPDATE datastream.meta SET value = '2' WHERE name = 'schema_version';
                   UPDATE datastream.meta SET value = 'of another version' WHERE name = 'definition';
                   ALTER TABLE datastream.log ADD added text",
    );
    let beside = open(&database.url()).await.expect("it may go on");
    commit(&beside, [Operation::put("a", "int", "1")]).await;
    assert_eq!(state(&store).await, [("a".to_owned(), "1".to_owned())]);
    let definition = "SELECT value FROM datastream.meta WHERE name = 'definition'";
    assert_eq!(database.psql(definition), "of another version", "what the newer one made stays");
    database.psql("UPDATE datastream.meta SET value = '2' WHERE name = 'oldest'");
    let refused = open(&database.url()).await.err().expect("it may not");
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1 }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_of_another_build_are_replaced() {
    let (database, store) = served().await;
    drop(store);
    database.psql(
        "UPDATE datastream.meta SET value = 'old' WHERE name = 'definition';
                   CREATE OR REPLACE FUNCTION datastream.follow() RETURNS trigger LANGUAGE plpgsql AS
                   'BEGIN RETURN NULL; END'; INSERT INTO data VALUES ('unseen', '1', 'int')",
    );
    let store = open(&database.url()).await.expect("it is served again");
    until("what was not followed is found", || async { state(&store).await.len() == 1 }).await;
    database.psql("INSERT INTO data VALUES ('seen', '1', 'int')");
    assert_eq!(state(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_text_and_of_times_without_a_zone_serve_as_well() {
    let database = Cluster::shared().database();
    database.psql("CREATE SCHEMA app; CREATE TABLE app.\"Settings of\" (
                     id bigserial PRIMARY KEY, key varchar(200) UNIQUE NOT NULL, value text, value_type varchar(20),
                     updated_at timestamp, note text DEFAULT 'x');
                   INSERT INTO app.\"Settings of\" (key, value) VALUES ('a', 'ü')");
    let url = format!("{}?table=app.Settings%20of", database.url());
    let store = open(&url).await.expect("the table can be served");
    assert_eq!(told(&store.load().await.expect("load").changes), [("a", Some(("string", "ü".as_bytes())))]);
    commit(&store, [Operation::put("b", "json", "[]")]).await;
    assert_eq!(database.psql("SELECT value, note FROM app.\"Settings of\" WHERE key = 'b'"), "[]|x");
    let skew = "SELECT abs(extract(epoch FROM (now() AT TIME ZONE 'UTC') - updated_at)) < 60 FROM app.\"Settings of\" WHERE key = 'b'";
    assert_eq!(database.psql(skew), "t");
    let refused = store.commit(Commit::one(Operation::put("c", "bytes", &b"\xff"[..]))).await;
    let error = refused.expect_err("it is no text").to_string();
    assert!(error.contains("own rules"), "{error}");
}

/// What disabled triggers let through is found, and dropped ones come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_past_the_triggers_is_found() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let store: Arc<dyn Store> =
        open(&format!("{}?reconcile=50ms", database.url())).await.expect("the table can be served");
    commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "int", "1")]).await;
    let holds = |expected: &'static [(&str, &str)]| {
        let store = store.clone();
        move || {
            let store = store.clone();
            async move {
                let state = state(&store).await;
                state.iter().map(|(key, value)| (&**key, &**value)).eq(expected.iter().copied())
            }
        }
    };
    database.psql(
        "BEGIN; ALTER TABLE data DISABLE TRIGGER ALL; UPDATE data SET value = '2' WHERE key = 'a';
                   DELETE FROM data WHERE key = 'b'; INSERT INTO data VALUES ('c', '3', 'int'); COMMIT",
    );
    until("the difference is found", holds(&[("a", "2"), ("c", "3")])).await;
    database.psql("DELETE FROM data WHERE key = 'c'");
    until("the triggers are enabled again", holds(&[("a", "2")])).await;
    let before = head(&store).await;
    database.psql("DROP TABLE data");
    until("a table that is gone cannot be asked", || async { store.changes(&before).await.is_err() }).await;
    database.psql(&format!("{TABLE}; INSERT INTO data VALUES ('d', '4', 'int')"));
    until("the table is followed again", holds(&[("d", "4")])).await;
    assert_eq!(told(&changes(&store, &before).await.changes), [("a", None), ("d", Some(("int", &b"4"[..])))]);
}

/// By name, as others have it: a table that takes the place of another is followed in its stead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_takes_the_place_of_another_is_followed() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let store = open(&format!("{}?reconcile=50ms", database.url())).await.expect("the table can be served");
    commit(&store, [Operation::put("a", "int", "1"), Operation::put("b", "int", "1")]).await;
    database.psql(
        "BEGIN; CREATE TABLE fresh (LIKE data INCLUDING ALL);
                   INSERT INTO fresh SELECT * FROM data WHERE key = 'a'; ALTER TABLE data RENAME TO old;
                   ALTER TABLE fresh RENAME TO data; COMMIT",
    );
    until("what it holds is served", || async { state(&store).await.len() == 1 }).await;
    database.psql("UPDATE data SET value = '5'; INSERT INTO old VALUES ('ghost', '1', 'int')");
    let edited = || async { state(&store).await == [("a".to_owned(), "5".to_owned())] };
    until("an edit of it is served, and none of the other", edited).await;
    commit(&store, [Operation::put("a", "int", "6")]).await;
    assert_eq!(database.psql("SELECT value FROM data"), "\\x36");
}

/// Also in a session that has written it before, which keeps its plans.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_changes_its_type_keeps_nobody_from_writing() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let store = open(&format!("{}?reconcile=50ms", database.url())).await.expect("the table can be served");
    let session = database.connect().await;
    for sql in [
        "INSERT INTO data VALUES ('a', '1', 'int')",
        "ALTER TABLE data ALTER value TYPE text USING convert_from(value, 'UTF8')",
        "UPDATE data SET value = 'ü'",
        "ALTER TABLE data ALTER updated_at TYPE timestamp",
        "INSERT INTO data VALUES ('b', 'x', NULL)",
    ] {
        session.batch_execute(sql).await.expect(sql);
    }
    assert_eq!(
        told(&store.load().await.expect("load").changes),
        [("a", Some(("int", "ü".as_bytes()))), ("b", Some(("string", b"x")))]
    );
    let pushed = || async { store.commit(Commit::one(Operation::put("c", "string", "y"))).await.is_ok() };
    until("pushes are written as the column is now", pushed).await;
    session.batch_execute("ALTER TABLE data RENAME value_type TO kind").await.expect("it is theirs");
    session.batch_execute("INSERT INTO data VALUES ('d', '1', 'int')").await.expect("so is this");
    let before = head(&store).await;
    until("it is told that it cannot be served", || async { store.changes(&before).await.is_err() }).await;
    session.batch_execute("ALTER TABLE data RENAME kind TO value_type").await.expect("it is theirs");
    until("it is followed again", || async { state(&store).await.len() == 4 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_out_while_it_was_served_is_not_added_again() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let url = format!("{}?reconcile=20ms", database.url());
    let store = open(&url).await.expect("the table can be served");
    let position = commit(&store, [Operation::put("a", "int", "1")]).await;
    detach(Address::parse(&url).expect("an address")).await.expect("it can be taken out");
    until("the store is told", || async {
        let failed = store.changes(&position).await.err();
        failed.is_some_and(|error| format!("{error:?}").contains("as it is now"))
    })
    .await;
    assert_eq!(database.psql("SELECT to_regnamespace('datastream') IS NULL"), "t");
}

/// A commit is decided by what the table holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_finds_what_was_written_past_the_triggers() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("a", "int", "1")]).await;
    database.psql(
        "BEGIN; ALTER TABLE data DISABLE TRIGGER ALL; DELETE FROM data;
                   ALTER TABLE data ENABLE ALWAYS TRIGGER datastream_note;
                   ALTER TABLE data ENABLE ALWAYS TRIGGER datastream_truncate; COMMIT",
    );
    let position = commit(&store, [Operation::put("a", "int", "1")]).await;
    assert_eq!(position.revision, 4, "the deletion, and the push");
    assert_eq!(database.psql("SELECT count(*) FROM data"), "1");
}
