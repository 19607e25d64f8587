//! `set` and `del`.

use datastream_client::{CallError, Client, Commit};
use serde_json::json;

use crate::args::{Note, Set};
use crate::failure::{Code, Failure};
use crate::output::{Output, escaped};
use crate::reach;

pub(crate) async fn set(client: &Client, set: Set, output: &mut Output) -> Result<(), Failure> {
    let Set { key, value, value_type, expect, create, retype, note } = set;
    let is_typed = value_type.is_some();
    reach(client).await?;
    let mut commit = client.commit().put_text(&key, value_type.as_deref().unwrap_or_default(), value);
    if retype {
        commit = commit.retype(&key);
    }
    if create {
        commit = commit.must_not_exist(&key);
    }
    if let Some(revision) = expect {
        commit = commit.expect_revision(&key, revision);
    }
    let revision = match send(note.on(commit)).await {
        Err(CallError::Invalid(text)) if !is_typed && text.contains("value_type") => {
            let shown = escaped(&key, false);
            let text = format!("`{shown}` is new, and needs a type; say --type int, for example");
            return Err(Failure::new(Code::Use, text));
        }
        answer => answer?,
    };
    let text = format!("{} is set{}", escaped(&key, false), at(revision));
    output.done(&json!({ "key": key, "revision": revision }), &text)
}

pub(crate) async fn del(
    client: &Client,
    keys: &[String],
    note: Note,
    output: &mut Output,
) -> Result<(), Failure> {
    reach(client).await?;
    let commit = keys.iter().fold(client.commit(), |commit, key| commit.delete(key));
    let revision = send(note.on(commit)).await?;
    let shown: Vec<_> = keys.iter().map(|key| escaped(key, false)).collect();
    let text = format!("{} deleted{}", shown.join(", "), at(revision));
    output.done(&json!({ "keys": keys, "revision": revision }), &text)
}

/// Makes a commit, and returns its revision.
pub(crate) async fn send(commit: Commit) -> Result<Option<u64>, CallError> {
    let written = commit.send().await?;
    Ok(written.position.map(|position| position.revision))
}

fn at(revision: Option<u64>) -> String {
    revision.map(|revision| format!(", at revision {revision}")).unwrap_or_default()
}
