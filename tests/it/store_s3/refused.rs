//! What the program says when a bucket cannot be served, or not written.

use std::process::Command;

use datastream_server::store::{Commit, CommitError, Operation, StoreError};

use super::{commit, open, setting, state};
use crate::captured_log;
use crate::process::command;
use crate::s3::{KEY_ID, Manners, SECRET, Server};

/// The program, with these variables and no others of AWS.
fn with(store: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = command(&["--store", store, "--listen", "127.0.0.1:0"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    // Where nobody answers for an instance of a cloud.
    command.env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1");
    command.envs(variables.iter().copied());
    command
}

async fn refused(store: String, variables: &'static [(&'static str, &'static str)]) -> String {
    let asked = tokio::task::spawn_blocking(move || with(&store, variables).output().expect("it can be run"));
    let output = asked.await.expect("it ends");
    let said = String::from_utf8(output.stderr).expect("it writes UTF-8");
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(!said.contains(SECRET) && !said.contains("hush"), "{said}");
    said
}

const WITH_A_PASSWORD: &[(&str, &str)] =
    &[RIGHT[0], RIGHT[1], ("AWS_ENDPOINT_URL", "http://user:hush@127.0.0.1:1")];
const RIGHT: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_cannot_be_served_is_named_in_one_line_with_the_remedy() {
    let server = Server::start().await;
    let skewed = Server::with(Manners { is_skewed: true, ..Manners::default() }).await;
    let url = server.url("");
    let other = |from: &str, to: &str| url.replace(from, to);
    type Case = (String, &'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 10] = [
        (url.clone(), &[], "set AWS_ACCESS_KEY_ID"),
        (url.clone(), &[("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", SECRET)], "AWS_ACCESS_KEY_ID"),
        (
            url.clone(),
            &[("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", "x")],
            "AWS_SECRET_ACCESS_KEY",
        ),
        (other("s3://settings", "s3://absent"), RIGHT, "make the bucket"),
        (skewed.url(""), RIGHT, "the clock of this machine is wrong"),
        (other("http://", "https://"), RIGHT, "with http:// or https://"),
        ("s3://b?endpoint=http://127.0.0.1:1".to_owned(), RIGHT, "Connection refused"),
        ("s3://b?endpoint=http://s3.example".to_owned(), RIGHT, "not encrypted"),
        ("s3://b?endpoint=nonsense".to_owned(), RIGHT, "begins with https://"),
        ("s3://b".to_owned(), WITH_A_PASSWORD, "holds a user or a password"),
    ];
    for (store, variables, expected) in cases {
        let said = refused(store, variables).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(server.bucket.keys(), [""; 0], "nothing was written");
}

/// By what the environment says, as every tool for S3 takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_says_where_the_bucket_is() {
    let server = Server::start().await;
    server.bucket.plant("app/a", "1");
    let mut command = with("s3://settings/app?poll=100ms", RIGHT);
    command.env("AWS_ENDPOINT_URL", server.endpoint()).env("AWS_REGION", "eu-central-1");
    let program = tokio::task::spawn_blocking(move || crate::process::Server::spawn(command));
    let program = program.await.expect("it starts");
    let client = datastream_client::Client::connect(program.url());
    client.set("b", 5_i64).await.expect("a push");
    assert_eq!(server.tool().get("b").await.as_deref(), Some("5"));
    tokio::task::spawn_blocking(move || program.terminate()).await.expect("it ends");
}

/// Updates would be lost, and nobody would know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_ignores_conditions_is_served_for_reading() {
    captured_log::capture();
    let server = Server::with(Manners { keeps_conditions: false, ..Manners::default() }).await;
    server.bucket.plant("app/a", "1");
    let store = open(&server, "&poll=1h").await;
    let said = captured_log::lines_with(&server.endpoint());
    assert_eq!(said.iter().filter(|line| line.contains("If-None-Match is ignored")).count(), 1, "{said:?}");
    for operation in
        [Operation::put("a", "text/plain", "2"), Operation::put("b", "int", "1"), Operation::delete("a")]
    {
        let denied = store.commit(Commit::one(operation)).await;
        assert!(matches!(denied, Err(CommitError::Store(StoreError::ReadOnly(_)))), "{denied:?}");
    }
    server.tool().put("a", None, "3").await;
    assert_eq!(state(&store).await, [setting("a", "text/plain", "3")]);
    assert_eq!(server.bucket.keys(), ["app/a"], "the probe leaves nothing");
}

/// A delete could remove what another server has just written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_deletes_know_no_condition_they_are_refused() {
    let server = Server::with(Manners { keeps_those_of_deletes: false, ..Manners::default() }).await;
    let store = open(&server, "&poll=1h").await;
    commit(&store, Operation::put("a", "int", "1")).await;
    let denied = store.commit(Commit::one(Operation::delete("a"))).await;
    assert!(matches!(denied, Err(CommitError::Store(StoreError::ReadOnly(_)))), "{denied:?}");
    commit(&store, Operation::delete("absent")).await;
    assert_eq!(state(&store).await, [setting("a", "int", "1")]);
    server.tool().delete("a").await;
    assert_eq!(state(&store).await, []);
}
