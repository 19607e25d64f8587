//! The Go original's server and ours on one file at the same time. A program in Python stands for the original: it
//! makes the file, writes it and reads it in the same way.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use datastream_server::Config;
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::testing::TestServer;
use tempfile::TempDir;

use crate::wire::{Wire, announced, data, within};

/// How many changes the original makes: `DATASTREAM_CHANGES`, or the size of the gate.
fn changes() -> u64 {
    std::env::var("DATASTREAM_CHANGES")
        .map_or(500, |number| number.parse().expect("DATASTREAM_CHANGES is a number"))
}

/// The stand-in for the original's server.
struct Original {
    child: Child,
    said: BufReader<ChildStdout>,
    told: ChildStdin,
}

impl Original {
    fn start(file: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/writer.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let said = BufReader::new(child.stdout.take().expect("it was piped"));
        let told = child.stdin.take().expect("it was piped");
        let mut original = Self { child, said, told };
        assert_eq!(original.answer(), "ready");
        original
    }

    fn tell(&mut self, line: &str) -> String {
        writeln!(self.told, "{line}").expect("it listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of each key, the revisions in which it arrived, and its last value.
type Seen = BTreeMap<String, (Vec<u64>, String)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_original_goes_on_writing_is_served_and_read_rightly_by_both() {
    let began = Instant::now();
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("example.db");
    let mut original = Original::start(&file);
    let store = Arc::new(SqliteStore::open(&file).expect("the original's file is fit"));
    let server = TestServer::start_with(store, Config::default());
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced([""; 0])).await;
    let total = changes();

    let writing = tokio::task::spawn_blocking(move || {
        for change in 0..total {
            let verb = if change % 3 == 0 { "update" } else { "write" };
            assert_eq!(original.tell(&format!("{verb} max_connections {change}")), "done");
            assert_eq!(original.tell(&format!("write key{} {change}", change % 7)), "done");
        }
        original.tell("write last 1");
        original
    });
    let pushing = tokio::spawn({
        let wire = wire.clone();
        async move {
            for value in 0..total / 5 {
                wire.push(data("ours", "int", value.to_string())).await.expect("a push");
            }
        }
    });
    let reading = tokio::spawn(async move {
        let mut seen = Seen::default();
        while !seen.contains_key("end") {
            for (key, data) in stream.delivery().await.data {
                let (revisions, last) = seen.entry(key).or_default();
                revisions.push(data.revision);
                *last = String::from_utf8(data.value.to_vec()).expect("digits");
            }
        }
        seen
    });
    pushing.await.expect("every push is taken");
    let mut original = writing.await.expect("the original was obeyed");
    wire.push(data("end", "int", "1")).await.expect("a push");
    let seen = within("the end", reading).await.expect("the stream goes on");

    for (key, (revisions, _)) in &seen {
        assert!(revisions.is_sorted_by(|a, b| a < b), "{key} came twice in one revision: {revisions:?}");
    }
    for key in ["max_connections", "key0", "key3", "key6", "ours"] {
        let (value, kind) = (&seen[key].1, "int");
        assert_eq!(original.tell(&format!("read {key}")), format!("{value} {kind}"), "both read the same");
    }
    assert_eq!(seen["max_connections"].1, (total - 1).to_string());
    assert_eq!(seen["ours"].1, (total / 5 - 1).to_string());
    println!("{} changes by the original, {} pushes, in {:.1?}", 2 * total, total / 5, began.elapsed());
}
