//! How long it takes until a client shows what another program wrote into the server's file.
//!
//! `cargo bench --bench foreign_write`, after `cargo build --release -p datastream-server`. The writer is the
//! `sqlite3` shell, the server a process of its own. The time runs from before the statement is handed to the
//! shell, so that the shell's own transaction is part of it. It fails if one write of a hundred takes more than
//! 50 ms, three times in a row.

mod program;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use datastream_client::Client;
use program::{Program, WRITES, propagation_within, serve};
use tempfile::TempDir;

/// What 99 of 100 writes must keep.
const LIMIT: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("settings.db");
    let (_server, url) = serve(folder.path(), &format!("sqlite:{}", file.display()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let watch = Client::connect(url).watch::<i64>("max_connections");
    let mut shell = Shell::open(&file);
    shell.run(".timeout 5000");
    let took = runtime.block_on(propagation_within(LIMIT, watch, WRITES, |value| {
        shell.run(&format!("UPDATE data SET value = {value} WHERE key = 'max_connections';"));
    }));
    let [p50, p99, most] = [took.len() / 2, took.len() * 99 / 100, took.len() - 1].map(|n| took[n]);
    let verdict = if p99 <= LIMIT { "PASS" } else { "FAIL" };
    println!(
        "{verdict} foreign writes: {WRITES} by sqlite3: p50 {p50:.1?}, p99 {p99:.1?} (limit {LIMIT:?}), most {most:.1?}"
    );
    // Returned, so that the server is dropped, and ends.
    ExitCode::from(u8::from(p99 > LIMIT))
}

/// The `sqlite3` shell with a file open: a program that knows nothing of this project.
struct Shell(Program);

impl Shell {
    fn open(file: &Path) -> Self {
        Self(Program::start(Command::new("sqlite3").arg(file).stdin(Stdio::piped())))
    }

    /// Hands a line to the shell, which runs it at once.
    fn run(&mut self, line: &str) {
        let input = self.0.0.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("the shell reads");
    }
}
