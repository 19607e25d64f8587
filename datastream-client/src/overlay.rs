//! Overrides: what the operator of one application puts in place of what the server says, until it is taken away.
//!
//! An overlay over the live state, never a part of it: the session does not know of it, and it reaches no cache file.
//! It has a file, which is looked at each second, and the environment, which is read once; the file wins.

mod environment;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream::key::shown;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::cache::Unfit;
use crate::snapshot::{Held, Snapshot, type_name};
use crate::status::Origin;
use environment::Environment;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Overrides, by their keys.
type Values = BTreeMap<Arc<str>, Held>;

/// What was found in the place of the file; `None`: nothing.
type Found = Result<Option<Vec<u8>>, Unfit>;

/// The overrides of one client.
#[derive(Default)]
pub(crate) struct Overlay {
    path: Option<PathBuf>,
    environment: Environment,
    from_file: Values,
    from_environment: Values,
    /// What the file held when it was looked at last.
    seen: Option<Vec<u8>>,
    is_unreadable: bool,
    looking: Option<JoinHandle<Found>>,
    look_at: Option<Instant>,
}

impl Overlay {
    /// Overrides from a file, and from variables of the environment.
    pub(crate) fn new(path: Option<PathBuf>, use_environment: bool) -> Self {
        let environment = if use_environment { Environment::read() } else { Environment::default() };
        Self { path, environment, ..Self::default() }
    }

    /// `state` with the overrides of those keys that are asked for.
    pub(crate) fn over(&self, state: &Arc<Snapshot>, follows: impl Fn(&str) -> bool) -> Arc<Snapshot> {
        let weaker = self.from_environment.iter().filter(|(key, _)| !self.from_file.contains_key(*key));
        let mut overrides = weaker.chain(&self.from_file).filter(|(key, _)| follows(key)).peekable();
        if overrides.peek().is_none() {
            return state.clone();
        }
        let mut shown = Snapshot::clone(state);
        overrides.for_each(|(key, held)| shown.lay_over(key, held));
        Arc::new(shown)
    }

    /// Whether `key`, or anything below it if it is a prefix, is overridden.
    pub(crate) fn has(&self, key: &str) -> bool {
        let asks_for = |found: &str| found == key || (key.ends_with('/') && found.starts_with(key));
        let first = |values: &Values| {
            let mut from = values.range::<str, _>((Bound::Included(key), Bound::Unbounded));
            from.next().is_some_and(|(found, _)| asks_for(found))
        };
        first(&self.from_file) || first(&self.from_environment)
    }

    /// Learns of a key, which the environment may name: variables cannot be told to be keys.
    pub(crate) fn meet(&mut self, key: &Arc<str>) {
        if self.from_environment.contains_key(key) {
            return;
        }
        if let Some(text) = self.environment.get(key) {
            begins(key, "the environment");
            self.from_environment.insert(key.clone(), text_of(text));
        }
    }

    /// Learns of the keys of a state.
    pub(crate) fn meet_all<'a>(&mut self, keys: impl IntoIterator<Item = &'a Arc<str>>) {
        if !self.environment.is_empty() {
            keys.into_iter().for_each(|key| self.meet(key));
        }
    }

    /// Reads the file for the first time.
    pub(crate) async fn begin(&mut self) {
        self.look_at = self.path.as_ref().map(|_| Instant::now());
        if self.path.is_some() {
            self.look().await;
        }
    }

    /// Waits until the file has other overrides, and returns their keys. Without a file it waits for ever. Cancel
    /// safe.
    pub(crate) async fn changed(&mut self) -> BTreeSet<Arc<str>> {
        loop {
            let changed = self.look().await;
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    async fn look(&mut self) -> BTreeSet<Arc<str>> {
        let (Some(path), Some(look_at)) = (&self.path, self.look_at) else {
            return std::future::pending().await;
        };
        if self.looking.is_none() {
            sleep_until(look_at).await;
            let path = path.clone();
            self.looking = Some(spawn_blocking(move || file::read(&path)));
        }
        let Some(looking) = &mut self.looking else { return BTreeSet::new() };
        let found = looking.await;
        self.looking = None;
        self.look_at = Some(Instant::now() + LOOK);
        // The runtime ended: what is there is found at the next look.
        found.map(|found| self.find(found)).unwrap_or_default()
    }

    /// Takes over what was found. What cannot be used leaves the overrides as they were.
    fn find(&mut self, found: Found) -> BTreeSet<Arc<str>> {
        let path = self.path.as_deref().unwrap_or("".as_ref()).display();
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                if !std::mem::replace(&mut self.is_unreadable, true) {
                    tracing::warn!(%path, %why, "the file of overrides is not used");
                }
                return BTreeSet::new();
            }
        };
        self.is_unreadable = false;
        if self.seen == found {
            return BTreeSet::new();
        }
        let values = found.as_ref().map_or_else(|| Ok(Values::new()), |bytes| file::parse(bytes));
        self.seen = found;
        match values {
            Ok(values) => self.replace(values),
            Err(error) => {
                tracing::warn!(%path, %error, "the file of overrides is not used");
                BTreeSet::new()
            }
        }
    }

    fn replace(&mut self, values: Values) -> BTreeSet<Arc<str>> {
        let before = std::mem::replace(&mut self.from_file, values);
        let after = &self.from_file;
        let ended: Vec<_> = before.keys().filter(|key| !after.contains_key(*key)).cloned().collect();
        let begun = after.iter().filter(|(key, held)| before.get(*key) != Some(*held));
        let begun: Vec<_> = begun.map(|(key, _)| key.clone()).collect();
        ended.iter().for_each(|key| tracing::warn!(key = %shown(key), "an override ends"));
        begun.iter().for_each(|key| begins(key, "the file of overrides"));
        ended.into_iter().chain(begun).collect()
    }
}

fn begins(key: &str, from: &str) {
    tracing::warn!(key = %shown(key), from, "an override replaces what the server says");
}

/// An override.
fn held(value_type: &str, text: String) -> Held {
    Held {
        value: Bytes::from(text),
        value_type: type_name(value_type),
        revision: 0,
        origin: Origin::Override,
        below: None,
    }
}

/// A text of which the reader knows the type.
fn text_of(text: &str) -> Held {
    held("text/plain", text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay() -> Overlay {
        let variable = |name: &str, text: &str| (format!("DATASTREAM_OVERRIDE_{name}"), text.to_owned());
        let environment = Environment::of([variable("A", "1"), variable("P__X", "2"), variable("BOTH", "3")]);
        let from_file = Values::from([(Arc::from("both"), held("int", "4".to_owned()))]);
        Overlay { environment, from_file, ..Overlay::default() }
    }

    fn shown(overlay: &Overlay, asks_for: impl Fn(&str) -> bool) -> Vec<(String, Option<i64>)> {
        let shown = overlay.over(&Arc::default(), asks_for);
        let value = |key: &str| (key.to_owned(), shown.get(key).expect("it is a number"));
        shown.keys().map(value).collect()
    }

    #[test]
    fn a_variable_overrides_the_key_that_is_met_and_the_file_wins() {
        let mut overlay = overlay();
        let keys = ["a", "p/x", "both", "other"].map(Arc::from);
        overlay.meet_all(&keys);
        let expected = [("a", 1), ("both", 4), ("p/x", 2)].map(|(key, value)| (key.to_owned(), Some(value)));
        assert_eq!(shown(&overlay, |_| true), expected);
        assert_eq!(shown(&overlay, |key| key == "both"), expected[1..2], "only what is asked for");
        assert!(overlay.has("p/x") && overlay.has("p/") && !overlay.has("other") && !overlay.has("p"));
    }

    #[test]
    fn without_an_override_the_state_is_the_same_one() {
        let state = Arc::new(Snapshot::default());
        assert!(Arc::ptr_eq(&state, &overlay().over(&state, |_| false)));
    }
}
