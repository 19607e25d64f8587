//! A table that is altered while it is served, and copies of what was added to it.

use datastream_server::store::Operation;

use super::{DEADLINE, TABLE, commit, open, served, state, until};
use crate::postgres::Cluster;

/// Whatever becomes of the columns: who writes the table is not kept from it. A session keeps plans, which no longer fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_altered_keeps_others_from_writing() {
    for alter in [
        "ALTER TABLE data ALTER value TYPE jsonb USING to_jsonb(convert_from(value, 'UTF8'))",
        "ALTER TABLE data ALTER key TYPE varchar(100)",
        "ALTER TABLE data RENAME key TO k",
        "ALTER TABLE data RENAME value TO it",
        "ALTER TABLE data DROP value_type",
        "ALTER TABLE data ALTER key TYPE uuid USING gen_random_uuid()",
    ] {
        let (database, _store) = served().await;
        let session = database.connect().await;
        session.batch_execute("INSERT INTO data VALUES ('a', '1', 'int')").await.expect("it is as it was");
        session.batch_execute(alter).await.expect(alter);
        for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
            let write = format!(
                "BEGIN ISOLATION LEVEL {level}; UPDATE data SET updated_at = now(); DELETE FROM data"
            );
            session.batch_execute(&write).await.unwrap_or_else(|error| panic!("{alter}, {level}: {error:?}"));
            session
                .batch_execute("ROLLBACK; BEGIN; UPDATE data SET updated_at = now(); COMMIT")
                .await
                .expect(alter);
        }
    }
}

/// The plans of a session do not fit, until the functions are made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_changes_its_type_is_followed_in_sessions_that_wrote_it_before() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let store = open(&format!("{}?reconcile=50ms", database.url())).await.expect("the table can be served");
    let session = database.connect().await;
    for (sql, value) in [
        ("INSERT INTO data VALUES ('a', '1', 'int')", "1"),
        ("ALTER TABLE data ALTER key TYPE varchar(100)", "1"),
        ("UPDATE data SET value = '2'", "2"),
        ("UPDATE data SET value = '3'", "3"),
    ] {
        session.batch_execute(sql).await.expect(sql);
        assert_eq!(state(&store).await, [("a".to_owned(), value.to_owned())], "{sql}");
    }
}

/// As for a database of tests: whoever writes it has no history to keep, until a server begins one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_schema_alone_can_be_written_and_then_served() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("a", "int", "1")]).await;
    let copy = Cluster::shared().database();
    let restore = std::process::Command::new("sh")
        .args(["-c", "pg_dump -s \"$0\" | psql -q -v ON_ERROR_STOP=1 \"$1\"", &database.url(), &copy.url()])
        .output()
        .expect("they can be run");
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    copy.psql(
        "INSERT INTO data VALUES ('b', '2', 'int'); TRUNCATE data; INSERT INTO data VALUES ('c', '3', 'int')",
    );
    let copied = open(&copy.url()).await.expect("the copy can be served");
    assert_eq!(state(&copied).await, [("c".to_owned(), "3".to_owned())]);
    copy.psql("UPDATE data SET value = '4'");
    assert_eq!(state(&copied).await, [("c".to_owned(), "4".to_owned())]);
}

/// What is mended waits for nobody, or others would wait behind it; and has locked nothing that these wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_are_mended_without_harm_to_who_writes_meanwhile() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let store = open(&format!("{}?reconcile=20ms", database.url())).await.expect("the table can be served");
    commit(&store, [Operation::put("a", "int", "1")]).await;
    database.psql("ALTER TABLE data ENABLE TRIGGER datastream_note");
    let [writer, reader] = [database.connect().await, database.connect().await];
    writer.batch_execute("BEGIN; UPDATE data SET value = '2'").await.expect("it is open");
    let began = std::time::Instant::now();
    // Longer than PostgreSQL waits before it looks who waits for whom. Who waited in front would do so to the end.
    while began.elapsed() < std::time::Duration::from_secs(2) {
        let read = reader.query("SELECT FROM data", &[]);
        let patience = std::time::Duration::from_millis(1900);
        tokio::time::timeout(patience, read)
            .await
            .expect("nobody waits in front for long")
            .expect("it is read");
    }
    writer.batch_execute("COMMIT").await.expect("nobody is ended for us");
    let mended = "SELECT count(*) FROM pg_trigger WHERE tgname = 'datastream_note' AND tgenabled = 'A'";
    until("it is mended", || async { database.psql(mended) == "1" }).await;
    assert_eq!(state(&store).await, [("a".to_owned(), "2".to_owned())]);
    assert!(began.elapsed() < DEADLINE);
}

/// The functions are read as they are meant whatever a session has set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_has_set_is_no_concern_of_the_triggers() {
    let (database, store) = served().await;
    let before = super::head(&store).await;
    database.psql(
        "SET standard_conforming_strings = off; SET plpgsql.extra_errors = 'all'; SET search_path = nowhere;
         BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO public.data VALUES ('a', '1'), ('b', '2'), ('c', '3'); COMMIT",
    );
    let batch = super::changes(&store, &before).await;
    assert_eq!((batch.changes.len(), batch.positions.len()), (3, 1));
}
