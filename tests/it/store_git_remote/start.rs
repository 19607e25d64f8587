//! What can be wrong with a remote when a server starts.

use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::git::Repository;
use crate::git_http::{Answer, GitHttp, PASSWORD};
use crate::process::Server;
use crate::server_process::refused;
use crate::wire::{Wire, announced, eventually};

use super::Hosted;

/// What the program says that refuses to serve this: a line without a secret.
async fn told(store: String) -> String {
    let said = spawn_blocking(move || refused(&["--listen", "127.0.0.1:0", "--store", &store]));
    let said = said.await.expect("the program ends");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains(PASSWORD) && !said.contains("Authorization"), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_remote_is_one_line_with_a_remedy_and_exit_code_2() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let store = hosted.store("mirror", "timeout=20s");
    let another = told(store.replace("#main", "#another")).await;
    assert!(another.contains("\"another\"") && another.contains("(main)"), "{another}");
    let missing = told(store.replace("settings.git", "nothing.git").replace("/mirror", "/none")).await;
    assert!(missing.contains("no git repository") && missing.contains("git init --bare"), "{missing}");

    let remedy = ["does not let us in", "token_file=FILE", "DATASTREAM_GIT_TOKEN", "credential helper"];
    let stranger = hosted.host.store(&format!("mirror={}", hosted.repository.folder().join("m2").display()));
    hosted.host.set_password("another");
    for store in [&store, &stranger] {
        let denied = told(store.clone()).await;
        assert!(remedy.iter().all(|words| denied.contains(words)), "{denied}");
    }
    hosted.host.set_password(PASSWORD);

    let away = hosted.host.answering(Answer::Unavailable);
    let unavailable = told(store.clone()).await;
    assert!(unavailable.contains("cannot reach") && unavailable.contains("503"), "{unavailable}");
    drop(away);
    let held = hosted.host.answering(Answer::Held);
    let hung = told(store.replace("timeout=20s", "timeout=500ms")).await;
    assert!(hung.contains("cannot reach") && hung.contains("not ended within 500ms"), "{hung}");
    drop(held);
    hosted.host.go_away();
    let refused = told(store.clone()).await;
    assert!(refused.contains("cannot reach") && refused.contains("check the name, the port"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_remote_is_served_and_its_branch_made_by_the_first_push() {
    let repository = Repository::empty();
    let host = GitHttp::serve(repository.folder()).await;
    let token = repository.folder().join("token");
    std::fs::write(&token, PASSWORD).expect("a file");
    let mirror = repository.folder().join("mirror");
    let store = host.store(&format!("token_file={}&mirror={}&poll=200ms", token.display(), mirror.display()));
    let server = Server::start(&["--listen", "127.0.0.1:0", "--store", &store]);
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    assert_eq!(stream.delivery().await.to_string(), "State");
    wire.push_int("a", 1).await;
    assert_eq!(stream.delivery().await.to_string(), "Change a=1");
    assert_eq!(repository.git(&["show", "main:a"]), "1");
}

/// Symptom: a mirror is never fresh again. Cause: a git that was killed left a lock, and no fetch gets past it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_git_left_in_the_mirror_keeps_nobody_from_serving_it() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let store = hosted.store("mirror", "poll=100ms");
    drop(super::open(&store).await.expect("it can be served"));
    let mirror = hosted.repository.folder().join("mirror");
    for lock in ["refs/datastream/main.lock", "packed-refs.lock", "config.lock", "HEAD.lock"] {
        std::fs::write(mirror.join(lock), "").expect("a file");
    }
    hosted.repository.person().commit(&[("a", "2")]);
    let server = Server::start(&["--listen", "127.0.0.1:0", "--store", &store]);
    let client = datastream_client::Client::connect(server.url());
    let a = client.watch::<String>("a");
    eventually("it is fresh", || a.get().as_deref() == Some("2")).await;
    hosted.repository.person().commit(&[("a", "3")]);
    eventually("it stays fresh", || a.get().as_deref() == Some("3")).await;
    let is_young = || a.status().age.is_some_and(|age| age < Duration::from_secs(1));
    eventually("and says so", is_young).await;
}
