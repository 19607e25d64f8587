//! What it costs to have nothing to do: the share of a core that an idle server and an idle client use.
//!
//! `cargo bench --bench idle -- [SECONDS]`, after `cargo build --release -p datastream-server`: real processes,
//! at the default interval of heartbeats, for so long each (10 s), once they have come to rest. It fails above the
//! limits. The processes start this same program again, to be the clients.

mod program;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use datastream_client::Client;
use program::{Program, serve};
use tempfile::TempDir;

/// How many clients the server has, each with a connection of its own.
const CLIENTS: usize = 1000;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["clients", count, url] => be_clients(count.parse().expect("a number of clients"), url),
        [seconds] => measure(Duration::from_secs(seconds.parse().expect("a number of seconds"))),
        _ => measure(Duration::from_secs(10)),
    }
}

fn measure(window: Duration) {
    let folder = TempDir::new().expect("a folder");
    let (server, url) =
        serve(folder.path(), &format!("sqlite:{}", folder.path().join("settings.db").display()));
    let mut verdict = Verdict { window, failed: false };
    verdict.judge("server without a connection", &server, 0.1);
    let one = start_clients(1, &url);
    verdict.judge("client", &one, 0.1);
    drop(one);
    let _many = start_clients(CLIENTS, &url);
    verdict.judge("server with 1,000 connections", &server, 2.0);
    assert!(!verdict.failed, "above a limit");
}

struct Verdict {
    window: Duration,
    failed: bool,
}

impl Verdict {
    /// Prints what an idle program uses, in percent of a core, and remembers whether it is too much.
    fn judge(&mut self, name: &str, program: &Program, limit: f64) {
        let used = program.idle_share_of_a_core(limit, self.window);
        let verdict = if used < limit { "PASS" } else { "FAIL" };
        self.failed |= used >= limit;
        println!("{verdict} idle {name}: {used:.3} % of a core over {:?} (limit {limit} %)", self.window);
    }
}

/// Starts a process of so many clients. Returns when all have their values.
fn start_clients(count: usize, url: &str) -> Program {
    let this = std::env::current_exe().expect("a program has an executable");
    let mut command = Command::new(this);
    command.args(["clients", &count.to_string(), url]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut clients = Program::start(&mut command);
    let output = clients.0.stdout.take().expect("it is piped");
    let said = BufReader::new(output).lines().next().expect("they say so").expect("a line");
    assert_eq!(said, "ready");
    clients
}

/// So many clients of one setting each, on one thread, until stdin ends.
fn be_clients(count: usize, url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let watches: Vec<_> =
            (0..count).map(|_| Client::connect(url).watch::<i64>("max_connections")).collect();
        for watch in &watches {
            watch.ready().await.expect("the sample setting is there");
        }
        println!("ready");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        end.await.expect("it does not panic").expect("stdin can be read");
    });
}
