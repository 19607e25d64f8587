//! What other programs write, and what they read of ours.

use std::time::{Duration, Instant};

use datastream_server::store::{Commit, HistoryQuery, Operation};
use tokio_postgres::Client;

use super::{DEADLINE, Told, changes, commit, head, open, served, state, told, until};
use crate::postgres::Cluster;

/// One transaction each, and what it comes to.
const CASES: [(&str, &[Told<'_>]); 20] = [
    ("INSERT INTO data (key, value, value_type) VALUES ('i', '7', 'int')", &[("i", INT)]),
    ("INSERT INTO data (key, value) VALUES ('b', '\\x00ff')", &[("b", Some(("bytes", b"\0\xff")))]),
    ("INSERT INTO data (key, value, value_type) VALUES ('e', '', '')", &[("e", Some(("bytes", b"")))]),
    ("INSERT INTO data (key, value) VALUES ('n', NULL)", &[]),
    ("UPDATE data SET value = '7' WHERE key = 'ours'", &[("ours", INT)]),
    ("UPDATE data SET updated_at = '2020-01-01'", &[]),
    (
        "INSERT INTO data (key, value) VALUES ('i', '8'), ('j', '9')
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        &[("i", Some(("int", b"8"))), ("j", Some(("bytes", b"9")))],
    ),
    ("INSERT INTO data (key, value) VALUES ('i', '8') ON CONFLICT (key) DO UPDATE SET value = '8'", &[]),
    ("UPDATE data SET key = 'renamed' WHERE key = 'ours'", &[("ours", None), ("renamed", INT)]),
    ("UPDATE data SET value = NULL WHERE key = 'b'", &[("b", None)]),
    ("UPDATE data SET value = 'x' WHERE key = 'n'", &[("n", Some(("bytes", b"x")))]),
    ("UPDATE data SET value_type = 'text' WHERE key = 'n'", &[("n", Some(("text", b"x")))]),
    ("DELETE FROM data WHERE key IN ('e', 'absent')", &[("e", None)]),
    ("SET LOCAL session_replication_role = replica; DELETE FROM data WHERE key = 'j'", &[("j", None)]),
    (
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; UPDATE data SET value = '7' WHERE key = 'i'",
        &[("i", INT)],
    ),
    (
        "INSERT INTO data VALUES ('s', '1'); SAVEPOINT one; UPDATE data SET value = '2' WHERE key = 's';
         SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO one; INSERT INTO data VALUES ('s2', '3')",
        &[("s", Some(("bytes", b"1"))), ("s2", Some(("bytes", b"3")))],
    ),
    (
        "UPDATE data SET value = '1' WHERE key = 's2'; UPDATE data SET value = '2' WHERE key = 's2'",
        &[("s2", Some(("bytes", b"2")))],
    ),
    (
        "MERGE INTO data USING (VALUES ('s')) AS v (key) ON data.key = v.key WHEN MATCHED THEN DELETE",
        &[("s", None)],
    ),
    (
        "TRUNCATE data; INSERT INTO data (key, value, value_type) VALUES ('i', '7', 'int'), ('new', '1', 'int')",
        // What is there again as it was is no change.
        &[("n", None), ("new", Some(("int", b"1"))), ("renamed", None), ("s2", None)],
    ),
    ("DELETE FROM data", &[("i", None), ("new", None)]),
];

const INT: Option<(&str, &[u8])> = Some(("int", b"7"));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_arrives_as_they_mean_it_one_position_for_each_transaction() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("ours", "int", "1")]).await;
    let foreign = database.connect().await;
    for (sql, expected) in CASES {
        let before = head(&store).await;
        foreign.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await.expect(sql);
        let batch = changes(&store, &before).await;
        // The log is followed row by row, so what stands for a key is its last note.
        assert_eq!(told(&batch.changes), expected, "{sql}");
        assert_eq!(batch.positions.len(), usize::from(!expected.is_empty()), "{sql}");
        assert!(batch.changes.iter().all(|change| change.revision == batch.position.revision), "{sql}");
    }
}

/// Nothing in it that the table does not hold is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncation_is_seen_whatever_else_its_transaction_does() {
    let (database, store) = served().await;
    database.psql("INSERT INTO data SELECT 'k' || n, '1', 'int' FROM generate_series(1, 100) AS n");
    let mixed = "INSERT INTO data VALUES ('gone', '1'); ALTER TABLE data ADD note text; TRUNCATE data;
      INSERT INTO data VALUES ('kept', '1'); ALTER TABLE data DROP note";
    database.psql(&format!("BEGIN; {mixed}; COMMIT"));
    assert_eq!(state(&store).await, [("kept".to_owned(), "1".to_owned())]);
    database.psql("CREATE PUBLICATION everything FOR ALL TABLES; TRUNCATE data");
    assert!(state(&store).await.is_empty());
}

/// It sees the log as of its beginning, and its truncation takes what came since all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncation_by_who_sees_an_earlier_moment_is_found() {
    let database = Cluster::shared().database();
    database.psql(super::TABLE);
    let store = open(&format!("{}?reconcile=50ms", database.url())).await.expect("the table can be served");
    let early = database.connect().await;
    early.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.expect("it is open");
    commit(&store, [Operation::put("since", "int", "1")]).await;
    early.batch_execute("TRUNCATE data; COMMIT").await.expect("it may");
    until("the deletion is found", || async { state(&store).await.is_empty() }).await;
}

/// They are no reason to refuse what a transaction does to its own table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_may_be_dropped_or_renamed_by_who_has_just_written_it() {
    for end in ["DROP TABLE data", "ALTER TABLE data RENAME TO old", "ALTER TABLE data RENAME value TO it"] {
        for write in ["UPDATE data SET value = '2'", "TRUNCATE data", "DELETE FROM data"] {
            let (database, store) = served().await;
            commit(&store, [Operation::put("a", "int", "1")]).await;
            database.psql(&format!("BEGIN; {write}; {end}; COMMIT"));
        }
    }
}

/// Another's long commit is no reason to end this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_waited_for_whatever_a_writer_has_set_for_its_locks() {
    let (database, store) = served().await;
    let before = head(&store).await;
    let [first, second] = [database.connect().await, database.connect().await];
    let begin = "BEGIN; INSERT INTO data VALUES ('a', '1'); SET CONSTRAINTS ALL IMMEDIATE";
    first.batch_execute(begin).await.expect("it has the turn");
    let waiting = tokio::spawn(async move {
        let write = "SET lock_timeout = '20ms'; INSERT INTO data VALUES ('b', '1')";
        second.batch_execute(write).await.map(|()| second)
    });
    tokio::time::sleep(Duration::from_millis(200)).await; // Nothing tells that it waits, and for long enough.
    first.batch_execute("COMMIT").await.expect("nothing speaks against it");
    let second = waiting.await.expect("no panic").expect("it was not ended");
    let kept = second.query_one("SHOW lock_timeout", &[]).await.expect("it answers").get::<_, String>(0);
    assert_eq!((kept.as_str(), changes(&store, &before).await.positions.len()), ("20ms", 2));
}

/// 100,000 rows at once are one commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_many_rows_arrives_whole() {
    let (database, store) = served().await;
    let before = head(&store).await;
    let rows = "SELECT 'k/' || n, '1', 'int' FROM generate_series(1, 100000) AS n";
    database.psql(&format!("CREATE TABLE source (key, value, value_type) AS {rows}"));
    let (from, to) = (database.connect().await, database.connect().await);
    copy(&from, &to).await;
    let batch = changes(&store, &before).await;
    assert_eq!((batch.changes.len(), batch.positions.len()), (100_000, 1));
}

async fn copy(from: &Client, to: &Client) {
    use futures_util::{SinkExt as _, TryStreamExt as _};
    let rows = from.copy_out("COPY source TO STDOUT").await.expect("it can be read");
    let mut sink = Box::pin(
        to.copy_in("COPY data (key, value, value_type) FROM STDIN").await.expect("it can be written"),
    );
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await.expect("a row") {
        sink.send(row).await.expect("it is taken");
    }
    sink.as_mut().finish().await.expect("it is committed");
}

/// Repeatable read and serializable transactions do not see what was committed since they began, nor fail for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_every_isolation_take_their_turn() {
    let (database, store) = served().await;
    let before = head(&store).await;
    let levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
    let mut open = Vec::new();
    for (at, level) in levels.iter().chain(&levels).enumerate() {
        let client = database.connect().await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}; INSERT INTO data VALUES ('k{at}', '1', 'int')");
        client.batch_execute(&begin).await.expect("it is open");
        open.push(client);
    }
    database.psql("INSERT INTO data VALUES ('between', '1', 'int')");
    for client in open.iter().rev() {
        client.batch_execute("COMMIT").await.expect("nothing speaks against it");
    }
    let batch = changes(&store, &before).await;
    let keys: Vec<_> = batch.changes.iter().map(|change| &*change.key).collect();
    assert_eq!(keys, ["between", "k5", "k4", "k3", "k2", "k1", "k0"], "in the order of their commits");
    let revisions: Vec<_> = batch.positions.iter().map(|position| position.revision).collect();
    assert_eq!(revisions, (2..9).collect::<Vec<_>>(), "without a gap");
}

/// A transaction that fails after it was given its turn leaves no number out, at whichever isolation the next one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_was_rolled_back_is_given_again() {
    let (database, store) = served().await;
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let before = head(&store).await.revision;
        let turn = "INSERT INTO data VALUES ('a', '1'); SET CONSTRAINTS ALL IMMEDIATE";
        database.psql(&format!("BEGIN; {turn}; ROLLBACK"));
        database.psql(&format!(
            "BEGIN ISOLATION LEVEL {level}; INSERT INTO data VALUES ('{level}', '1'); COMMIT"
        ));
        assert_eq!(head(&store).await.revision, before + 1, "{level}");
    }
}

/// It has the rows that it wrote, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_transaction_that_stays_open_delays_nobody() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("held", "int", "1")]).await;
    let foreign = database.connect().await;
    let begin =
        "BEGIN; UPDATE data SET value = '2' WHERE key = 'held'; INSERT INTO data VALUES ('new', '1', 'int')";
    foreign.batch_execute(begin).await.expect("it is open");
    let blocked = ["held", "new"].map(|key| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(Commit::one(Operation::put(key, "int", "3"))).await })
    });
    let other = database.connect().await;
    let began = Instant::now();
    // Few, by a connection that is there: a commit waits for a blocked row only so long.
    for value in 0..3 {
        commit(&store, [Operation::put("free", "int", value.to_string())]).await;
        let update = format!("UPDATE data SET value = '{value}1' WHERE key = 'free'");
        other.batch_execute(&update).await.expect("nobody holds it");
    }
    println!("3 pushes and 3 foreign writes beside it: {:?}", began.elapsed());
    assert!(blocked.iter().all(|blocked| !blocked.is_finished()), "this is not what they waited for");
    foreign.batch_execute("COMMIT").await.expect("nobody speaks against it");
    for blocked in blocked {
        blocked.await.expect("no panic").expect("it was tried again");
    }
    let state = state(&store).await;
    assert!(state.contains(&("held".into(), "3".into())) && state.contains(&("new".into(), "3".into())));
}

/// One that is held for longer than a commit is tried again is told of, and nothing of it is applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_others_keep_from_its_rows_fails_whole() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("held", "int", "1")]).await;
    let foreign = database.connect().await;
    foreign.batch_execute("BEGIN; UPDATE data SET value = '2' WHERE key = 'held'").await.expect("it is open");
    let both = ["held", "other"].map(|key| Operation::put(key, "int", "3"));
    let refused = store.commit(Commit { operations: both.into(), ..Commit::default() }).await;
    let error = refused.expect_err("the row is held");
    assert!(format!("{error:?}").contains("another transaction"), "{error:?}");
    foreign.batch_execute("ROLLBACK").await.expect("it was open");
    assert_eq!(state(&store).await, [("held".to_owned(), "1".to_owned())]);
}

/// It need not know of our schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_with_few_rights_still_writes_and_may_say_who_it_is() {
    let (database, store) = served().await;
    let writer = database.role("writer");
    database.psql(&format!("GRANT INSERT ON data TO {}", writer.name()));
    writer.psql("INSERT INTO data (key, value, value_type) VALUES ('a', '1', 'int')");
    writer.psql(
        "BEGIN; SET LOCAL datastream.author = 'ada'; SET LOCAL datastream.message = 'why';
                 INSERT INTO data (key, value) VALUES ('b', '1'); COMMIT",
    );
    assert_eq!(state(&store).await.len(), 2);
    for forbidden in
        ["SELECT datastream.turn()", "SELECT * FROM datastream.log", "LOCK TABLE datastream.turn"]
    {
        writer.try_psql(forbidden).expect_err(forbidden);
    }
    // What it says of a revision that is not its own is not believed.
    writer.psql(
        "BEGIN; SET LOCAL datastream.revision = '1'; SET LOCAL datastream.place = '(0,1)'; INSERT INTO data (key, value) VALUES ('c', '1'); COMMIT",
    );
    let everything = HistoryQuery { of: None, before: None, limit: 10, bytes: 1 << 20 };
    let page = store.history(everything).await.expect("history").expect("it is kept");
    let told = page.changes.iter().map(|logged| (&*logged.change.key, &*logged.author, &*logged.message));
    assert_eq!(told.collect::<Vec<_>>(), [("c", "", ""), ("b", "ada", "why"), ("a", "", "")]);
    assert_eq!(page.changes[0].position.revision, 4);
}

/// NOTIFY would keep these transactions from being prepared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_phase_commits_are_followed_in_the_order_of_their_second_phase() {
    let cluster = Cluster::start_with(&[("max_prepared_transactions", "5")]);
    let database = cluster.database();
    database.psql(super::TABLE);
    let store = open(&database.url()).await.expect("the table can be served");
    let before = head(&store).await;
    database.psql("BEGIN; INSERT INTO data VALUES ('a', '1', 'int'); PREPARE TRANSACTION 'one'");
    assert!(changes(&store, &before).await.changes.is_empty());
    database.psql("COMMIT PREPARED 'one'");
    assert_eq!(told(&changes(&store, &before).await.changes), [("a", Some(("int", &b"1"[..])))]);
    for _ in 0..3 {
        let looked = tokio::time::timeout(DEADLINE, store.rung());
        looked.await.expect("it is looked for without a ring");
    }
}

/// Who sees an earlier moment sees there what others have deleted since, beside what it made in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_in_the_place_of_what_others_deleted_is_followed() {
    let (database, store) = served().await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        database.psql("INSERT INTO data VALUES ('a', 'old', 'string')");
        let early = database.connect().await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM data");
        early.batch_execute(&begin).await.expect("it is open");
        database.psql("DELETE FROM data");
        let made = "INSERT INTO data VALUES ('a', 'new', 'string'); COMMIT";
        early.batch_execute(made).await.expect("nothing speaks against it");
        assert_eq!(state(&store).await, [("a".to_owned(), "new".to_owned())], "{level}");
        database.psql("DELETE FROM data");
    }
}
