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
    /// Where it listens, once it does.
    address: SocketAddr,
}

impl FileServer {
    /// Starts the server on a free port, and returns when it listens.
    pub(crate) fn start(folder: &Path) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child: spawn(folder, free), folder: folder.to_owned(), address: free };
        process.address = process.wait_until_it_listens();
        process
    }

    /// Starts the server, which has ended, again: on the same port and the same file.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.folder, self.address);
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
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill can be run");
        assert!(sent.success(), "it can be signalled");
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

impl Drop for FileServer {
    fn drop(&mut self) {
        // One that was waited for is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, address: SocketAddr) -> Child {
    let log = File::create(log_of(folder)).expect("a log");
    let store = format!("sqlite:{}", store_of(folder).display());
    let flags = ["--store", &store, "--listen", &address.to_string(), "--log", LOG];
    command(&flags).stderr(log).spawn().expect("the server can be started")
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// The file that the server of a folder serves.
pub(crate) fn store_of(folder: &Path) -> PathBuf {
    folder.join("settings.db")
}
