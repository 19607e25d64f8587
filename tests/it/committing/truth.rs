//! What was committed, for those who must hold nothing else.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::watch;

use crate::wire::within;

/// How many states are remembered: far more than pass while a client checks one.
const REMEMBERED: usize = 20_000;

/// The keys that one writer alone writes, one commit after the other.
#[derive(Debug, Default)]
pub(super) struct Truth(watch::Sender<States>);

#[derive(Debug, Default)]
struct States {
    now: BTreeMap<String, String>,
    /// A digest of the values after each commit, by its last revision.
    digests: BTreeMap<u64, u64>,
}

impl Truth {
    /// Notes a commit that was answered: what it put, and what it deleted.
    pub(super) fn note(&self, revision: u64, changes: impl IntoIterator<Item = (String, Option<String>)>) {
        self.0.send_modify(|states| {
            for (key, value) in changes {
                match value {
                    Some(value) => drop(states.now.insert(key, value)),
                    None => drop(states.now.remove(&key)),
                }
            }
            let digest = digest(states.now.iter().map(|(key, value)| (&**key, value.as_bytes())));
            if let Some((_, before)) = states.digests.last_key_value().filter(|(last, _)| **last >= revision)
            {
                assert_eq!(digest, *before, "only a commit of nothing ends at an earlier one: {revision}");
                return;
            }
            states.digests.insert(revision, digest);
            if states.digests.len() > REMEMBERED {
                states.digests.pop_first();
            }
        });
    }

    /// Checks that these values, in order of their keys, are what was there at `revision`. That is known when the writer
    /// has made a later commit, for which this waits.
    pub(super) async fn check<'a>(&self, revision: u64, values: impl Iterator<Item = (&'a str, &'a [u8])>) {
        let held = digest(values);
        let mut states = self.0.subscribe();
        let later =
            |states: &States| states.digests.last_key_value().is_some_and(|(last, _)| *last > revision);
        let states = within("a later commit", states.wait_for(later)).await.expect("it is kept");
        let before = states.digests.range(..=revision).next_back().map(|(_, digest)| *digest);
        let is_begin = states.digests.first_key_value().is_some_and(|(first, _)| *first > revision);
        assert!(!is_begin || states.digests.len() < REMEMBERED, "too long ago to be checked");
        let expected = before.unwrap_or_else(|| digest(std::iter::empty()));
        assert_eq!(held, expected, "what is held at {revision} is not what was committed");
    }
}

fn digest<'a>(values: impl Iterator<Item = (&'a str, &'a [u8])>) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.for_each(|entry| entry.hash(&mut hasher));
    hasher.finish()
}
