//! What a store costs its database: how it is set up, what is left behind, and how often it is asked.

use datastream_server::store::Operation;
use futures_util::future::join_all;

use crate::captured_log;
use crate::postgres::Cluster;
use crate::wire::announced;

use super::watched::Watched;
use super::{TABLE, commit, head, open, served, state, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_servers_that_start_together_one_sets_up_and_all_serve() {
    let database = Cluster::shared().database();
    database.psql(TABLE);
    database.psql(&Watched::theirs(1));
    let url = database.url();
    let stores = join_all((0..4).map(|_| open(&url))).await;
    let stores: Vec<_> = stores.into_iter().map(|store| store.expect("it serves")).collect();
    let heads = join_all(stores.iter().map(head)).await;
    assert!(heads.iter().all(|head| *head == heads[0]), "{heads:?}");
    assert_eq!(heads[0].revision, 2, "the genesis, and what was there");
    for (number, store) in stores.iter().enumerate() {
        commit(store, [Operation::put(&number.to_string(), "int", "1")]).await;
    }
    let states = join_all(stores.iter().map(state)).await;
    assert!(states.iter().all(|state| *state == states[0] && state.len() == 5), "{states:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_dropped_leaves_no_connection_behind() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("a", "int", "1")]).await;
    head(&store).await;
    store.usage().await.expect("it answers");
    let count = "SELECT count(*) FROM pg_stat_activity
      WHERE application_name = 'datastream-server' AND datname = current_database()";
    let count = || database.psql(count).parse::<usize>().expect("a number");
    until("each of its connections", || async { count() >= 4 }).await;
    drop(store);
    until("none of them", || async { count() == 0 }).await;
}

/// For seven seconds of heartbeats. That the log is looked at every second would be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_server_asks_its_database_next_to_nothing() {
    captured_log::capture();
    let cluster = Cluster::start_with(&[("log_statement", "all"), ("log_line_prefix", "%a: ")]);
    let database = cluster.database();
    database.psql(TABLE);
    let mut watched = Watched::serve(&database.url()).await;
    let asked = |what: &str| {
        let log = cluster.log();
        let ours = log.lines().filter(|line| line.starts_with("datastream-server: "));
        ours.filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>()
    };
    until("the bell was tried", || async { !asked("NOTIFY datastream_").is_empty() }).await;
    watched.goes_on().await;
    let mut stream = watched.wire.subscribe(announced(["nothing"])).await;
    stream.delivery().await;
    let before = asked("").len();
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(7) {
        stream.heartbeat().await;
    }
    let asked = asked("").split_off(before);
    // A look by the clock every five seconds, and one more at the ring that says that there is a bell; the seven
    // seconds are longer on a busy machine. A look each second would make six at least.
    assert!((1..=5).contains(&asked.len()), "{asked:#?}");
}
