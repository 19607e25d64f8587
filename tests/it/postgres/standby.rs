//! A replica that streams what a cluster commits.

use super::cluster::Cluster;
use super::server::{Server, data_of};
use super::wait::until;
use super::{account, programs};

/// A hot standby: it answers, and takes no writes until it is promoted.
pub(crate) struct Standby {
    cluster: Cluster,
    primary: Cluster,
}

impl Standby {
    /// Copies a cluster and follows it; returns when it has what was committed before.
    pub(crate) fn of(primary: &Cluster) -> Self {
        let folder = account::folder();
        let mut copy = account::command(&programs::postgres("pg_basebackup"));
        copy.args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync"]);
        copy.arg("--pgdata").arg(data_of(folder.path())).args(["--dbname", &primary.url("")]);
        programs::run(copy.current_dir(folder.path()));
        let standby = Self { cluster: Cluster::of(Server::start_in(folder)), primary: primary.clone() };
        standby.catch_up();
        standby
    }

    /// The server itself: its databases have the names that they have in the primary.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where the copy of a database is.
    pub(crate) fn url(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    /// Waits until it shows what the primary has committed by now.
    pub(crate) fn catch_up(&self) {
        self.reaches("pg_last_wal_replay_lsn()");
    }

    /// Waits until it has, whether it shows that or not, what the primary has committed by now.
    pub(crate) fn receive(&self) {
        self.reaches("pg_last_wal_receive_lsn()");
    }

    fn reaches(&self, position: &str) {
        let end = self.primary.psql("select pg_current_wal_flush_lsn()");
        let reached = format!("select {position} >= '{end}'");
        until(&reached, || (self.cluster.psql(&reached) == "t").then_some(()));
    }

    /// It lags from now on: it takes what the primary sends, and shows none of it.
    pub(crate) fn pause_replay(&self) {
        self.cluster.psql("select pg_wal_replay_pause()");
        let paused = "select pg_get_wal_replay_pause_state() = 'paused'";
        until("the standby lags", || (self.cluster.psql(paused) == "t").then_some(()));
    }

    /// It shows what came, and goes on.
    pub(crate) fn resume_replay(&self) {
        self.cluster.psql("select pg_wal_replay_resume()");
    }

    /// It follows no longer, and takes writes. The primary knows nothing of that.
    pub(crate) fn promote(&self) {
        assert_eq!(self.cluster.psql("select pg_promote()"), "t", "it takes writes: {}", self.cluster.log());
    }
}
