//! The server that wrote dies, and there is another that followed it.

use datastream_server::store::{Commit, Operation};
use tonic::Code;

use crate::postgres::{Cluster, Database, Standby};

use super::watched::Watched;
use super::{TABLE, changes, head, open, until};

/// A database, and a copy of it that follows.
struct Pair {
    primary: Cluster,
    database: Database,
    standby: Standby,
}

impl Pair {
    fn start() -> Self {
        let primary = Cluster::start();
        let database = primary.database();
        database.psql(TABLE);
        let standby = Standby::of(&primary);
        Self { primary, database, standby }
    }

    /// Where either answers.
    fn url(&self) -> String {
        let (first, second) = (self.primary.port(), self.standby.cluster().port());
        format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/{}", self.database.name())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_behind_is_waited_for_and_resets_nobody() {
    let pair = Pair::start();
    let mut watched = Watched::serve(&pair.url()).await;
    let store = open(&pair.url()).await.expect("the table can be served");
    assert!(store.authoritative(), "the primary is asked first");
    pair.standby.catch_up();
    pair.standby.pause_replay();
    watched.goes_on().await;
    let last = head(&store).await;
    pair.standby.receive();
    pair.primary.kill();
    watched.ages().await;
    let is_behind = || async {
        let error = store.changes(&last).await.expect_err("it shows less than was read");
        std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("replica is behind"))
    };
    until("it says that it is behind", is_behind).await;
    assert!(!store.authoritative(), "a position above its head proves nothing");
    watched.refuses(Code::FailedPrecondition).await;

    pair.standby.resume_replay();
    watched.arrives().await;
    until("it has what was read", || async { store.changes(&last).await.is_ok() }).await;
    assert!(!store.authoritative(), "another server may have read more");
    watched.refuses(Code::FailedPrecondition).await;

    pair.standby.promote();
    watched.goes_on().await;
    changes(&store, &last).await;
    assert!(store.authoritative(), "it is the primary now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_that_lacks_commits_is_another_history_and_is_gone_over_to() {
    let pair = Pair::start();
    let mut watched = Watched::serve(&pair.url()).await;
    watched.arrives().await;
    pair.standby.catch_up();
    let replica = pair.standby.cluster();
    replica.psql("ALTER SYSTEM SET primary_conninfo = ''");
    replica.psql("SELECT pg_reload_conf()");
    let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
    until("it follows no longer", || async { replica.psql(receivers) == "0" }).await;
    watched.goes_on().await;
    pair.primary.kill();
    watched.ages().await;
    pair.standby.promote();
    watched.is_reset_to(1).await;
    watched.wire.push_int("counter/0", 100).await;
    watched.shows("counter/0", 100).await;
}

/// It was gone over to while the primary restarted, and takes no pushes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_left_when_the_primary_is_back() {
    let pair = Pair::start();
    let store = open(&pair.url()).await.expect("the table can be served");
    let last = head(&store).await;
    pair.standby.catch_up();
    pair.primary.stop();
    let is_elsewhere = || async { store.changes(&last).await.is_ok() && !store.authoritative() };
    until("the standby is asked", is_elsewhere).await;
    let push = || async { store.commit(Commit::one(Operation::put("a", "int", "1"))).await.is_ok() };
    assert!(!push().await, "it is read-only");
    pair.primary.start_again();
    until("pushes are taken again", push).await;
    until("the primary is asked", || async { store.changes(&last).await.is_ok() && store.authoritative() })
        .await;
}
