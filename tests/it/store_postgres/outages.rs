//! The database goes away in every way, and comes back.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;

use crate::postgres::{Cluster, Database};
use crate::wire::{DEADLINE, data, within};

use super::watched::Watched;
use super::{TABLE, changes, head, open, told, until};

/// The connections of a store.
const OURS: &str =
    "FROM pg_stat_activity WHERE application_name = 'datastream-server' AND datname = current_database()";
/// But not that which has just looked at the log.
const NOT_THE_READER: &str = "AND query NOT LIKE '%FROM datastream.token ORDER BY revision DESC LIMIT 1'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_ended_one_after_another_lose_nothing_and_are_made_again() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let mut watched = Watched::serve(&database.url()).await;
    let others = database.connect().await;
    let mut ended = 0;
    for round in 0..30 {
        let end = format!(
            "SELECT pg_terminate_backend(pid), query {OURS} ORDER BY backend_start OFFSET {} LIMIT 1",
            round % 3
        );
        ended += others.query(&end, &[]).await.expect("a superuser may").len();
        others.batch_execute(&Watched::theirs(round)).await.expect("others know nothing of it");
        watched.goes_on().await;
        watched.shows_theirs(round).await;
    }
    assert!(ended >= 20, "{ended} of them were ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_or_stopped_is_waited_for_and_nothing_is_missed() {
    let cluster = Cluster::start();
    let database = cluster.database();
    database.psql(TABLE);
    let mut watched = Watched::serve(&database.url()).await;
    for (round, end) in [Cluster::kill, Cluster::stop].into_iter().enumerate() {
        end(&cluster);
        watched.ages().await;
        let refused = watched.try_push().await.expect_err("nobody is there");
        assert_eq!(refused.code(), Code::Unavailable);
        cluster.start_again();
        let round = i64::try_from(round).expect("it is small");
        database.psql(&Watched::theirs(round));
        watched.shows_theirs(round).await;
        watched.goes_on().await;
    }
}

/// Nothing breaks: it is only that no answer comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_is_told_as_an_age_and_goes_on() {
    let cluster = Cluster::start();
    let database = cluster.database();
    database.psql(TABLE);
    let mut watched = Watched::serve(&format!("{}?connect_timeout=1", database.url())).await;
    let paused = cluster.pause();
    let wire = watched.wire.clone();
    let pushes = tokio::spawn(async move {
        // The second has no connection any more, and cannot make one.
        [wire.push(data("tried", "int", "1")).await, wire.push(data("tried", "int", "1")).await]
    });
    watched.ages().await;
    for refused in within("the end of the pushes", pushes).await.expect("it does not panic") {
        assert_eq!(refused.expect_err("no answer").code(), Code::Unavailable);
    }
    drop(paused);
    database.psql(&Watched::theirs(1));
    watched.shows_theirs(1).await;
    watched.goes_on().await;
}

/// Lets in nobody new for as long as this is kept; who is there stays.
struct Closed<'a>(&'a Database);

impl<'a> Closed<'a> {
    fn close(database: &'a Database) -> Self {
        let closed = Self(database);
        closed.allow(false);
        closed
    }

    fn allow(&self, allowed: bool) {
        let name = self.0.name();
        self.0.cluster().psql(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"));
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.allow(true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_listens_the_log_is_looked_at_every_second_and_then_at_once() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    let store = open(&database.url()).await.expect("the table can be served");
    let (before, others) = (head(&store).await, database.connect().await);
    let is_quiet = || async { timeout(Duration::from_millis(1500), store.rung()).await.is_err() };
    until("the store listens, and hears nothing", is_quiet).await;

    let closed = Closed::close(&database);
    changes(&store, &before).await;
    let (all, end) =
        (format!("SELECT {OURS}"), format!("SELECT pg_terminate_backend(pid) {OURS} {NOT_THE_READER}"));
    let all = others.query(&all, &[]).await.expect("it answers").len();
    assert_eq!(others.query(&end, &[]).await.expect("a superuser may").len(), all - 1);
    within("the end of the listener", store.rung()).await;
    others.batch_execute(&Watched::theirs(1)).await.expect("others know nothing of it");
    within("a look", store.rung()).await;
    let now = changes(&store, &before).await;
    assert_eq!(told(&now.changes), [("theirs", Some(("int", &b"1"[..])))]);
    within("another", store.rung()).await;

    drop(closed);
    let tried = format!("SELECT {OURS} AND query LIKE 'NOTIFY %' AND state = 'idle'");
    let is_tried = || async { others.query(&tried, &[]).await.expect("it answers").len() == 1 };
    until("the bell is tried", is_tried).await;
    // Sooner than by the clock.
    let first = timeout(Duration::from_millis(900), store.rung()).await;
    first.expect("who commits before a store listens again rings for nobody");
    until("the store hears nothing", is_quiet).await;
    others.batch_execute(&Watched::theirs(2)).await.expect("others know nothing of it");
    timeout(DEADLINE / 10, store.rung()).await.expect("it rings");
}
