//! How long it takes until a client shows what another program wrote into the file.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datastream_client::Client;
use tempfile::TempDir;

use crate::file_server::{FileServer, store_of};
use crate::wire::{Wire, within};

const WRITES: i64 = 200;
/// What 99 of 100 writes must keep.
const LIMIT: Duration = Duration::from_millis(50);

/// The `sqlite3` shell with a file open: a program that knows nothing of this project.
struct Shell(Child);

impl Shell {
    fn open(file: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        command.arg("-bail").arg(file).stdin(Stdio::piped());
        Self(command.spawn().expect("sqlite3 is needed: apt-get install sqlite3"))
    }

    /// Hands a statement to the shell, which runs it at once.
    fn run(&mut self, statement: &str) {
        let input = self.0.stdin.as_mut().expect("it is piped");
        writeln!(input, "{statement}").expect("the shell reads");
    }

    /// Ends the shell. None of its statements may have failed.
    fn close(mut self) {
        drop(self.0.stdin.take());
        let status = self.0.wait().expect("it ends");
        assert!(status.success(), "a statement failed: {status}");
    }
}

/// Measured from before the statement reaches the shell, so the shell's own transaction is part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_write_reaches_a_client_within_50_ms() {
    let folder = TempDir::new().expect("a folder");
    let server = FileServer::start(folder.path());
    Wire::to(&server.url()).await.push_int("max", 1).await;
    let mut watch = Client::connect(server.url()).watch::<i64>("max");
    within("the first value", watch.ready()).await.expect("it is there");
    let mut shell = Shell::open(&store_of(folder.path()));
    shell.run(".timeout 5000");

    let mut took = Vec::new();
    for value in 2..2 + WRITES {
        let began = Instant::now();
        shell.run(&format!("UPDATE data SET value = {value} WHERE key = 'max';"));
        within("the write", async {
            while watch.get() != Some(value) {
                watch.changed().await;
            }
        })
        .await;
        took.push(began.elapsed());
    }
    shell.close();

    took.sort();
    let [p50, p99, most] = [took.len() / 2, took.len() * 99 / 100, took.len() - 1].map(|n| took[n]);
    println!("{WRITES} writes by sqlite3: p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?}");
    assert!(p99 <= LIMIT, "p99 is {p99:.1?}");
}
