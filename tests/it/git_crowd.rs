//! A crowd on one branch: two servers, their clients, and a person who pushes. What they commit is one history, whatever
//! ends meanwhile.
//!
//! `DATASTREAM_COMMITS` and `DATASTREAM_ROUNDS` say how much is done; without them it is what the gate does.

mod killed;
mod one_history;

use std::collections::BTreeMap;

use datastream::proto::{CommitRequest, Operation};

use crate::git::Repository;

/// A commit with a name, which its message has too.
fn named(id: &str, operations: impl Into<Vec<Operation>>) -> CommitRequest {
    CommitRequest {
        operations: operations.into(),
        request_id: id.to_owned(),
        message: id.to_owned(),
        ..CommitRequest::default()
    }
}

/// How often each message is in the history of the branch.
fn messages(repository: &Repository) -> BTreeMap<String, usize> {
    let mut messages = BTreeMap::new();
    for message in repository.git(&["log", "--first-parent", "--format=%s", "main"]).lines() {
        *messages.entry(message.to_owned()).or_default() += 1;
    }
    messages
}

/// What the branch holds at its head, without the types.
fn files(repository: &Repository) -> BTreeMap<String, String> {
    let names = repository.git(&["ls-tree", "-r", "--name-only", "main"]);
    let names = names.lines().filter(|name| *name != ".datastream.toml");
    names.map(|name| (name.to_owned(), repository.git(&["show", &format!("main:{name}")]))).collect()
}
