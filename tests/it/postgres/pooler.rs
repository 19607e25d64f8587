//! A pgbouncer in front of a cluster: each transaction gets any of its connections.

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::cluster::Cluster;
use super::daemon::Daemon;
use super::database::Database;
use super::setup::SUPERUSER;
use super::wait::until;
use super::{account, port, programs};

/// A pooler in transaction mode, which admits everybody whom the cluster knows; ended when dropped.
pub(crate) struct Pooler {
    /// Before the folder, so that it is dropped before.
    daemon: Daemon,
    folder: TempDir,
    port: u16,
}

impl Pooler {
    /// Starts one on a port of its own, and waits until it listens.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let folder = account::folder();
        let port = port::free();
        let settings = folder.path().join("pgbouncer.ini");
        std::fs::write(&settings, configuration(folder.path(), port, cluster.port())).expect("a file");
        std::fs::write(users(folder.path()), format!("\"{SUPERUSER}\" \"\"\n")).expect("a file");
        let mut command = account::command(&programs::find("pgbouncer", "pgbouncer"));
        command.arg(settings);
        let daemon = Daemon::spawn(&command, folder.path(), "KILL");
        let mut pooler = Self { daemon, folder, port };
        pooler.await_port();
        pooler
    }

    fn await_port(&mut self) {
        until("pgbouncer listens", || {
            let ended = self.daemon.has_ended();
            assert!(ended.is_none(), "pgbouncer has ended with {ended:?}: {}", self.log());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Where a superuser connects to a database of the cluster through it.
    pub(crate) fn url(&self, database: &Database) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{}", self.port, database.name())
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log can be read")
    }
}

/// Where it reads who may connect without being looked up.
fn users(folder: &Path) -> PathBuf {
    folder.join("users")
}

fn configuration(folder: &Path, port: u16, to: u16) -> String {
    let users = users(folder);
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={to}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         pool_mode = transaction\n\
         auth_type = trust\n\
         auth_file = {}\n\
         auth_user = {SUPERUSER}\n",
        users.display()
    )
}
