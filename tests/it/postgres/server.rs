//! One PostgreSQL on the data of a folder: it is started, ended in every way, and started again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::daemon::Daemon;
use super::wait::until;
use super::{account, port, processes, programs};

/// A server on a port that it keeps; ended when dropped.
pub(super) struct Server {
    /// Before the folder, so that it is dropped before.
    running: Mutex<Option<Daemon>>,
    folder: TempDir,
    port: u16,
}

impl Server {
    /// Starts a server on the data in a folder of the account.
    pub(super) fn start_in(folder: TempDir) -> Self {
        let server = Self { running: Mutex::default(), folder, port: port::free() };
        server.start();
        server
    }

    /// Starts the server, which has ended or never ran, and waits until it takes connections.
    pub(super) fn start(&self) {
        let folder = self.folder.path();
        let mut command = account::command(&programs::postgres("postgres"));
        command.arg("-D").arg(data_of(folder)).args(["-p", &self.port.to_string()]).arg("-k").arg(folder);
        // An immediate shutdown: it leaves no process, and nothing in the memory that processes share.
        let mut daemon = Daemon::spawn(&command, folder, "QUIT");
        until("PostgreSQL starts", || {
            let ended = daemon.has_ended();
            assert!(ended.is_none(), "PostgreSQL has ended with {ended:?}: {}", self.log());
            self.is_ready(daemon.id()).then_some(())
        });
        assert!(self.running().replace(daemon).is_none(), "it ran already");
    }

    /// Whether the process says so in its lock file: in the first line who it is, in the eighth how it is.
    fn is_ready(&self, id: u32) -> bool {
        let lock = std::fs::read_to_string(self.lock()).unwrap_or_default();
        let lines: Vec<&str> = lock.lines().map(str::trim).collect();
        lines.first() == Some(&id.to_string().as_str()) && lines.get(7) == Some(&"ready")
    }

    /// Ends the server and its children as a power failure does, but for the disk: nobody can finish anything.
    pub(super) fn kill(&self) {
        let daemon = self.take();
        let all = processes::halt(daemon.id());
        processes::signal(&all, "KILL");
        daemon.ends();
        until("its children end", || all[1..].iter().all(|id| processes::is_gone(*id)).then_some(()));
        self.forget();
    }

    /// Removes what outlives a killed server, and no power failure: the segment of memory that its lock file names, and
    /// the ids of its processes, which others may have by the time of the next start.
    fn forget(&self) {
        let lock = std::fs::read_to_string(self.lock()).expect("a killed server leaves its lock");
        let segment = lock.lines().nth(6).and_then(|segment| segment.split_whitespace().nth(1));
        programs::run(Command::new("ipcrm").arg("-m").args(segment));
        let socket = self.folder.path().join(format!(".s.PGSQL.{}.lock", self.port));
        for lock in [self.lock(), socket] {
            std::fs::remove_file(lock).expect("a killed server leaves its locks");
        }
    }

    /// Asks the server to end its sessions and stop, and returns when it is gone.
    pub(super) fn stop(&self) {
        let daemon = self.take();
        processes::signal(&[daemon.id()], "INT");
        let ended = daemon.ends();
        assert!(ended.success(), "it stops as it was asked to: {ended}");
    }

    /// Stops the server and its children where they are, until the guard is dropped.
    pub(super) fn pause(&self) -> Paused {
        Paused(processes::halt(self.id()))
    }

    /// The id of its first process, the parent of all others.
    pub(super) fn id(&self) -> u32 {
        self.running().as_ref().expect("it runs").id()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far, through all its starts.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log can be read")
    }

    fn lock(&self) -> PathBuf {
        data_of(self.folder.path()).join("postmaster.pid")
    }

    fn take(&self) -> Daemon {
        self.running().take().expect("it runs")
    }

    fn running(&self) -> MutexGuard<'_, Option<Daemon>> {
        // A test that failed here says so itself; the server is to be ended nevertheless.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the data is in the folder of a server.
pub(super) fn data_of(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// A server does not run while this is kept. Whatever uses it, the end of a database too, waits for that.
#[must_use]
pub(crate) struct Paused(Vec<u32>);

impl Drop for Paused {
    fn drop(&mut self) {
        processes::signal(&self.0, "CONT");
    }
}
