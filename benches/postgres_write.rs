//! How long it takes until a client shows what `psql` wrote, and what the server costs while nothing is written.
//!
//! `cargo bench --bench postgres_write -- [SECONDS]`, after `cargo build --release -p datastream-server --features
//! postgres`. Starts a PostgreSQL of its own. The time runs from before the statement is handed to `psql`, so that
//! PostgreSQL's own transaction is part of it, but not its sync: for how long a disk stalls now and then is the machine's.
//! It fails if one write of a hundred takes more than 50 ms, three times in a row, or if the idle server takes more
//! than 0.2 % of a core.

mod program;

#[allow(dead_code, unused_imports, reason = "this bench uses a part of it")]
#[path = "../tests/it/postgres/mod.rs"]
mod postgres;

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use datastream_client::Client;
use postgres::Cluster;
use program::{Program, WRITES, propagation_within, serve};

const TABLE: &str =
    "CREATE TABLE data (key text PRIMARY KEY, value text, value_type text, updated_at timestamptz)";
/// What 99 of 100 writes must keep.
const LIMIT: Duration = Duration::from_millis(50);
/// What an idle server may use, in percent of a core.
const IDLE: f64 = 0.2;

fn main() -> ExitCode {
    let seconds = std::env::args().skip(1).find(|argument| argument != "--bench");
    let window =
        Duration::from_secs(seconds.map_or(10, |seconds| seconds.parse().expect("a number of seconds")));
    let (folder, cluster) = (tempfile::tempdir().expect("a folder"), Cluster::start());
    let database = cluster.database();
    database.psql(TABLE);
    let (server, url) = serve(folder.path(), &database.url());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let watch = Client::connect(url).watch::<i64>("max_connections");
    let url = database.url();
    let mut psql = Psql(Program::start(Command::new("psql").args(["-q", &url]).stdin(Stdio::piped())));
    psql.run("SET synchronous_commit = off;");
    let took = runtime.block_on(propagation_within(LIMIT, watch.clone(), WRITES, |value| {
        psql.run(&format!("UPDATE data SET value = '{value}' WHERE key = 'max_connections';"));
    }));
    let [p50, p99, most] = [took.len() / 2, took.len() * 99 / 100, took.len() - 1].map(|n| took[n]);
    let verdict = |is_kept| if is_kept { "PASS" } else { "FAIL" };
    println!(
        "{} foreign writes: {WRITES} by psql: p50 {p50:.1?}, p99 {p99:.1?} (limit {LIMIT:?}), most {most:.1?}",
        verdict(p99 <= LIMIT)
    );
    let used = server.idle_share_of_a_core(IDLE, window);
    println!(
        "{} idle server on PostgreSQL, one client: {used:.3} % of a core over {window:?} (limit {IDLE} %)",
        verdict(used <= IDLE)
    );
    // Returned, so that all that was started ends.
    ExitCode::from(u8::from(p99 > LIMIT || used > IDLE))
}

/// `psql` with a session open: a program that knows nothing of this project.
struct Psql(Program);

impl Psql {
    /// Hands it a line, which it runs at once.
    fn run(&mut self, line: &str) {
        let input = self.0.0.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("psql reads");
    }
}
