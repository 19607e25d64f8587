//! Laws of the program: what it says when it cannot start, and what survives its end. Of stores that it cannot serve
//! speaks `bad_store.rs`.

use std::path::Path;
use std::process::Command;

use datastream::proto::{Phase, Position};
use tempfile::TempDir;
use tonic::Code;

use crate::process::{Server, command};
use crate::wire::{Wire, announced, data, eventually, resuming};

/// Runs the program, which must refuse to start. Returns what it says.
pub(crate) fn refused(flags: &[&str]) -> String {
    let output = command(flags).output().expect("the program can be run");
    let said = String::from_utf8(output.stderr).expect("it writes UTF-8");
    assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
    assert!(output.stdout.is_empty());
    said
}

/// Runs SQL as a foreign writer: by the shell of SQLite where there is one.
pub(crate) fn foreign(file: &Path, sql: &str) {
    match Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 5000"]).arg(file).arg(sql).status() {
        Ok(status) => assert!(status.success(), "{sql}: {status}"),
        Err(_) => {
            eprintln!("there is no sqlite3 here: rusqlite stands in for it");
            let connection = rusqlite::Connection::open(file).expect("it opens");
            connection.execute_batch(sql).expect("it runs");
        }
    }
}

/// A folder for a store, the store's file in it, and the flag that names it.
fn folder() -> (TempDir, std::path::PathBuf, String) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("settings.db");
    let flag = format!("sqlite:{}", file.display());
    (folder, file, flag)
}

fn listing(folder: &TempDir) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(folder.path()).expect("it is a folder");
    let mut entries: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("it can be read");
            (entry.file_name(), std::fs::read(entry.path()).expect("it is a file"))
        })
        .collect();
    entries.sort();
    entries
}

#[test]
fn an_address_that_others_reach_is_refused_in_one_line() {
    let (folder, _, store) = folder();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let said = refused(&["--listen", address, "--store", &store]);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(address) && said.contains("--insecure") && said.contains("TLS"), "{said}");
    }
    assert!(listing(&folder).is_empty(), "no store was made");
}

#[tokio::test]
async fn d63_others_are_served_only_after_a_loud_warning() {
    let server = Server::start(&["--listen", "0.0.0.0:0", "--insecure", "--store", "memory:"]);
    assert!(server.said().iter().any(|line| line.contains("WARN") && line.contains("--insecure")));
    Wire::to(&server.url()).await.push_int("a", 1).await;
}

#[test]
fn a_port_in_use_is_named_in_one_line_and_the_store_is_not_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (folder, _, store) = folder();
    let said = refused(&["--listen", &address, "--store", &store]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert!(listing(&folder).is_empty());
}

#[test]
fn a_flag_that_makes_no_sense_is_refused_by_its_name() {
    for (flag, value) in [
        ("--heartbeat", "5"),
        ("--heartbeat", "1ms"),
        ("--keep-positions", "1d"),
        ("--max-value-bytes", "0"),
        ("--max-value-bytes", "3145729"),
        ("--store", "postgres:x"),
        ("--store", "sqlite:"),
        ("--store", "sqlite::memory:"),
        ("--listen", "8080"),
    ] {
        let said = refused(&[flag, value]);
        assert!(said.contains(flag), "{flag} {value}: {said}");
    }
}

#[tokio::test]
async fn every_flag_has_a_variable() {
    let (_folder, file, store) = folder();
    let mut command = command(&["--listen", "127.0.0.1:0"]);
    command.env("DATASTREAM_STORE", &store).env("DATASTREAM_DEMO", "true");
    command.env("DATASTREAM_HEARTBEAT", "70ms").env("DATASTREAM_MAX_VALUE_BYTES", "10");
    let server = Server::spawn(command);
    assert!(file.exists());
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["max_connections"])).await;
    assert_eq!(stream.headers.get("datastream-heartbeat-ms").expect("it is there"), "70");
    assert_eq!(stream.next().await.to_string(), "State max_connections=10");
    let longer = wire.push(data("a", "string", "x".repeat(11))).await;
    assert_eq!(longer.expect_err("it is too long").code(), Code::InvalidArgument);
    let said =
        String::from_utf8(self::command(&["--help"]).output().expect("it runs").stdout).expect("UTF-8");
    let flags = said.matches("\n      --").count();
    assert_eq!(said.matches("[env: DATASTREAM_").count(), flags, "{said}");
}

/// Symptom: a restart put the sample values back. Cause: they were written at every start. They are written
/// once in the life of a store, and only where there is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn d55_sample_settings_are_written_once_and_never_over_what_is_there() {
    let (_folder, file, store) = folder();
    let flags = ["--store", &store, "--demo", "--listen", "127.0.0.1:0"];
    let server = Server::start(&["--store", &store, "--listen", "127.0.0.1:0"]);
    let wire = Wire::to(&server.url()).await;
    wire.push_int("rate_limit", 7).await;
    server.terminate();
    let server = Server::start(&flags);
    let wire = Wire::to(&server.url()).await;
    let state = wire.subscribe(announced([""; 0])).await.next().await;
    assert_eq!(state.to_string(), "State debug_enabled=false max_connections=10 rate_limit=7");
    wire.push_int("max_connections", 20).await;
    foreign(&file, "DELETE FROM data WHERE key = 'debug_enabled'");
    server.terminate();
    let server = Server::start(&flags);
    let state = Wire::to(&server.url()).await.subscribe(announced([""; 0])).await.next().await;
    assert_eq!(state.to_string(), "State max_connections=20 rate_limit=7");
}

#[tokio::test]
async fn d03_what_a_foreign_writer_deletes_is_deleted_for_subscribers() {
    let (_folder, file, store) = folder();
    let server = Server::start(&["--store", &store, "--demo", "--listen", "127.0.0.1:0"]);
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["max_connections", "rate_limit"])).await;
    assert_eq!(stream.delivery().await.to_string(), "State max_connections=10 rate_limit=1000");
    foreign(&file, "DELETE FROM data WHERE key = 'max_connections'");
    assert_eq!(stream.delivery().await.to_string(), "Change max_connections=gone");
    foreign(
        &file,
        "BEGIN; UPDATE data SET value = 5; INSERT INTO data (key, value, value_type)
         VALUES ('max_connections', 6, 'int'); COMMIT",
    );
    assert_eq!(stream.delivery().await.to_string(), "Change max_connections=6 rate_limit=5");
}

#[tokio::test]
async fn a_terminated_server_tells_its_streams_to_go_and_exits_with_0() {
    // A stop that waits for the limit does not exit in time.
    let server = Server::start(&["--store", "memory:", "--listen", "127.0.0.1:0", "--drain-limit", "10m"]);
    let wire = Wire::to(&server.url()).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = wire.subscribe(announced(["a"])).await;
        stream.next().await;
        streams.push(stream);
    }
    let stopping = tokio::task::spawn_blocking(|| server.terminate());
    for stream in &mut streams {
        assert_eq!(stream.delivery().await.phase, Phase::Drain);
        assert_eq!(stream.end().await.code(), Code::Unavailable);
    }
    stopping.await.expect("it exits with 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_there_afterwards_and_can_be_resumed_from() {
    let (_folder, _, store) = folder();
    let flags = ["--store", &store, "--listen", "127.0.0.1:0"];
    let mut newest = Position::default();
    for round in 0..3 {
        let server = Server::start(&flags);
        let wire = Wire::to(&server.url()).await;
        let first = wire.subscribe(resuming(["a"], &newest)).await.next().await;
        assert_eq!(first.phase, if round == 0 { Phase::State } else { Phase::Resume });
        assert_eq!(first.position, if round == 0 { first.position.clone() } else { newest });
        newest = wire.push_int("a", round).await;
        server.kill();
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_memory_of_a_server_does_not_grow_with_what_a_slow_reader_missed() {
    let (_folder, _, store) = folder();
    let server = Server::start(&["--store", &store, "--listen", "127.0.0.1:0"]);
    let slow = Wire::narrow(&server.url()).await.subscribe(announced(["a"])).await;
    let writer = Wire::to(&server.url()).await;
    let value = |i: usize| format!("{i:04}").repeat(128 << 10);
    let mut before = 0;
    for i in 0..60 {
        writer.push(data("a", "string", value(i))).await.expect("it is taken");
        if i == 20 {
            before = server.resident_bytes();
        }
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 10 << 20, "it grew by {grown} bytes while 20 MiB passed");
    drop(slow);
}

#[tokio::test]
async fn the_program_logs_no_value() {
    const MARKER: &str = "zq5marker7";
    let (_folder, file, store) = folder();
    let server = Server::start(&["--store", &store, "--listen", "127.0.0.1:0", "--log", "trace"]);
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["a", "b"])).await;
    stream.next().await;
    wire.push(data("a", "string", MARKER)).await.expect("it is taken");
    wire.push(data("a", "int", MARKER)).await.expect_err("it is no int");
    assert_eq!(stream.delivery().await.to_string(), format!("Change a={MARKER}"));
    foreign(&file, &format!("INSERT INTO data (key, value, value_type) VALUES ('b', '{MARKER}', 'int')"));
    assert_eq!(stream.delivery().await.to_string(), format!("Change b={MARKER}"));
    let pushes = || {
        server.said().iter().filter(|line| line.contains("method=/datastream.DataService/PushUpdate")).count()
    };
    eventually("both pushes are logged", || pushes() >= 2).await;
    let leaks: Vec<_> = server.said().into_iter().filter(|line| line.contains(MARKER)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// What a service writes there is its log.
#[test]
fn a_password_in_a_store_that_is_none_is_not_repeated() {
    let stores = [
        ("postgres://u:hunter2@h/db?tabel=data", "tabel"),
        ("mysql://u:hunter2@h/db", "not a store"),
        ("git+https://robot:hunter2@h/x.git#main", "password"),
        ("s3://b/p?endpoint=http://k:hunter2@h", "endpoint"),
    ];
    for (store, reason) in stores {
        let said = refused(&["--store", store]);
        assert!(said.contains(reason) && said.contains("--store") && !said.contains("hunter2"), "{said}");
    }
    for flags in [&["--help"][..], &["detach", "--help"]] {
        let output = command(flags).env("DATASTREAM_STORE", "postgres://u:hunter2@h/db").output();
        let said = output.expect("the program can be run").stdout;
        assert!(!said.is_empty() && !String::from_utf8_lossy(&said).contains("hunter2"));
    }
    let said = refused(&["refresh", "--server", "http://u:hunter2@127.0.0.1:1"]);
    assert!(said.contains("http://127.0.0.1:1 ") && !said.contains("hunter2"), "{said}");
}

/// The database answers nothing, and is waited for.
#[cfg(unix)]
#[test]
fn a_server_that_still_opens_its_store_obeys_a_signal() {
    let database = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let store = format!("postgres://u@{}/db", database.local_addr().expect("it has an address"));
    let mut server = command(&["--store", &store, "--listen", "127.0.0.1:0"]);
    let server = server.stderr(std::process::Stdio::piped()).spawn().expect("the program can be run");
    let asked = database.accept().expect("it asks the database");
    let sent = Command::new("kill").args(["-s", "TERM", &server.id().to_string()]).status();
    assert!(sent.expect("kill can be run").success());
    let output = server.wait_with_output().expect("it can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    drop(asked);
}
