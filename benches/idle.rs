//! What it costs to have nothing to do: the share of a core that an idle server and an idle client use.
//!
//! `cargo bench --bench idle -- [SECONDS]`, after `cargo build --release -p datastream-server`: real processes,
//! at the default interval of heartbeats, for so long each (10 s). It fails above the limits. The processes
//! start this same program again, to be the clients.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use datastream_client::Client;
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
    let (server, url) = serve(folder.path());
    let alone = server.share_of_a_core(window);
    let one = Program::clients(1, &url);
    let client = one.share_of_a_core(window);
    drop(one);
    let _many = Program::clients(CLIENTS, &url);
    let crowded = server.share_of_a_core(window);
    let rows = [
        ("server without a connection", alone, 0.1),
        ("client", client, 0.1),
        ("server with 1,000 connections", crowded, 2.0),
    ];
    println!("\nidle for {window:?}: percent of one core");
    for (name, used, limit) in rows {
        println!("{name:<32} {used:>6.3} (limit {limit})");
    }
    assert!(rows.iter().all(|(_, used, limit)| used < limit), "above a limit");
}

/// Starts a server on a file in `folder`. Returns it with its address.
fn serve(folder: &Path) -> (Program, String) {
    let this = std::env::current_exe().expect("a program has an executable");
    let server = this.ancestors().nth(2).expect("it lies two folders deep").join("datastream-server");
    assert!(server.exists(), "{} is missing: cargo build --release -p datastream-server", server.display());
    let log = folder.join("server.log");
    let store = format!("sqlite:{}", folder.join("settings.db").display());
    let mut command = Command::new(server);
    command.args(["--demo", "--listen", "127.0.0.1:0", "--store", &store]);
    let server = Program(command.stderr(File::create(&log).expect("a log")).spawn().expect("it starts"));
    let address = within_10_s("the server listens", || {
        let log = std::fs::read_to_string(&log).expect("a log");
        let line = log.lines().find(|line| line.contains("listening"))?.to_owned();
        Some(line.split_once("address=")?.1.split_whitespace().next()?.to_owned())
    });
    (server, format!("http://{address}"))
}

/// A process, killed when dropped.
struct Program(Child);

impl Program {
    /// Starts a process of so many clients. Returns when all have their values.
    fn clients(count: usize, url: &str) -> Self {
        let this = std::env::current_exe().expect("a program has an executable");
        let mut command = Command::new(this);
        command.args(["clients", &count.to_string(), url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut clients = Self(command.spawn().expect("it starts"));
        let output: ChildStdout = clients.0.stdout.take().expect("it is piped");
        let said = BufReader::new(output).lines().next().expect("they say so").expect("a line");
        assert_eq!(said, "ready");
        clients
    }

    /// The processor time that it uses during `window`, in percent of one core.
    fn share_of_a_core(&self, window: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.processor_time());
        std::thread::sleep(window);
        let used = self.processor_time().saturating_sub(before);
        used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
    }

    /// The time that its threads ran. The scheduler counts it in nanoseconds; `/proc/PID/stat` shows hundredths
    /// of a second, and the limit of an idle process is one of them in ten seconds.
    fn processor_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("the process lives");
        let nanos = threads.map(|thread| {
            let path = thread.expect("a thread").path().join("schedstat");
            let text = std::fs::read_to_string(path).expect("this kernel counts");
            let ran = text.split_whitespace().next().and_then(|ran| ran.parse().ok());
            Duration::from_nanos(ran.expect("nanoseconds"))
        });
        nanos.sum()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

fn within_10_s<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if let Some(seen) = look() {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not within 10 s: {what}");
}
