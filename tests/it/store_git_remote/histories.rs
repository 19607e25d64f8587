//! Another history is told, and a server that merely lags is none.

use std::time::Duration;

use datastream::proto::Phase;
use datastream_client::Client;
use datastream_server::store::Store as _;
use datastream_server::stores::git::{GitStore, OpenError};

use crate::git::{Person, Repository};
use crate::git_http::GitHttp;
use crate::mirror::Mirror;
use crate::wire::{Wire, announced, data, eventually, within};

use super::{Hosted, age, open, serve};

/// Puts a commit of its own in the place of all that is there.
fn rewrite(person: &Person, value: &str) {
    person.git(&["checkout", "-q", "--orphan", "anew"]);
    std::fs::write(person.folder().join("a"), value).expect("a file");
    person.force();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_is_rewritten_or_deleted_at_the_remote_is_a_reset_and_a_client_has_it() {
    let hosted = Hosted::holding(&[("a", "1"), ("b", "1")]).await;
    let person = hosted.repository.person();
    let (_store, server) = serve(&hosted.store("mirror", "poll=100ms")).await;
    let a = Client::connect(server.url()).watch::<String>("a");
    eventually("it is there", || a.get().as_deref() == Some("1")).await;
    let mut stream = Wire::to(&server.url()).await.subscribe(announced(["a"])).await;
    assert_eq!(stream.delivery().await.to_string(), "State a=1");
    rewrite(&person, "2");
    assert_eq!(stream.delivery().await.to_string(), "Reset a=2");
    eventually("the client has it", || a.get().as_deref() == Some("2")).await;

    hosted.repository.git(&["update-ref", "-d", "refs/heads/main"]);
    assert_eq!(stream.delivery().await.to_string(), "Reset");
    eventually("the client has none", || a.get().is_none()).await;
    person.git(&["push", "-q", "origin", "HEAD:main"]);
    assert_eq!(stream.delivery().await.phase, Phase::Change);
    eventually("the client has it again", || a.get().as_deref() == Some("2")).await;
}

/// Symptom: settings that were deleted come back after a restart. Cause: they are still in the mirror.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_was_deleted_does_not_come_back_from_the_mirror() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let store = hosted.store("mirror", "poll=1h");
    drop(reopen(&store).await.expect("it can be served"));
    hosted.repository.git(&["update-ref", "-d", "refs/heads/main"]);
    let after = reopen(&store).await.expect("it can be served");
    assert_eq!(after.load().await.expect("load").changes.len(), 0);
    drop(after);
    hosted.host.go_away();
    let refused = reopen(&store).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("cannot reach"), "{refused}");
}

/// Opens it as soon as the one before has let go of the mirror.
async fn reopen(store: &str) -> Result<GitStore, OpenError> {
    let opened = async {
        loop {
            match open(store).await {
                Err(OpenError::MirrorInUse(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                opened => return opened,
            }
        }
    };
    within("the mirror", opened).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_another_server_of_the_remote_makes_a_server_look_and_is_not_reset() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let (_fresh, fresh) = serve(&hosted.store("fresh", "poll=1h")).await;
    let (_late, late) = serve(&hosted.store("late", "poll=1h")).await;
    let (fresh, late) = (Wire::to(&fresh.url()).await, Wire::to(&late.url()).await);
    fresh.push(data("a", "string", "2")).await.expect("it is pushed");
    let mut mirror = Mirror::of(&["a"]);
    mirror.apply(fresh.subscribe(mirror.request()).await.next().await);
    let mut stream = late.subscribe(mirror.request()).await;
    let first = stream.next().await;
    assert_eq!((first.phase, &first.position), (Phase::Resume, &mirror.position), "{first}");
    late.push(data("a", "string", "3")).await.expect("it is pushed");
    mirror.apply(stream.delivery().await);
    assert_eq!((mirror.values()["a"], mirror.resets), (&b"3"[..], 0));
}

/// The late one cannot find out what the other knew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lags_and_cannot_look_does_not_reset_a_client_that_is_ahead() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let other = GitHttp::serve(hosted.repository.folder()).await;
    let (_fresh, fresh) = serve(&hosted.store("fresh", "poll=100ms")).await;
    let (_late, late) = serve(&hosted.through(&other, "late", "poll=100ms")).await;
    let late = Wire::to(&late.url()).await;
    other.go_away();
    let mut watch = late.subscribe(announced(["a"])).await;
    age(&mut watch).await;
    let fresh = Wire::to(&fresh.url()).await;
    fresh.push(data("a", "string", "2")).await.expect("it is pushed");
    let mut mirror = Mirror::of(&["a"]);
    mirror.apply(fresh.subscribe(mirror.request()).await.next().await);
    let refused = match late.try_subscribe(mirror.request()).await {
        Ok(mut stream) => stream.try_next().await.expect_err("it knows nothing of that"),
        Err(status) => status,
    };
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    other.come_back().await;
    let caught_up = async { while watch.delivery().await.data["a"].value != "2" {} };
    within("it catches up", caught_up).await;
    mirror.apply(late.subscribe(mirror.request()).await.next().await);
    assert_eq!((mirror.resumes, mirror.resets), (1, 0));
}

/// A merge of theirs into ours, and of ours into theirs: only one of the two keeps what was there as first parents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_takes_the_branch_as_its_second_parent_is_another_history() {
    let repository = Repository::holding(&[("a", "1")]);
    let (_store, server) = serve(&repository.remote("mirror")).await;
    let mut stream = Wire::to(&server.url()).await.subscribe(announced(["a", "b", "c"])).await;
    stream.delivery().await;
    let merge = |ours: &str| {
        let person = repository.person();
        person.git(&["checkout", "-q", "-b", "side", "origin/main"]);
        std::fs::write(person.folder().join(ours), "1").expect("a file");
        person.git(&["add", "-A"]);
        person.git(&["commit", "-q", "-m", "aside"]);
        person
    };
    let person = merge("b");
    repository.person().commit(&[("a", "2")]);
    assert_eq!(stream.delivery().await.to_string(), "Change a=2");
    person.git(&["fetch", "-q"]);
    person.git(&["checkout", "-q", "-B", "main", "origin/main"]);
    person.git(&["merge", "-q", "--no-ff", "-m", "theirs into ours", "side"]);
    person.git(&["push", "-q", "origin", "main"]);
    assert_eq!(stream.delivery().await.to_string(), "Change b=1");

    let person = merge("c");
    repository.person().commit(&[("a", "3")]);
    assert_eq!(stream.delivery().await.to_string(), "Change a=3");
    person.git(&["fetch", "-q"]);
    person.git(&["merge", "-q", "--no-ff", "-m", "ours into theirs", "origin/main"]);
    person.git(&["push", "-q", "origin", "side:main"]);
    assert_eq!(stream.delivery().await.to_string(), "Reset a=3 b=1 c=1");
}
