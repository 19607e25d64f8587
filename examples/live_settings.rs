//! The main job, whole, in one process: an application reads a typed setting, somebody changes it, and the
//! application has the new value milliseconds later; the server is killed and comes back, and nothing was lost
//! or stale in silence.
//!
//! ```text
//! cargo run --example live_settings [-- [--stay] [--store FILE]]
//! ```
//!
//! It ends by itself after some seconds. On a terminal, or with `--stay`, it stays until Ctrl-C, so that you can
//! change the setting from outside. Without `--store` the settings live in a file that is gone afterwards.

use std::collections::HashMap;
use std::error::Error;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datastream_client::{Client, State, Watch};
use datastream_server::store::{Commit, Operation, Store as _};
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::{Config, incoming, serve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

type Failure = Box<dyn Error + Send + Sync>;

const KEY: &str = "max_connections";
/// Between two steps, so that a person can follow them.
const PACE: Duration = Duration::from_millis(400);
/// For what should take milliseconds, and after a reconnect seconds.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Failure> {
    let options = Options::read(std::env::args().skip(1))?;
    let scratch = tempfile::tempdir()?;
    let file = options.store.unwrap_or_else(|| scratch.path().join("settings.db"));
    let server = Server::start("127.0.0.1:0".parse()?, &file)?;
    let url = format!("http://{}", server.address);
    let log = Arc::new(Log::new());
    log.say(&format!("a server at {url}, on {}", file.display()));

    // This much is all that an application needs. It blocks nowhere, and cannot fail.
    let cfg = Client::connect(&url).watch::<i64>("max_connections");

    let runtime = Runtime::new()?;
    if let Err(why) = runtime.block_on(cfg.ready()) {
        log.say(&format!("application: {why}"));
    }
    runtime.spawn(follow(cfg.clone(), log.clone()));
    let operator = Operator { updater: Client::connect(&url), file, cfg, log };
    runtime.block_on(operator.change())?;
    let server = operator.kill_and_return(server, &runtime)?;
    if options.stay {
        runtime.block_on(operator.stay(&url))?;
    }
    server.kill();
    Ok(())
}

/// The application: says what it reads, as soon as it reads something else.
async fn follow(mut cfg: Watch<i64>, log: Arc<Log>) {
    let mut state = State::NotReady;
    loop {
        let status = cfg.status();
        if status.state != state {
            state = status.state;
            log.say(&format!("application: status {state:?}, {KEY} is {:?}", cfg.get()));
        }
        // A status has no event of its own: it is looked at when it is needed.
        let Ok(()) = timeout(Duration::from_millis(10), cfg.changed()).await else { continue };
        if let Some(value) = cfg.get() {
            log.say(&format!("application: {KEY} = {value}, {}", log.age(value)));
        }
    }
}

/// Whoever changes settings, and whoever pulls the plug.
struct Operator {
    updater: Client,
    file: PathBuf,
    cfg: Watch<i64>,
    log: Arc<Log>,
}

impl Operator {
    /// Changes the setting twice: by a call, and past the server, in the file.
    async fn change(&self) -> Result<(), Failure> {
        let before = self.cfg.get().unwrap_or_default();
        for value in [before + 10, before + 20, before + 30] {
            self.pause().await;
            self.log.write("updater: pushes", value);
            self.updater.set(KEY, value).await?;
            self.wait_for(value, State::Ready).await?;
        }
        self.pause().await;
        self.write_past_the_server(before + 40)?;
        self.wait_for(before + 40, State::Ready).await
    }

    /// Kills the server, changes the setting while there is none, and starts it again.
    fn kill_and_return(&self, server: Server, runtime: &Runtime) -> Result<Server, Failure> {
        let address = server.address;
        let before = self.cfg.get().unwrap_or_default();
        runtime.block_on(self.pause());
        self.log.say("operator: kills the server");
        server.kill();
        runtime.block_on(self.wait_for(before, State::Stale))?;
        self.write_past_the_server(before + 10)?;
        runtime.block_on(self.pause());
        self.log.say("operator: starts the server again");
        let server = Server::start(address, &self.file)?;
        runtime.block_on(self.wait_for(before + 10, State::Ready))?;
        runtime.block_on(self.pause());
        Ok(server)
    }

    /// As any other program would that opens the file: `sqlite3`, for instance.
    fn write_past_the_server(&self, value: i64) -> Result<(), Failure> {
        let connection = rusqlite::Connection::open(&self.file)?;
        self.log.write("sqlite: writes into the file", value);
        connection.execute("UPDATE data SET value = ?1 WHERE key = ?2", (value, KEY))?;
        Ok(())
    }

    /// Waits until the application reads `value`, and knows whether that is right now.
    async fn wait_for(&self, value: i64, state: State) -> Result<(), Failure> {
        let seen = async {
            while self.cfg.get() != Some(value) || self.cfg.status().state != state {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, seen)
            .await
            .map_err(|_| format!("{value} did not arrive, or is not {state:?}").into())
    }

    /// Leaves everything running, and says how to change the setting from outside.
    async fn stay(&self, url: &str) -> Result<(), Failure> {
        println!("\nIt stays until Ctrl-C. Change the setting from another terminal:\n");
        println!("  cargo run --example updater -- {url} {KEY} 42");
        let file = self.file.display();
        println!("  sqlite3 {file} \"UPDATE data SET value = 43 WHERE key = '{KEY}'\"\n");
        Ok(tokio::signal::ctrl_c().await?)
    }

    async fn pause(&self) {
        sleep(PACE).await;
    }
}

/// A server inside the application: a file, a port and a runtime of its own.
struct Server {
    address: SocketAddr,
    runtime: Runtime,
}

impl Server {
    fn start(address: SocketAddr, file: &Path) -> Result<Self, Failure> {
        let store = Arc::new(SqliteStore::open(file)?);
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        runtime.block_on(store.seed(Commit::one(Operation::put(KEY, "int", "10"))))?;
        runtime.spawn(async move {
            let never = std::future::pending();
            if let Err(error) = serve(incoming(listener), store, Config::default(), never).await {
                eprintln!("the server ended: {error}");
            }
        });
        Ok(Self { address, runtime })
    }

    /// Ends it as a crash would: its connections break without a word.
    fn kill(self) {
        self.runtime.shutdown_timeout(PATIENCE);
    }
}

/// What happens, with the time since the start, and when each value was written.
struct Log {
    began: Instant,
    written: Mutex<HashMap<i64, Instant>>,
}

impl Log {
    fn new() -> Self {
        Self { began: Instant::now(), written: Mutex::default() }
    }

    fn say(&self, text: &str) {
        println!("[{:6.3} s] {text}", self.began.elapsed().as_secs_f64());
    }

    /// Notes the time at which a value is about to be written.
    fn write(&self, who: &str, value: i64) {
        self.say(&format!("{who} {value}"));
        self.written.lock().expect("nobody panics here").insert(value, Instant::now());
    }

    fn age(&self, value: i64) -> String {
        match self.written.lock().expect("nobody panics here").get(&value) {
            Some(at) => format!("{:.1} ms after the write began", at.elapsed().as_secs_f64() * 1e3),
            None => "written by somebody else".to_owned(),
        }
    }
}

/// What the command line says.
struct Options {
    stay: bool,
    store: Option<PathBuf>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self { stay: std::io::stdout().is_terminal(), store: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--stay" => options.stay = true,
                "--store" => options.store = Some(arguments.next().ok_or("--store needs a file")?.into()),
                other => return Err(format!("{other}? Arguments: [--stay] [--store FILE]").into()),
            }
        }
        Ok(options)
    }
}
