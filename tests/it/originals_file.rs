//! Laws of a server on a file that the Go original made: the defects of its SQLite store must not come back.

use std::sync::Arc;
use std::time::Duration;

use datastream::proto::{Data, ListCapabilitiesRequest};
use datastream_server::Config;
use datastream_server::stores::sqlite::{Options, SqliteStore};
use datastream_server::testing::TestServer;
use rusqlite::Connection;
use tempfile::TempDir;
use tonic::Code;

use crate::captured_log;
use crate::faulty_store::{Fault, FaultyStore};
use crate::wire::{DEADLINE, Deliveries, Wire, announced, data, unannounced, within};

/// What the original makes, of a table of any name.
const ORIGINAL: &str = "CREATE TABLE TABLE_NAME (key TEXT PRIMARY KEY, value BLOB, value_type TEXT,
        updated_at DATETIME DEFAULT CURRENT_TIMESTAMP);
    CREATE TRIGGER set_updated_at BEFORE UPDATE ON TABLE_NAME FOR EACH ROW BEGIN
        UPDATE TABLE_NAME SET updated_at = CURRENT_TIMESTAMP WHERE key = OLD.key; END;
    INSERT OR REPLACE INTO TABLE_NAME (key, value, value_type, updated_at) VALUES
        ('max_connections', '10', 'int', '2023-02-10 00:00:00'), ('debug', 'false', 'bool', '2023-02-10T00:00:00Z');";

/// A server on the original's file.
struct Scene {
    server: TestServer,
    wire: Wire,
    folder: TempDir,
}

impl Scene {
    async fn on(table: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("example.db");
        Connection::open(&file)
            .and_then(|foreign| foreign.execute_batch(&ORIGINAL.replace("TABLE_NAME", table)))
            .expect("the original's file");
        let options = Options::default().table(table);
        let store = Arc::new(SqliteStore::open_with(&file, options).expect("it is fit"));
        let server = TestServer::start_with(store, Config::default().stall_limit(Duration::from_secs(600)));
        let wire = Wire::to(&server.url()).await;
        Self { server, wire, folder }
    }

    fn foreign(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("example.db")).expect("the file");
        connection.busy_timeout(DEADLINE).expect("a timeout");
        connection
    }

    fn write(&self, sql: &str) {
        self.foreign().execute_batch(sql).expect(sql);
    }

    async fn all(&self) -> Deliveries {
        let mut stream = self.wire.subscribe(announced([""; 0])).await;
        stream.next().await;
        stream
    }
}

#[tokio::test]
async fn d23_a_transaction_that_commits_late_is_delivered() {
    let scene = Scene::on("data").await;
    let mut stream = scene.all().await;
    let late = scene.foreign();
    late.execute_batch("BEGIN; UPDATE data SET value = '11', updated_at = '2023-02-11 00:00:00' WHERE key = 'max_connections'")
        .expect("an open transaction");
    let synced = scene.wire.sync(announced(["max_connections"])).await;
    assert_eq!(synced.data["max_connections"].value, "10", "it is not committed");
    late.execute_batch("COMMIT").expect("its end");
    assert_eq!(stream.delivery().await.to_string(), "Change max_connections=11");
}

#[tokio::test]
async fn d24_a_clock_that_is_set_hides_nothing() {
    let scene = Scene::on("data").await;
    let mut stream = scene.all().await;
    for (value, time) in [(1, "2099-01-01 00:00:00"), (2, "1999-01-01 00:00:00"), (3, "no time"), (4, "")] {
        scene.write(&format!(
            "UPDATE data SET value = {value}, updated_at = '{time}' WHERE key = 'max_connections'"
        ));
        let delivery = stream.delivery().await;
        assert_eq!(delivery.to_string(), format!("Change max_connections={value}"), "{time}");
    }
}

#[tokio::test]
async fn d25_a_read_that_fails_makes_no_progress() {
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default());
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced([""; 0])).await;
    stream.next().await;
    for round in 0..5 {
        let failing = store.fail_reads(Fault::Unavailable);
        let keys: Vec<_> = (0..20).map(|key| format!("{round}-{key:02}")).collect();
        for key in &keys {
            let put = datastream_server::store::Operation::put(key, "int", "1");
            let commit = datastream_server::store::Commit::one(put);
            datastream_server::store::Store::commit(&*store, commit).await.expect("it is written");
        }
        drop(failing);
        let mut arrived = Vec::new();
        while arrived.len() < keys.len() {
            arrived.extend(stream.delivery().await.data.into_keys());
        }
        assert_eq!(arrived, keys, "all of them, and each once");
    }
}

#[tokio::test]
async fn d26_a_client_that_reads_nothing_keeps_no_log_from_being_emptied() {
    let scene = Scene::on("data").await;
    let stuck = Wire::narrow(&scene.server.url()).await;
    let _stream = stuck.subscribe(announced([""; 0])).await;
    for round in 0..200 {
        let value = round.to_string().repeat(100_000 / round.to_string().len());
        scene.wire.push(data("large", "string", value)).await.expect("a push");
    }
    let log = std::fs::metadata(scene.folder.path().join("example.db-wal")).expect("the log").len();
    assert!(log < 10 << 20, "20 MB were written, and {log} bytes of them lie in the log");
}

#[tokio::test]
async fn d27_d62_a_row_that_cannot_be_read_harms_no_other() {
    let scene = Scene::on("data").await;
    let mut stream = scene.all().await;
    scene.write(
        "BEGIN; INSERT INTO data (key, value, value_type) VALUES ('untyped', 7, NULL), (NULL, 1, 'int'), ('a//b', 1, 'int'),
           ('empty', NULL, NULL), ('odd', x'ff', 'quux'), (CAST(x'ff' AS TEXT), 1, 'int'), ('good', '1', 'int'); COMMIT",
    );
    let delivery = stream.delivery().await;
    assert_eq!(delivery.data.keys().collect::<Vec<_>>(), ["good", "odd", "untyped"]);
    scene.write("UPDATE data SET value = 2 WHERE key = 'good'");
    assert_eq!(stream.delivery().await.to_string(), "Change good=2");
    let listed = scene.wire.service().list_capabilities(ListCapabilitiesRequest::default()).await;
    let listed = listed.expect("one row fails no list").into_inner().capabilities;
    let listed: Vec<_> = listed.iter().map(|found| (&*found.key, &*found.value_type)).collect();
    assert!(listed.contains(&("untyped", "int")) && listed.contains(&("odd", "quux")) && listed.len() == 5);
}

#[tokio::test]
async fn d28_a_file_that_is_locked_for_a_while_ends_no_stream() {
    let scene = Scene::on("data").await;
    let mut stream = scene.all().await;
    let locking = scene.foreign();
    locking
        .execute_batch("BEGIN EXCLUSIVE; UPDATE data SET value = 12 WHERE key = 'max_connections'")
        .expect("a lock");
    let wire = scene.wire.clone();
    let waiting = tokio::spawn(async move { wire.push(data("other", "int", "1")).await });
    assert_eq!(scene.wire.sync(announced(["max_connections"])).await.data["max_connections"].value, "10");
    locking.execute_batch("COMMIT").expect("its end");
    assert_eq!(stream.delivery().await.to_string(), "Change max_connections=12");
    within("the push", waiting).await.expect("it does not panic").expect("the lock is gone");
    assert_eq!(stream.delivery().await.to_string(), "Change other=1");
}

/// Each call is a line in the log. Nobody takes the lines, and a pipe holds 64 KiB.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn d29_a_log_that_nobody_reads_blocks_nothing() {
    let folder = TempDir::new().expect("a folder");
    let address = format!("127.0.0.1:{}", crate::postgres::free_port());
    let mut command = crate::process::command(&["--store", "memory:", "--listen", &address]);
    command.current_dir(&folder).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    let wire = Wire::lazy(&format!("http://{address}"));
    let began = std::time::Instant::now();
    while wire.service().sync(unannounced(["a"])).await.is_err() {
        assert!(began.elapsed() < DEADLINE, "the server does not listen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for value in 0..2000 {
        wire.push_int("a", value).await;
    }
    child.kill().expect("it runs still");
    let _ = child.wait();
}

#[tokio::test]
async fn d30_every_method_uses_the_table_that_was_named() {
    let scene = Scene::on("my_settings").await;
    let mut stream = scene.all().await;
    scene.wire.push(data("max_connections", "int", "20")).await.expect("a push");
    assert_eq!(stream.delivery().await.to_string(), "Change max_connections=20");
    let value = "SELECT CAST(value AS TEXT) FROM my_settings WHERE key = 'max_connections'";
    let value: String = scene.foreign().query_row(value, [], |row| row.get(0)).expect("the row");
    assert_eq!(value, "20");
    let synced = scene.wire.sync(unannounced(["max_connections", "debug"])).await;
    assert_eq!(synced.data.len(), 2);
    let listed = scene.wire.service().list_capabilities(ListCapabilitiesRequest::default()).await;
    assert_eq!(listed.expect("a list").into_inner().capabilities.len(), 2);
}

#[tokio::test]
async fn d31_d32_any_number_of_keys_gets_one_kind_of_answer() {
    let scene = Scene::on("data").await;
    for absent in [0, 1, 999, 9_999] {
        let keys = (0..absent).map(|key| format!("absent {key}")).chain(["debug".to_owned()]);
        let synced = scene.wire.sync(unannounced(keys)).await;
        assert_eq!(synced.data.into_keys().collect::<Vec<_>>(), ["debug"], "absent keys are left out");
    }
    assert_eq!(scene.wire.sync(unannounced([""; 0])).await.data.len(), 2, "none are all");
    let many = unannounced((0..40_000).map(|key| key.to_string()));
    let refused = scene.wire.service().sync(many).await.expect_err("it is bounded");
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn d33_a_push_keeps_the_type_and_the_columns_that_it_does_not_name() {
    let scene = Scene::on("data").await;
    scene.write(
        "ALTER TABLE data ADD COLUMN owner TEXT; UPDATE data SET owner = 'ada' WHERE key = 'max_connections'",
    );
    let untyped = Data { key: "max_connections".to_owned(), value: "20".into(), ..Data::default() };
    scene.wire.push(untyped).await.expect("a push without a type");
    let retyped = scene.wire.push(data("max_connections", "string", "many")).await.expect_err("another type");
    assert_eq!(retyped.code(), Code::FailedPrecondition);
    let row = "SELECT owner || ' ' || value_type || ' ' || CAST(value AS TEXT) FROM data WHERE key = 'max_connections'";
    let row: String = scene.foreign().query_row(row, [], |row| row.get(0)).expect("the row");
    assert_eq!(row, "ada int 20");
}

#[tokio::test]
async fn d59_every_method_answers_for_a_key_of_the_originals_file() {
    let scene = Scene::on("data").await;
    let synced = scene.wire.sync(unannounced(["max_connections"])).await.data.remove("max_connections");
    let synced = synced.expect("it exists");
    assert_eq!(
        (&*synced.key, &synced.value[..], &*synced.value_type),
        ("max_connections", &b"10"[..], "int")
    );
    assert_eq!(synced.updated_at.expect("it has a time").seconds, 1_675_987_200);
    let mut stream = scene.wire.subscribe(unannounced(["max_connections"])).await;
    scene.wire.push(data("max_connections", "int", "20")).await.expect("a push");
    within("the push", async { while !stream.next().await.to_string().ends_with("max_connections=20") {} })
        .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_served_is_named_once_and_escaped() {
    captured_log::capture();
    let scene = Scene::on("data").await;
    let mut stream = scene.all().await;
    for round in 0..3 {
        scene.write(&format!(
            "REPLACE INTO data (key, value) VALUES ('odd' || char(27) || '[31m//key', {round});
             REPLACE INTO data (key, value) VALUES ('odd/large', zeroblob(4000000 + {round}));
             REPLACE INTO data (key, value) VALUES ('good', {round})"
        ));
        while !stream.delivery().await.to_string().contains(&format!("good={round}")) {}
    }
    let named = |text: &str| captured_log::lines_with(text);
    assert_eq!(named("odd\\u{1b}[31m//key").len(), 1, "escaped: {:?}", named("31m//key"));
    let large = named("odd/large");
    assert_eq!(large.len(), 1, "{large:?}");
    assert!(large[0].contains("4000000 bytes"), "{large:?}");
    let synced = scene.wire.sync(unannounced([""; 0])).await;
    assert!(synced.data.keys().all(|key| !key.starts_with("odd")));
}

/// What a client holds follows the file at the path, and is reset only where the history is another.
#[tokio::test]
async fn a_client_follows_the_file_that_takes_the_place_of_the_first() {
    let scene = Scene::on("data").await;
    let file = scene.folder.path().join("example.db");
    let copy = scene.folder.path().join("copy.db");
    let make_copy = || {
        let _ = std::fs::remove_file(&copy);
        scene.foreign().execute("VACUUM INTO ?1", [copy.to_str().expect("UTF-8")]).expect("a copy");
    };
    let mut stream = scene.all().await;
    make_copy();
    std::fs::rename(&copy, &file).expect("a move");
    // It is the same history: nothing but what is new arrives.
    let push = async || scene.wire.push(data("max_connections", "int", "11")).await;
    while push().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stream.delivery().await.to_string(), "Change max_connections=11");
    make_copy();
    scene.wire.push(data("max_connections", "int", "12")).await.expect("a push");
    assert_eq!(stream.delivery().await.to_string(), "Change max_connections=12");
    std::fs::rename(&copy, &file).expect("a move");
    assert_eq!(stream.delivery().await.to_string(), "Reset debug=false max_connections=11");
}
