//! Whether a struct fits what a server has, before anything depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use datastream::key::{self, Selector, shown};
use datastream::value::{ValueError, ValueType};
use serde::de::DeserializeOwned;

use super::node::{Entry, Notes, some_text};
use super::{read_struct, with_slash};
use crate::client::{Capability, Client};
use crate::error::CallError;
use crate::snapshot::{Held, Snapshot, type_name};
use crate::status::Origin;

/// What does not fit between a struct and the keys that a server has: made by [`Client::check_binding`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindingCheck {
    /// The keys that do not exist although their fields have no default.
    pub missing: Vec<String>,
    /// The keys that their fields do not read, and why: another type, or a value that does not fit.
    pub refused: Vec<(String, ValueError)>,
    /// The keys that no field reads. They are ignored when the struct is bound.
    pub unknown: Vec<String>,
    /// Where the check had to stop: no value could be made up for this key, such as an address or a number that is not
    /// zero. What the struct has after it was not looked at, and `unknown` is empty.
    pub undecided: Option<String>,
}

impl BindingCheck {
    /// Whether the struct can be made of what is there, whatever else is there.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.refused.is_empty() && self.undecided.is_none()
    }
}

impl Client {
    /// Compares a struct with the keys and types that the server has below `prefix`: to be told at the start, and all at
    /// once, what [`bind`](Client::bind) would refuse.
    ///
    /// ```no_run
    /// use datastream_client::Client;
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Limits {
    ///     max_connections: u32,
    /// }
    ///
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::connect("http://127.0.0.1:8080");
    /// let limits = client.bind::<Limits>("limits/");
    /// limits.ready().await?;
    /// let check = client.check_binding::<Limits>("limits/").await?;
    /// assert!(check.is_good(), "{check:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Values that this client already follows are read as they are, so that it is worth to call it when the struct is
    /// bound and ready; of the others only the type is compared, and what is nested in a `json` is not known. The
    /// struct is read once for each problem, on the task of the caller. What `validate` would say is not asked.
    ///
    /// # Errors
    ///
    /// [`CallError::NotAKey`] if `prefix` is none, and those of [`capabilities`](Client::capabilities). Cancel safe.
    pub async fn check_binding<S: DeserializeOwned>(
        &self,
        prefix: impl AsRef<str>,
    ) -> Result<BindingCheck, CallError> {
        let prefix = with_slash(prefix.as_ref());
        let selector = Selector::parse(&prefix)
            .map_err(|source| CallError::NotAKey { key: shown(&prefix).to_string(), source })?;
        let capabilities = self.capabilities().await?;
        let below = capabilities.iter().filter(|capability| selector.matches(&capability.key));
        let snapshot = self.snapshot();
        let mut draft = Draft::default();
        below.for_each(|capability| draft.add(capability, &snapshot));
        Ok(draft.check::<S>(&prefix))
    }
}

/// What a struct is made of, where values are made up until it can be.
#[derive(Default)]
struct Draft {
    entries: BTreeMap<Arc<str>, Arc<Held>>,
    /// Of the entries, those of which only the type is known.
    typed: BTreeSet<Arc<str>>,
    notes: Notes,
    /// The keys that do not exist; of a struct itself and then of its fields.
    missing: BTreeSet<Arc<str>>,
    found: BindingCheck,
}

impl Draft {
    fn add(&mut self, capability: &Capability, snapshot: &Snapshot) {
        let key: Arc<str> = Arc::from(capability.key.as_str());
        let held = snapshot.held(&key).filter(|held| *held.value_type == *capability.value_type);
        let held = held.cloned().unwrap_or_else(|| {
            self.typed.insert(key.clone());
            let text = ValueType::named(&capability.value_type).map_or("", some_text);
            Arc::new(some_held(&capability.value_type, text))
        });
        self.entries.insert(key, held);
    }

    fn check<S: DeserializeOwned>(mut self, prefix: &str) -> BindingCheck {
        loop {
            let entries: Vec<Entry> = self.entries.clone().into_iter().collect();
            let read = || read_struct::<S>(prefix, &entries, &self.notes).map(drop);
            let read = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
                Err((prefix.to_owned(), ValueError::refused::<S>("its decoding panicked")))
            });
            match read {
                Ok(()) => {
                    let unknown = self.notes.unknown.take();
                    self.found.unknown = unknown.iter().map(|key| shown(key).to_string()).collect();
                    break;
                }
                Err((key, why)) => {
                    let is_whole = key == prefix;
                    if is_whole || key::check(key.trim_end_matches('/')).is_err() || !self.mend(&key, why) {
                        self.found.undecided = Some(shown(&key).to_string());
                        break;
                    }
                }
            }
        }
        // A struct that is missing as a whole is told by the keys of its fields.
        let is_leaf = |key: &&Arc<str>| !self.missing.iter().any(|other| is_below(other, key));
        self.found.missing = self.missing.iter().filter(is_leaf).map(|key| shown(key).to_string()).collect();
        self.found
    }

    /// Notes what is wrong with a key or a folder and makes its value up; `false` if that does not help.
    fn mend(&mut self, path: &str, why: ValueError) -> bool {
        let key: Arc<str> = Arc::from(path.trim_end_matches('/'));
        if self.notes.made_up.contains(&key) {
            return false;
        }
        let is_folder = path.ends_with('/');
        let is_of_its_type = matches!(why, ValueError::Unreadable { .. } | ValueError::UnknownType { .. });
        if !is_folder && !self.entries.contains_key(&key) {
            self.note_missing(&key);
        } else if is_folder || is_of_its_type || !self.typed.contains(&key) {
            self.found.refused.push((shown(path).to_string(), why));
        }
        if is_folder {
            self.entries.retain(|other, _| !is_below(other, &key));
        }
        self.entries.insert(key.clone(), Arc::new(some_held("", "")));
        self.notes.made_up.insert(key)
    }

    /// What is missing inside of a value that is only made up may be there in truth, unless that value is missing too.
    fn note_missing(&mut self, key: &Arc<str>) {
        let mut around = self.notes.made_up.iter().filter(|other| is_below(key, other));
        if around.all(|other| self.missing.contains(other)) {
            self.missing.insert(key.clone());
        }
    }
}

fn is_below(key: &str, other: &str) -> bool {
    key.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

fn some_held(value_type: &str, text: &'static str) -> Held {
    Held {
        value: Bytes::from_static(text.as_bytes()),
        value_type: type_name(value_type),
        revision: 0,
        origin: Origin::Live,
        below: None,
    }
}
