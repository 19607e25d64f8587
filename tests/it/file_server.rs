//! The program `datastream-server` as a process of its own, so that a test can kill it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::process::command;
use crate::wire::DEADLINE;

/// Everything but a line for each call: these tests make very many.
const LOG: &str = "info,datastream_server::access=off";

/// A server that serves the SQLite file of a folder, and logs beside it. Killed when dropped.
pub(crate) struct FileServer {
    child: Child,
    folder: PathBuf,
    flags: Vec<String>,
    /// Where it listens, once it does.
    address: SocketAddr,
}

impl FileServer {
    /// Starts the server on a free port, and returns when it listens.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// As [`start`](Self::start), with more flags.
    pub(crate) fn start_with(folder: &Path, flags: &[&str]) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let child = spawn(folder, free, &flags);
        let mut process = Self { child, folder: folder.to_owned(), flags, address: free };
        process.address = process.wait_until_it_listens();
        process
    }

    /// Starts the server, which has ended, again: on the same port and the same file.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.folder, self.address, &self.flags);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&mut self) -> SocketAddr {
        let began = Instant::now();
        loop {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("listening"));
            let address = line.and_then(|line| line.split_once("address=")?.1.split_whitespace().next());
            if let Some(address) = address.and_then(|address| address.parse().ok()) {
                return address;
            }
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none() && began.elapsed() < DEADLINE, "the server does not listen: {log}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the server logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(log_of(&self.folder)).expect("the log can be read")
    }

    /// Ends the server as `kill -9` does, and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is gone");
    }

    /// Asks the server to stop.
    pub(crate) fn terminate(&self) {
        signal(self.child.id(), "-TERM");
    }

    /// Stops the process where it is, as a debugger or a machine that hangs does, until the guard is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        signal(self.child.id(), "-STOP");
        Frozen(self.child.id())
    }

    /// Asks the server to stop, and returns when it is gone.
    pub(crate) fn stop(&mut self) {
        self.terminate();
        let ended = self.child.wait().expect("it is gone");
        assert!(ended.success(), "it stops as it was asked to: {ended}");
    }

    /// Waits until the server has ended by itself, for at most `patience`.
    pub(crate) async fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let poll = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(patience, poll).await.ok()
    }
}

/// A process stands still while this is kept.
#[must_use]
pub(crate) struct Frozen(u32);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, "-CONT");
    }
}

fn signal(id: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &id.to_string()]).status().expect("kill can be run");
    assert!(sent.success(), "it can be signalled");
}

impl Drop for FileServer {
    fn drop(&mut self) {
        // One that was waited for is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, address: SocketAddr, more: &[String]) -> Child {
    let log = File::create(log_of(folder)).expect("a log");
    let store = format!("sqlite:{}", store_of(folder).display());
    let flags = ["--store", &store, "--listen", &address.to_string(), "--log", LOG];
    command(&flags).args(more).stderr(log).spawn().expect("the server can be started")
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// The file that the server of a folder serves.
pub(crate) fn store_of(folder: &Path) -> PathBuf {
    folder.join("settings.db")
}
