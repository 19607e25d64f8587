//! What other programs write, and what they read of ours.

use std::process::Command;
use std::time::{Duration, Instant};

use datastream_server::store::{Commit, Operation, RequestId, Store};

use super::{DEADLINE, File, Told, changes, commit, head, told};

#[tokio::test]
async fn what_others_write_arrives_as_they_mean_it() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("ours", "int", "1")]).await;
    let foreign = file.foreign();
    let int: Option<(&str, &[u8])> = Some(("int", b"7"));
    let cases: [(&str, &[Told<'_>]); 15] = [
        ("INSERT INTO data (key, value) VALUES ('i', 7)", &[("i", int)]),
        ("INSERT INTO data (key, value) VALUES ('f', 0.5)", &[("f", Some(("float", b"0.5")))]),
        ("INSERT INTO data (key, value) VALUES ('t', 'x')", &[("t", Some(("string", b"x")))]),
        ("INSERT INTO data (key, value) VALUES ('b', x'00ff')", &[("b", Some(("bytes", b"\0\xff")))]),
        ("INSERT INTO data (key, value) VALUES ('n', NULL), (NULL, 1)", &[]),
        ("UPDATE data SET value = 7 WHERE key = 'ours'", &[("ours", int)]),
        ("UPDATE data SET updated_at = '2020-01-01 00:00:00'", &[]),
        ("INSERT OR REPLACE INTO data (key, value, value_type) VALUES ('i', '7', 'int')", &[]),
        ("INSERT OR REPLACE INTO data (key, value) VALUES ('i', 'y')", &[("i", Some(("string", b"y")))]),
        ("UPDATE data SET key = 'renamed' WHERE key = 'ours'", &[("ours", None), ("renamed", int)]),
        ("UPDATE OR REPLACE data SET key = 't' WHERE key = 'renamed'", &[("renamed", None), ("t", int)]),
        ("UPDATE data SET value = NULL WHERE key = 'f'", &[("f", None)]),
        ("UPDATE data SET value_type = 'duration' WHERE key = 'i'", &[("i", Some(("duration", b"y")))]),
        ("DELETE FROM data WHERE key = 'b'", &[("b", None)]),
        ("DELETE FROM data WHERE key IN ('f', 'absent')", &[]),
    ];
    for (sql, expected) in cases {
        let before = head(&store).await;
        foreign.execute(sql, []).expect(sql);
        let batch = changes(&store, &before).await;
        assert_eq!(told(&batch.changes), expected, "{sql}");
        let positions: Vec<u64> = batch.changes.iter().map(|change| change.revision).collect();
        assert_eq!(batch.positions.iter().map(|position| position.revision).collect::<Vec<_>>(), positions);
    }
}

#[tokio::test]
async fn a_foreign_transaction_arrives_as_one_batch() {
    let file = File::new();
    let store = file.store();
    let before = head(&store).await;
    let foreign = file.foreign();
    foreign
        .execute_batch("BEGIN; INSERT INTO data (key, value) VALUES ('a', 1)")
        .expect("an open transaction");
    assert!(changes(&store, &before).await.changes.is_empty());
    foreign
        .execute_batch("INSERT INTO data (key, value) VALUES ('b', 2), ('c', 3); COMMIT")
        .expect("its end");
    let keys: Vec<_> =
        changes(&store, &before).await.changes.iter().map(|change| change.key.clone()).collect();
    assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), ["a", "b", "c"]);
}

/// The shell is older than the library here, and has neither its functions nor ours.
#[tokio::test]
async fn the_sqlite3_shell_may_write() {
    let file = File::new();
    let store = file.store();
    let before = head(&store).await;
    let sql = "PRAGMA trusted_schema = 0; PRAGMA recursive_triggers = 1;
        INSERT INTO data (key, value, value_type) VALUES ('a', 1, 'int');
        INSERT OR REPLACE INTO data (key, value, value_type) VALUES ('a', 2, 'int');
        UPDATE data SET value = 3, updated_at = updated_at;";
    match Command::new("sqlite3").arg("-bail").arg(file.path()).arg(sql).status() {
        Ok(status) => assert!(status.success()),
        Err(_) => return eprintln!("there is no sqlite3 here: not checked"),
    }
    let batch = changes(&store, &before).await;
    let last = batch.changes.last().expect("changes");
    assert_eq!(told(std::slice::from_ref(last)), [("a", Some(("int", &b"3"[..])))]);
}

#[tokio::test]
async fn what_we_write_reads_like_the_original() {
    let file = File::new();
    let store = file.store();
    let commit = Commit {
        operations: vec![Operation::put("a", "int", "1"), Operation::put("b", "int", "2")],
        author: "ada".into(),
        message: "why".into(),
        request: Some(RequestId { id: "id".into(), digest: 7 }),
    };
    let position = store.commit(commit).await.expect("commit");
    let foreign = file.foreign();
    let shape: bool = foreign
        .query_row(
            "SELECT min(updated_at GLOB '????-??-?? ??:??:??' AND typeof(value) = 'blob' AND value_type = 'int')
             FROM data",
            [],
            |row| row.get(0),
        )
        .expect("the table");
    assert!(shape);
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
    };
    let logged = foreign
        .query_row(
            "SELECT min(\"commit\"), min(author || message || request_id), count(*), group_concat(key, '')
             FROM datastream_log WHERE key IS NOT NULL",
            [],
            row,
        )
        .expect("the log");
    assert_eq!(logged, (position.revision.cast_signed(), "adawhyid".into(), 2, "ab".into()));
    foreign.execute("UPDATE data SET updated_at = '2020-01-01 00:00:00'", []).expect("an old time");
    foreign.execute("UPDATE data SET value = '9' WHERE key = 'a'", []).expect("an update");
    let fresh: i64 = foreign
        .query_row("SELECT count(*) FROM data WHERE updated_at > '2021-01-01'", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(fresh, 1, "an update that leaves updated_at sets it");
}

#[tokio::test]
async fn a_foreign_write_rings_at_once() {
    let file = File::new();
    let store = file.store();
    let foreign = file.foreign();
    let mut position = head(&store).await;
    let mut took = Vec::new();
    for value in 0..200 {
        let begun = Instant::now();
        foreign
            .execute("INSERT OR REPLACE INTO data (key, value) VALUES ('a', ?1)", [value])
            .expect("a write");
        let seen = loop {
            tokio::time::timeout(DEADLINE, store.rung()).await.expect("the bell rings");
            let batch = changes(&store, &position).await;
            if !batch.changes.is_empty() {
                break batch.position;
            }
        };
        took.push(begun.elapsed());
        position = seen;
    }
    took.sort();
    println!("foreign write to ring: p50 {:?}, p99 {:?}, most {:?}", took[100], took[198], took[199]);
    assert!(took[100] < Duration::from_millis(200), "the watch is the doorbell, not the clock");
}

/// Our own reads, writes and checkpoints cause events in the folder; they ring nothing.
#[tokio::test]
async fn an_idle_store_rings_nothing() {
    let file = File::new();
    let store = file.store();
    for value in 0..20 {
        commit(&store, [Operation::put("a", "int", value.to_string())]).await;
    }
    // How often it rings until it is quiet for so long.
    let count = async |quiet| {
        let (began, mut rings) = (Instant::now(), 0);
        while tokio::time::timeout(quiet, store.rung()).await.is_ok() {
            assert!(began.elapsed() < DEADLINE, "{rings} rings, and it is not quiet");
            rings += 1;
            // What one who is rung for does.
            store.load().await.expect("load");
        }
        rings
    };
    let settling = count(Duration::from_millis(500)).await;
    let idle = count(Duration::from_millis(1500)).await;
    println!("{settling} rings after the last commit, {idle} while idle");
    assert!(settling <= 4);
    assert_eq!(idle, 0);
}
