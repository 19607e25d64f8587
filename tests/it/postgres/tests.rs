//! Laws of the harness itself.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::processes;
use super::wait::until;
use super::{Certificates, Cluster, Pooler, Setup, Standby, psql};

#[tokio::test]
async fn a_database_is_empty_and_belongs_to_one_test() {
    let [mine, other] = [(); 2].map(|()| Cluster::shared().database());
    assert_eq!(mine.cluster().port(), other.cluster().port());
    mine.psql("create table numbers (number int); insert into numbers values (1), (2)");
    let counted = mine.connect().await.query_one("select count(*) from numbers", &[]).await;
    assert_eq!(counted.expect("it answers").get::<_, i64>(0), 2);
    let refused = other.try_psql("select * from numbers").expect_err("it is not there");
    assert!(refused.contains("does not exist"), "{refused}");
}

#[test]
fn a_role_may_do_what_it_was_granted_and_shows_its_password() {
    let database = Cluster::shared().database();
    let reader = database.role("reader");
    database.psql(&format!("create table t (a int); grant select on t to {}", reader.name()));
    assert_eq!(reader.psql("select count(*) from t"), "0");
    let refused = reader.try_psql("insert into t values (1)").expect_err("it was not granted");
    assert!(refused.contains("permission denied"), "{refused}");

    let writer = database.role_with_password("writer", "right1");
    assert_eq!(writer.psql("select current_user"), writer.name());
    let refused = psql(&writer.url().replace("right1", "wrong2"), "select 1").expect_err("it is wrong");
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[test]
fn a_cluster_that_ended_comes_back_on_its_port_with_what_was_committed() {
    let cluster = Cluster::start_with(&[("max_prepared_transactions", "10")]);
    let database = cluster.database();
    let url = database.url();
    database.psql("create table t (a int); insert into t values (1)");
    database.psql("begin; insert into t values (2); prepare transaction 'second'");
    cluster.kill();
    cluster.start_again();
    assert!(cluster.log().contains("was not properly shut down"), "{}", cluster.log());
    database.psql("commit prepared 'second'");
    cluster.stop();
    psql(&url, "select 1").expect_err("it is down");
    cluster.start_again();
    assert_eq!(psql(&url, "select a from t order by a").expect("it is back"), "1\n2");
}

#[tokio::test]
async fn a_paused_cluster_answers_when_it_goes_on() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let client = database.connect().await;
    let paused = cluster.pause();
    let mut answer = std::pin::pin!(client.simple_query("select 1"));
    let patience = Duration::from_millis(100);
    tokio::time::timeout(patience, &mut answer).await.expect_err("it does not run");
    drop(paused);
    answer.await.expect("it goes on");
}

#[test]
fn a_standby_follows_and_lags_when_told_and_is_promoted() {
    let cluster = Cluster::start();
    let database = cluster.database();
    database.psql("create table t (a int)");
    let standby = Standby::of(&cluster);
    let count = || psql(&standby.url(database.name()), "select count(*) from t").expect("it answers");
    assert_eq!(count(), "0");
    standby.pause_replay();
    database.psql("insert into t values (1)");
    standby.receive();
    assert_eq!(count(), "0");
    standby.resume_replay();
    standby.catch_up();
    assert_eq!(count(), "1");
    cluster.kill();
    assert_eq!(standby.cluster().psql("select pg_is_in_recovery()"), "t");
    standby.promote();
    psql(&standby.url(database.name()), "insert into t values (2)").expect("it takes writes");
    assert_eq!(count(), "2");
}

#[test]
fn a_pooler_passes_queries_on_and_shares_connections_between_transactions() {
    let database = Cluster::shared().database();
    let pooler = Pooler::start(database.cluster());
    let url = pooler.url(&database);
    let [first, second] = [(); 2].map(|()| psql(&url, "select pg_backend_pid()").expect("it answers"));
    assert_eq!(first, second, "{}", pooler.log());
}

#[test]
fn a_certificate_is_for_a_name_and_of_one_authority() {
    let certificates = Certificates::new();
    let cluster = Setup::default().tls(&certificates).rule("hostnossl all all 127.0.0.1/32 reject").start();
    let ask = |host: &str, authority: &Path| {
        let url = cluster.url("postgres").replace("127.0.0.1", host);
        let trusting = format!("{url}?sslmode=verify-full&sslrootcert={}", authority.display());
        psql(&trusting, "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    };
    assert_eq!(ask("localhost", &certificates.authority()).as_deref(), Ok("t"));
    let refused = ask("localhost", &certificates.foreign_authority()).expect_err("it did not sign");
    assert!(refused.contains("certificate verify failed"), "{refused}");
    let refused = ask("127.0.0.1", &certificates.authority()).expect_err("it is for the name alone");
    assert!(refused.contains("does not match host name"), "{refused}");
    let refused = psql(&format!("{}?sslmode=disable", cluster.url("postgres")), "").expect_err("a rule");
    assert!(refused.contains("rejects connection"), "{refused}");
}

/// Set in the test program that is to be killed.
const HELD: &str = "DATASTREAM_HOLDS_CLUSTER";

/// Starts a cluster, tells of it, and keeps it.
fn hold() {
    let cluster = Cluster::start();
    println!("\nheld {} {}", cluster.server().id(), cluster.server().folder().display());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[test]
fn a_cluster_ends_when_the_test_program_is_killed() {
    if std::env::var_os(HELD).is_some() {
        return hold();
    }
    let mut command = Command::new(std::env::current_exe().expect("a running test has a path"));
    command.args([
        "--exact",
        "postgres::tests::a_cluster_ends_when_the_test_program_is_killed",
        "--nocapture",
    ]);
    command.env(HELD, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = command.spawn().expect("it can be run");
    let mut lines =
        BufReader::new(holder.stdout.as_mut().expect("it was piped")).lines().map_while(Result::ok);
    let held = lines.find_map(|line| line.strip_prefix("held ").map(str::to_owned)).expect("it tells");
    let (id, folder) = held.split_once(' ').expect("two words");
    let id = id.parse().expect("an id");
    assert!(!processes::is_gone(id) && Path::new(folder).exists());
    holder.kill().expect("it can be killed");
    holder.wait().expect("it is gone");
    until("the cluster ends", || processes::is_gone(id).then_some(()));
    until("its folder is removed", || (!Path::new(folder).exists()).then_some(()));
}
