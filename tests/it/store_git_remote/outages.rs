//! The remote goes away in every way, and comes back.

use std::time::{Duration, Instant};

use datastream_client::Client;
use tonic::Code;

use crate::git_http::Answer;
use crate::process::Server;
use crate::wire::{Wire, announced, data, eventually, within};

use super::{Hosted, age, is_fresh, serve};

/// How long a remote may take that does not answer. One that does must keep it too, on a machine that is busy.
const TIMEOUT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_is_away_is_served_from_the_mirror_with_an_age_also_by_a_server_that_starts() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let store = hosted.store("mirror", "poll=100ms");
    let flags = ["--listen", "127.0.0.1:0", "--heartbeat", "50ms", "--store", &store];
    let server = Server::start(&flags);
    let client = Client::connect(server.url());
    let a = client.watch::<String>("a");
    eventually("it is there", || a.get().as_deref() == Some("1")).await;
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    hosted.host.go_away();
    let gone = Instant::now();
    let old = Duration::from_millis(1500);
    within("an age that grows", async { while age(&mut stream).await < old {} }).await;
    eventually("the client knows it", || a.status().age.is_some_and(|age| age >= old)).await;
    assert_eq!(a.get().as_deref(), Some("1"));
    let refused = wire.push(data("a", "string", "2")).await.expect_err("nobody is there");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    server.kill();

    let server = Server::start(&flags);
    let wire = Wire::to(&server.url()).await;
    let least = gone.elapsed();
    let mut stream = wire.subscribe(announced(["a"])).await;
    let first = stream.delivery().await;
    assert_eq!(first.to_string(), "State a=1");
    let told = first.source_age.map(|age| Duration::try_from(age).expect("it is not negative"));
    assert!(told.is_some_and(|told| told >= least), "{told:?}, but it is away since {least:?}");
    hosted.repository.person().commit(&[("a", "3")]);
    hosted.host.come_back().await;
    assert_eq!(stream.delivery().await.to_string(), "Change a=3");
    is_fresh(&mut stream).await;
    wire.push(data("a", "string", "4")).await.expect("all is well");
    assert_eq!(hosted.repository.git(&["show", "main:a"]), "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_hangs_or_is_overloaded_refuses_pushes_in_time_and_heals() {
    for answer in [Answer::Held, Answer::Unavailable] {
        let hosted = Hosted::holding(&[("a", "1")]).await;
        let options = format!("poll=100ms&timeout={}s", TIMEOUT.as_secs());
        let (_store, server) = serve(&hosted.store("mirror", &options)).await;
        let wire = Wire::to(&server.url()).await;
        let mut stream = wire.subscribe(announced(["a"])).await;
        assert_eq!(stream.delivery().await.to_string(), "State a=1");
        let away = hosted.host.answering(answer);
        let refused = wire.push(data("a", "string", "2")).await.expect_err("no answer");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        let first = age(&mut stream).await;
        if answer == Answer::Held {
            assert!(
                first >= TIMEOUT,
                "{first:?}: it counts from the last contact, and not from when it was missed"
            );
        }
        drop(away);
        hosted.repository.person().commit(&[("a", "3")]);
        assert_eq!(stream.delivery().await.to_string(), "Change a=3", "{answer:?}");
        is_fresh(&mut stream).await;
        wire.push(data("a", "string", "4")).await.expect("all is well");
        assert_eq!(hosted.repository.commits(), 3);
    }
}

/// Nothing is written long after everybody has given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_whose_caller_gave_up_before_its_turn_is_never_made() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let (_store, server) = serve(&hosted.store("mirror", "poll=1h")).await;
    let wire = Wire::to(&server.url()).await;
    let held = hosted.host.answering(Answer::PushHeld);
    let first = tokio::spawn({
        let wire = wire.clone();
        async move { wire.push(data("first", "string", "1")).await }
    });
    eventually("the first is under way", || hosted.host.pushes_held() > 0).await;
    let waiting: Vec<_> = (0..5)
        .map(|number| {
            let mut service = wire.service();
            let mut request =
                tonic::Request::new(data(&format!("later/{number}"), "string", number.to_string()));
            request.set_timeout(Duration::from_millis(100));
            tokio::spawn(async move { service.push_update(request).await })
        })
        .collect();
    for push in waiting {
        push.await.expect("it does not panic").expect_err("it is not its turn");
    }
    drop(held);
    within("the first", first).await.expect("it does not panic").expect("it is made");
    wire.push(data("last", "string", "1")).await.expect("all is well");
    assert_eq!(
        hosted.repository.git(&["ls-tree", "-r", "--name-only", "main"]),
        ".datastream.toml\na\nfirst\nlast"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_was_made_before_the_connection_broke_is_acknowledged_and_made_once() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let (_store, server) = serve(&hosted.store("mirror", "poll=1h")).await;
    let wire = Wire::to(&server.url()).await;
    let cut = hosted.host.answering(Answer::PushCut);
    let client = Client::connect(server.url());
    client.set("a", "2".to_owned()).await.expect("it is found to be there");
    // The library below git tries once more by itself where a connection that was used before breaks.
    assert!(hosted.host.pushes_held() > 0);
    assert_eq!(hosted.repository.commits(), 2);
    drop(cut);
    let position = wire.push(data("a", "string", "3")).await.expect("all is well");
    assert_eq!((position.revision, hosted.repository.commits()), (4, 3));
}
