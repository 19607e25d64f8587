//! Defects of the Go original's store for S3, which must not come back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datastream_client::Client;
use datastream_server::Config;
use datastream_server::store::{Operation, Store};
use datastream_server::testing::TestServer;

use super::{DEADLINE, arrive, changes, commit, head, known, open, served, setting, state};
use crate::s3::{Asked, Fault, Server};

/// How many objects: more than two pages of a list. `DATASTREAM_OBJECTS` sets another number.
fn objects() -> usize {
    let asked = std::env::var("DATASTREAM_OBJECTS").ok();
    asked.map_or(2501, |objects| objects.parse().expect("a number of objects"))
}

/// The original listed one page, and served no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d47_a_list_goes_on_to_its_end() {
    let objects = objects();
    let server = Server::start().await;
    for n in 0..objects {
        server.bucket.plant(&format!("app/{n:06}"), n.to_string());
    }
    server.bucket.settle();
    let began = Instant::now();
    let store = open(&server, "&poll=1h").await;
    let started = began.elapsed();
    assert_eq!(known(&store).await.len(), objects);
    let lists = server.bucket.count(Asked::List);
    server.bucket.plant(&format!("app/{:06}", objects - 1), "changed");
    let gets = server.bucket.count(Asked::Get);
    let began = Instant::now();
    let last = state(&store).await.pop().expect("the last");
    let looked = began.elapsed();
    assert_eq!(last, setting(&format!("{:06}", objects - 1), "text/plain", "changed"));
    assert_eq!(server.bucket.count(Asked::List) - lists, objects.div_ceil(1000));
    assert_eq!(server.bucket.count(Asked::Get) - gets, 1, "only what changed is read");
    assert!(server.bucket.most_reading() <= 16, "{} reads at once", server.bucket.most_reading());
    println!("{objects} objects: read in {started:?}, looked at in {looked:?}");
}

/// The original ended the whole subscription, and said that all was well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d48_an_error_of_the_bucket_ends_no_subscription() {
    let bucket = Server::start().await;
    bucket.bucket.plant("app/a", "1");
    let server = TestServer::start_with(open(&bucket, "").await, Config::default());
    let client = Client::connect(server.url());
    let (watch, absent) = (client.watch::<i64>("a"), client.watch::<i64>("absent"));
    let is_shown = async |expected| {
        let began = Instant::now();
        while watch.get() != Some(expected) {
            assert!(began.elapsed() < DEADLINE, "{expected} does not arrive");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    is_shown(1).await;
    for (asked, fault) in [
        (Asked::List, "SlowDown"),
        (Asked::List, "InternalError"),
        (Asked::List, "AccessDenied"),
        (Asked::Get, "SlowDown"),
    ] {
        bucket.bucket.fail(asked, 0, 3, Fault::Error(fault));
    }
    bucket.bucket.plant("app/a", "2");
    is_shown(2).await;
    assert_eq!(absent.get(), None);
    assert_eq!(server.subscribers(), 1, "it is the stream of before");
}

/// The original slept for each key, and without keys not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d49_a_look_is_one_list_whatever_there_is() {
    for keys in [0, 50] {
        let server = Server::start().await;
        for n in 0..keys {
            server.bucket.plant(&format!("app/{n}"), "1");
        }
        // Before it is opened: what comes between only adds to the time of the four.
        let began = Instant::now();
        let store = open(&server, "&poll=500ms").await;
        let lists = server.bucket.count(Asked::List);
        while server.bucket.count(Asked::List) < lists + 4 {
            assert!(began.elapsed() < DEADLINE, "it does not look");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(began.elapsed() > Duration::from_millis(1900), "four looks in {:?}", began.elapsed());
        // A change arrives by the looks alone.
        server.bucket.plant("app/new", "1");
        let began = Instant::now();
        while known(&store).await.len() == keys {
            assert!(began.elapsed() < DEADLINE, "the change does not arrive");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The original noted the new ETag although it had not read the value, which was lost then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d50_a_read_that_fails_is_made_again() {
    let (server, store) = served().await;
    server.bucket.plant("app/a", "1");
    server.bucket.plant("app/b", "1");
    server.bucket.settle();
    // One that is not asked again within a look.
    server.bucket.fail(Asked::Get, 1, 1, Fault::Error("InvalidToken"));
    let before = head(&store).await;
    store.refresh().await.expect_err("one cannot be read");
    assert_eq!(known(&store).await, [], "and so none is shown");
    store.changes(&before).await.expect_err("what is shown is old");
    let gets = server.bucket.count(Asked::Get);
    assert_eq!(state(&store).await, [setting("a", "text/plain", "1"), setting("b", "text/plain", "1")]);
    // The other was read before, or was still under way when this one failed.
    assert!((1..=2).contains(&(server.bucket.count(Asked::Get) - gets)));
    assert_eq!(changes(&store, &before).await.positions.len(), 1, "what a look finds is one commit");
}

/// The original paired the value with the ETag of an earlier request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d51_a_value_goes_with_the_etag_that_came_with_it() {
    let (server, store) = served().await;
    server.bucket.plant("app/a", "1");
    server.bucket.fail(Asked::Get, 0, 1, Fault::Late(Duration::from_millis(300)));
    let (before, gets) = (head(&store).await, server.bucket.count(Asked::Get));
    let looking = tokio::spawn({
        let store = store.clone();
        async move { store.refresh().await }
    });
    while server.bucket.count(Asked::Get) == gets {
        tokio::task::yield_now().await;
    }
    server.bucket.plant("app/a", "2");
    looking.await.expect("it looks").expect("it can look");
    let seen = changes(&store, &before).await;
    assert_eq!(known(&store).await, [setting("a", "text/plain", "2")]);
    // On the condition of the ETag that it has: it is the right one, so this is done in one attempt.
    let puts = server.bucket.count(Asked::Put);
    commit(&store, Operation::put("a", "text/plain", "3").expecting(seen.position.revision)).await;
    assert_eq!(server.bucket.count(Asked::Put) - puts, 1);
    assert_eq!(state(&store).await, [setting("a", "text/plain", "3")]);
    assert_eq!(changes(&store, &before).await.changes.len(), 2, "and none comes twice");
}

/// The original gave the time of its answer, and read whatever came, however much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d52_the_time_is_that_of_the_object_and_a_large_one_is_not_read() {
    let server = Server::start().await;
    server.bucket.plant("app/large", vec![0; 100_000_000]);
    let began = SystemTime::now();
    server.bucket.plant("app/small", "1");
    let written = SystemTime::now();
    // So that the time of the answer is another, where times are whole seconds.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let store = open(&server, "&poll=1h").await;
    let changes = store.load().await.expect("load").changes;
    let [large, small] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((&large.value, large.too_large), (&None, Some(100_000_000)));
    // In whole seconds, as S3 tells it.
    let when = began - Duration::from_secs(1)..=written;
    assert!(when.contains(&small.time), "{:?} is not in {when:?}", small.time);
    assert_eq!(server.bucket.count(Asked::Get), 1);
}

/// The original never noticed them, and offered the key `/`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d53_deletions_are_seen_and_folders_are_none() {
    let server = Server::start().await;
    for key in ["app/", "app/folder/", "app/a", "app/b", "app/b/c", "other/x", "application"] {
        server.bucket.plant(key, "1");
    }
    let store = open(&server, "").await;
    let three = ["a", "b", "b/c"].map(|key| setting(key, "text/plain", "1"));
    assert_eq!(known(&store).await, three);
    let before = head(&store).await;
    server.tool().delete("b").await;
    arrive(&store, &[three[0].clone(), three[2].clone()]).await;
    let gone = &changes(&store, &before).await.changes;
    assert_eq!((&*gone[0].key, &gone[0].value), ("b", &None));
}

/// The original wrote without a condition, and forgot the type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d54_a_push_is_conditional_and_keeps_its_type() {
    let (server, store) = served().await;
    let first = commit(&store, Operation::put("a", "int", "1")).await;
    server.tool().put("a", Some("int"), "2").await;
    let refusal = super::refused(&store, Operation::put("a", "int", "3").expecting(first.revision)).await;
    assert!(matches!(refusal, datastream_server::store::Refused::Conflict { .. }), "{refusal:?}");
    assert_eq!(server.tool().get("a").await.as_deref(), Some("2"));
    commit(&store, Operation::put("b", "duration", "5s")).await;
    let store: Arc<dyn Store> = open(&server, "&poll=1h").await;
    assert_eq!(state(&store).await, [setting("a", "int", "2"), setting("b", "duration", "5s")]);
}
