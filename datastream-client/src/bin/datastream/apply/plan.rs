//! What is to become of each key: what is shown is what is committed.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use datastream::key::{Selector, shown as shown_key};
use datastream::limit;
use datastream::value::same_type;
use datastream_client::{BadCommit, CallError, Client, Commit, Snapshot, Unavailable};
use serde_json::{Value, json};

use crate::entry::{Entry, json_value, shown};
use crate::failure::Failure;
use crate::file::Wanted;
use crate::misuse;
use crate::output::Record;

/// The steps, in the order of their keys.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

/// A key, what it holds, and what it is to hold.
pub(super) struct Step {
    key: String,
    now: Option<Entry>,
    wanted: Option<Wanted>,
}

impl Plan {
    /// Compares what is wanted with one state of the server.
    pub(super) async fn make(
        client: &Client,
        mut wanted: BTreeMap<String, Wanted>,
        prune: Option<&str>,
    ) -> Result<Self, Failure> {
        if wanted.len() > limit::OPERATIONS {
            return Err(CallError::from(BadCommit::TooMany { count: wanted.len() }).into());
        }
        let snapshot = read(client, &wanted, prune).await?;
        let below = |key: &&str| prune.is_some_and(|prefix| key.starts_with(prefix));
        let mut keys: HashSet<String> = snapshot.keys().filter(below).map(str::to_owned).collect();
        keys.extend(wanted.keys().cloned());
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort();
        let step = |key: String| Step { now: Entry::held(&snapshot, &key), wanted: wanted.remove(&key), key };
        Ok(Self { steps: keys.into_iter().map(step).collect() })
    }

    pub(super) fn changes(&self) -> usize {
        self.steps.iter().filter(|step| step.change() != Change::Same).count()
    }

    /// The keys whose type is to change.
    pub(super) fn retyped(&self) -> impl Iterator<Item = String> {
        self.steps.iter().filter(|step| step.is_retyped()).map(|step| shown_key(&step.key).to_string())
    }

    /// The commit that does it, if nobody has written any of the keys meanwhile.
    pub(super) fn commit(self: &Plan, client: &Client) -> Commit {
        let changes = self.steps.iter().filter(|step| step.change() != Change::Same);
        changes.fold(client.commit(), |commit, step| {
            let revision = step.now.as_ref().map_or(0, |now| now.revision);
            let commit = commit.expect_revision(&step.key, revision);
            let Some(wanted) = &step.wanted else { return commit.delete(&step.key) };
            let commit = commit.put_text(&step.key, &wanted.value_type, wanted.text.clone());
            if step.is_retyped() { commit.retype(&step.key) } else { commit }
        })
    }
}

/// One state that has all that the plan speaks of.
async fn read(
    client: &Client,
    wanted: &BTreeMap<String, Wanted>,
    prune: Option<&str>,
) -> Result<std::sync::Arc<Snapshot>, Failure> {
    let below = prune.map(|prefix| match Selector::parse(prefix) {
        Ok(Selector::Prefix(prefix)) => Ok(client.watch_prefix::<Bytes>(&*prefix)),
        Ok(Selector::Key(_)) => Err(misuse("--prune takes a prefix with its trailing slash, such as pool/")),
        Err(error) => Err(misuse(format!("--prune: `{}` is no prefix: {error}", shown_key(prefix)))),
    });
    let below = below.transpose()?;
    let handles: Vec<_> = wanted.keys().map(|key| client.watch::<Bytes>(key)).collect();
    for handle in &handles {
        match handle.ready().await {
            Ok(()) | Err(Unavailable::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(below) = &below {
        below.ready().await?;
    }
    Ok(client.snapshot())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    New,
    Changed,
    Same,
    Deleted,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Same => "same",
            Self::Deleted => "deleted",
        }
    }
}

impl Step {
    fn change(&self) -> Change {
        match (&self.now, &self.wanted) {
            (None, _) => Change::New,
            (Some(_), None) => Change::Deleted,
            (Some(now), Some(wanted)) => {
                let is_same = now.value.as_deref() == Some(&*wanted.text) && !self.is_retyped();
                if is_same { Change::Same } else { Change::Changed }
            }
        }
    }

    fn is_retyped(&self) -> bool {
        let types = self.now.as_ref().zip(self.wanted.as_ref());
        types.is_some_and(|(now, wanted)| !same_type(&now.value_type, &wanted.value_type))
    }

    fn value_type(&self) -> String {
        let now = self.now.as_ref().map(|now| now.value_type.as_str());
        let wanted = self.wanted.as_ref().map(|wanted| wanted.value_type.as_str());
        match (now, wanted) {
            (Some(now), Some(wanted)) if self.is_retyped() => format!("{now} -> {wanted}"),
            _ => wanted.or(now).unwrap_or_default().to_owned(),
        }
    }
}

impl Record for Step {
    const COLUMNS: &'static [&'static str] = &["CHANGE", "KEY", "TYPE", "NOW", "WANTED"];

    fn cells(&self) -> Vec<String> {
        let now = self.now.as_ref().map(|now| shown(now.value.as_deref())).unwrap_or_default();
        let wanted = self.wanted.as_ref().map(|wanted| shown(Some(&wanted.text))).unwrap_or_default();
        vec![self.change().name().to_owned(), self.key.clone(), self.value_type(), now, wanted]
    }

    fn json(&self) -> Value {
        let now = self.now.as_ref().map(|now| json_value(&now.value_type, now.value.as_deref()));
        let wanted = self.wanted.as_ref().map(|wanted| json_value(&wanted.value_type, Some(&wanted.text)));
        json!({
            "change": self.change().name(),
            "key": self.key,
            "now": now,
            "now_type": self.now.as_ref().map(|now| &now.value_type),
            "wanted": wanted,
            "wanted_type": self.wanted.as_ref().map(|wanted| &wanted.value_type),
        })
    }
}
