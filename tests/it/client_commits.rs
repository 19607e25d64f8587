//! Commits, updates and histories of a client, at a real server.

use std::sync::Arc;
use std::time::Duration;

use datastream_client::{CallError, Client, Limits, Seen};
use datastream_server::testing::TestServer;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::wire::{eventually, within};

#[tokio::test]
async fn a_refusal_names_the_key_and_where_it_is() {
    let server = TestServer::start().with("n", 1_i64);
    let client = Client::connect(server.url());
    let stale = client.commit().put("n", 2_i64).expect_revision("n", 99).send().await;
    assert!(matches!(&stale, Err(CallError::Conflict { key, revision: 2 }) if key == "n"), "{stale:?}");
    let nowhere = client.commit().put("new", 2_i64).expect_revision("new", 99).send().await;
    assert!(matches!(nowhere, Err(CallError::Conflict { revision: 0, .. })), "{nowhere:?}");
    let exists = client.commit().put("n", 2_i64).must_not_exist("n").send().await;
    assert!(matches!(&exists, Err(CallError::Exists { key, revision: 2 }) if key == "n"), "{exists:?}");
    let gone = client.commit().delete("gone").expect_revision("gone", 1).send().await;
    assert!(matches!(&gone, Err(CallError::NotFound { key }) if key == "gone"), "{gone:?}");
    let retyped = client.commit().put("n", "many".to_owned()).send().await;
    assert!(matches!(retyped, Err(CallError::TypeChange(_))), "{retyped:?}");
    let grammar = client.commit().put_text("n", "", "twenty").send().await;
    assert!(matches!(grammar, Err(CallError::Invalid(_))), "{grammar:?}");
    let retyped = client.commit().put("n", "many".to_owned()).retype("n").send().await;
    assert!(retyped.is_ok(), "{retyped:?}");
}

#[tokio::test]
async fn d03_d14_a_commit_with_a_deletion_is_seen_at_once_and_as_one() {
    let server = TestServer::start().with("a", 1_i64).with("b", 1_i64);
    let (writer, reader) = (Client::connect(server.url()), Client::connect(server.url()));
    let own = writer.watch::<i64>("a");
    let (a, b) = (reader.watch::<i64>("a"), reader.watch::<i64>("b"));
    for handle in [&own, &a, &b] {
        within("ready", handle.ready()).await.expect("the server has the key");
    }
    let written = writer.commit().delete("a").put("b", 2_i64).put("c", 3_i64).send();
    let written = within("the commit", written).await.expect("made");
    assert_eq!((written.seen, own.get()), (Seen::Applied, None), "it is seen where it was written");
    eventually("the other client has it", || {
        let snapshot = reader.snapshot();
        let both = (snapshot.get::<i64>("a"), snapshot.get::<i64>("b"));
        assert!(both == (Ok(Some(1)), Ok(Some(1))) || both == (Ok(None), Ok(Some(2))), "torn: {both:?}");
        both.0 == Ok(None)
    })
    .await;
    assert_eq!((a.get(), b.get()), (None, Some(2)));
    within("the deletion", writer.delete("b")).await.expect("deleted");
    eventually("b is gone", || b.get().is_none()).await;
}

#[tokio::test]
async fn d05_updates_of_many_clients_lose_nothing() {
    const CLIENTS: usize = 16;
    const EACH: i64 = 5;
    let server = TestServer::start();
    let limits = Limits::default().commit(Duration::from_secs(30));
    let count = |client: Client| async move {
        for _ in 0..EACH {
            let updated = client.update("n", |n: Option<i64>| Some(n.unwrap_or(0) + 1)).await;
            updated.expect("updated").expect("it is another value");
        }
    };
    let clients = (0..CLIENTS).map(|_| Client::builder(server.url()).limits(limits.clone()).connect());
    within("all updates", join_all(clients.map(count))).await;
    let n = Client::connect(server.url()).watch::<i64>("n");
    within("ready", n.ready()).await.expect("it exists");
    assert_eq!(n.get(), Some(CLIENTS as i64 * EACH));
}

#[tokio::test]
async fn a_commit_waits_for_a_server_that_restarts() {
    let mut server = TestServer::start().with("n", 1_i64);
    let client = Client::connect(server.url());
    client.set("n", 2_i64).await.expect("set");
    server.stop();
    let commit = tokio::spawn(client.commit().put("n", 3_i64).send());
    // The first attempt has failed once nobody is there.
    eventually("an attempt fails", || std::net::TcpStream::connect(address(&server)).is_err()).await;
    server.restart();
    within("the commit", commit).await.expect("no panic").expect("made");
}

fn address(server: &TestServer) -> String {
    server.url().trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn a_history_of_several_pages_has_every_change_once() {
    let server = TestServer::start();
    let client = Arc::new(Client::connect(server.url()));
    for batch in 0..3 {
        let commit =
            (0..500).fold(client.commit(), |commit, i| commit.put(format!("many/{i}"), batch * 1000 + i));
        commit.author("ann").message("a batch").send().await.expect("made");
    }
    client.set("other", 1_i64).await.expect("set");
    let all: Vec<_> = within("the history", client.history("many/").try_collect()).await.expect("read");
    assert_eq!(all.len(), 1500);
    assert!(all.is_sorted_by(|newer, older| newer.revision > older.revision));
    assert_eq!(all[0].get::<i64>(), Ok(Some(2499)));
    assert_eq!((&*all[0].author, &*all[0].message), ("ann", "a batch"));
    assert!(all[0].time.is_some() && all[0].position.is_some());
    let newest = client.history("").next().await.expect("there is one").expect("read");
    assert_eq!(newest.key, "other");
    let status = client.server_status().await.expect("it answers");
    assert_eq!((&*status.store, status.keys), ("memory", 501));
}
