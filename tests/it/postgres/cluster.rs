//! A PostgreSQL of the tests' own, with nothing in it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::database::Database;
use super::psql;
use super::server::{Paused, Server};
use super::setup::{SUPERUSER, Setup};

/// The database that every cluster has, for what concerns all of it.
const MAINTENANCE: &str = "postgres";

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// A running PostgreSQL: as many handles on it as wanted, ended with the last of them. It takes a second or two to make.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Server>);

impl Cluster {
    /// Makes one as [`Setup`] does by default.
    pub(crate) fn start() -> Self {
        Setup::default().start()
    }

    /// As [`start`](Self::start), with settings of `postgresql.conf`.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(Setup::default(), |setup, (name, value)| setup.set(name, value)).start()
    }

    /// The one of all tests that run at the time, for those who neither end it nor look at more than their database.
    pub(crate) fn shared() -> Self {
        // Who could not start it has said why; the next one tries again.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Self(server);
        }
        let cluster = Self::start_with(&[("max_connections", "300")]);
        *shared = Arc::downgrade(&cluster.0);
        cluster
    }

    pub(super) fn of(server: Server) -> Self {
        Self(Arc::new(server))
    }

    /// Makes an empty database.
    pub(crate) fn database(&self) -> Database {
        Database::create(self)
    }

    /// Where a database of this name is or would be.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_of(SUPERUSER, database)
    }

    /// As [`url`](Self::url), for somebody else: the name of a role, or `role:password`.
    pub(crate) fn url_of(&self, who: &str, database: &str) -> String {
        format!("postgres://{who}@127.0.0.1:{}/{database}", self.port())
    }

    /// Runs SQL that concerns the whole cluster.
    pub(crate) fn psql(&self, sql: &str) -> String {
        psql::expected(sql, self.try_psql(sql))
    }

    /// As [`psql`](Self::psql), where it may fail.
    pub(crate) fn try_psql(&self, sql: &str) -> Result<String, String> {
        psql::psql(&self.url(MAINTENANCE), sql)
    }

    /// Where it listens, on 127.0.0.1; also when it was started again.
    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.0.log()
    }

    /// Ends it as a crash of the machine does: all its processes at once.
    pub(crate) fn kill(&self) {
        self.0.kill();
    }

    /// Stops it as an administrator does: sessions are told that it shuts down, and it returns when it is gone.
    pub(crate) fn stop(&self) {
        self.0.stop();
    }

    /// Starts it after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and data.
    pub(crate) fn start_again(&self) {
        self.0.start();
    }

    /// Holds all its processes where they are until the guard is dropped. Its connections stay.
    pub(crate) fn pause(&self) -> Paused {
        self.0.pause()
    }

    pub(super) fn server(&self) -> &Server {
        &self.0
    }
}
