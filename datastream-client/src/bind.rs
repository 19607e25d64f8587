//! A whole struct, read from the keys below a prefix.

mod check;
mod deserializer;
mod error;
mod node;

use std::convert::Infallible;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use datastream::key::{self, Selector, shown};
use datastream::value::ValueError;
use serde::de::DeserializeOwned;

use crate::cell::{Cell, Source, selector};
use crate::client::Client;
use crate::error::Unavailable;
use crate::session::Changed;
use crate::snapshot::Snapshot;
use crate::status::Refusal;
use crate::watch::Watch;
pub use check::BindingCheck;
use node::{Entry, Node, Notes};

impl Client {
    /// Follows the keys below `prefix` as one struct: every field is from the same position, and all of them change
    /// together or not at all.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use datastream_client::Client;
    /// use serde::Deserialize;
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Limits {
    ///     max_connections: u32,      // limits/max_connections, an int
    ///     #[serde(default)]
    ///     timeout: Duration,         // limits/timeout, a duration
    ///     retries: Option<u8>,       // limits/retries, if there is one
    ///     pool: Pool,                // limits/pool/...
    /// }
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Pool {
    ///     size: u16,                 // limits/pool/size
    /// }
    ///
    /// let limits = Client::connect("http://127.0.0.1:8080").bind::<Limits>("limits/");
    /// if let Some(limits) = limits.load().as_ref() {
    ///     let _ = (limits.max_connections, limits.pool.size);
    /// }
    /// ```
    ///
    /// The handle is read and waited for as that of one key; each call makes one that decodes for itself, and its
    /// clones share what is decoded. The `/` at the end of the prefix may be left out.
    ///
    /// # How a struct is read
    ///
    /// A field is the key of its name, and `/` is nesting: a struct or a map in the struct is a folder, or one value
    /// of the type `json`. The attributes of serde hold. Numbers, `bool`, `String` and bytes are read as
    /// [`Value`](crate::Value) says, so an integer that does not fit is refused and never cut; then:
    ///
    /// | a field of | reads |
    /// |---|---|
    /// | `Option` | its type; `None` if there is no such key, or it is the JSON `null` |
    /// | `Duration`, `SystemTime` | duration, timestamp (not before 1970) |
    /// | `Vec`, a tuple, an array | json; of `u8` also bytes |
    /// | an enumeration | string, json, or a folder with one entry, the name of the variant |
    ///
    /// What asks for no type (`flatten`, `untagged`, `serde_json::Value`) gets what there is: an integer, a float, a
    /// bool, a string, what the JSON says, bytes, and a map of seconds and nanoseconds for a length or point in time.
    ///
    /// A key that no field reads is ignored and [counted](crate::Status::unknown_keys); where there is a `flatten`,
    /// serde takes all of them, and none is counted. A key beside a folder of the same name, `a` and `a/b`, is refused
    /// if there is a field `a`: neither could be preferred without a surprise. If there are no keys at all, the struct
    /// is made of its defaults, if each field has one.
    ///
    /// A state of which no struct can be made is refused as a whole, and the last good struct stays: the
    /// [refusal](crate::Status::refusal) names the key and the rule, never the value. In a `flatten` serde forgets
    /// which key it was: then the prefix is named. Until that key is put right no other field changes either: a setting
    /// that must not be held up by others has a handle of its own.
    ///
    /// # Cost
    ///
    /// Each change below the prefix reads all of its keys again, on the task of the client; `Deserialize` has to be pure
    /// and quick, and a panic in it is a refusal. A server of the [original](crate::Peer::Original) cannot say that a
    /// prefix is whole: with one, the handle never becomes ready.
    #[must_use]
    pub fn bind<S>(&self, prefix: impl AsRef<str>) -> Watch<S>
    where
        S: DeserializeOwned + Send + Sync + 'static,
    {
        self.bind_validated(prefix, |_| Ok::<_, Infallible>(()))
    }

    /// As [`bind`](Self::bind), with rules of the application: a struct is shown only if `validate` takes it.
    ///
    /// ```
    /// use datastream_client::Client;
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Range {
    ///     min: i64,
    ///     max: i64,
    /// }
    ///
    /// let range = Client::connect("http://127.0.0.1:8080").bind_validated("range/", |range: &Range| {
    ///     if range.min <= range.max { Ok(()) } else { Err("min is at most max") }
    /// });
    /// assert!(range.load().as_ref().is_none(), "nothing is known before the server has answered");
    /// ```
    ///
    /// `validate` runs on the task of the client: let it be pure and quick. A panic in it is a refusal. What its error
    /// says reaches the log and the status, so let it say the rule and not the value.
    #[must_use]
    pub fn bind_validated<S, E>(
        &self,
        prefix: impl AsRef<str>,
        validate: impl Fn(&S) -> Result<(), E> + Send + Sync + 'static,
    ) -> Watch<S>
    where
        S: DeserializeOwned + Send + Sync + 'static,
        E: Display,
    {
        let validate =
            move |value: &S| validate(value).map_err(|rule| ValueError::refused::<S>(rule.to_string()));
        self.watch_below(prefix.as_ref(), Binding { validate: Box::new(validate), read: Mutex::default() })
    }

    /// The handle of what `source` reads below `prefix`.
    pub(crate) fn watch_below<T>(&self, prefix: &str, source: impl Source<T> + 'static) -> Watch<T>
    where
        T: Send + Sync + 'static,
    {
        let text = with_slash(prefix);
        let commands = self.inner.commands.clone();
        let cell = match Selector::parse(&text) {
            Ok(prefix) => {
                let cell = Arc::new(Cell::new(Arc::from(prefix.as_str()), source, Some(commands)));
                self.inner.shared.add(&cell, &self.inner.commands);
                self.inner.attend();
                cell
            }
            Err(rule) => {
                let cell = Arc::new(Cell::new(Arc::from(text), source, None));
                cell.absent(Unavailable::NotAKey { key: shown(prefix).to_string(), source: rule });
                self.inner.shared.note_unfollowed(&cell);
                cell
            }
        };
        Watch::new(cell, Some(self.inner.clone()))
    }
}

type Validate<S> = Box<dyn Fn(&S) -> Result<(), ValueError> + Send + Sync>;

/// How a struct is made of the keys below a prefix.
struct Binding<S> {
    validate: Validate<S>,
    /// What was read last, well or not. Only the worker looks at it.
    read: Mutex<Option<Vec<Entry>>>,
}

impl<S: DeserializeOwned + Send + Sync> Source<S> for Binding<S> {
    fn offer(&self, cell: &Cell<S>, snapshot: &Snapshot, _: &Changed) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !snapshot.covers(&cell.key) {
            if cell.unknown() {
                *read = None;
            }
            return; // The prefix is still to be joined.
        }
        if snapshot.denies(&cell.key) {
            *read = None;
            return cell.absent(Unavailable::Denied { key: shown(&cell.key).to_string() });
        }
        let entries = entries_below(&cell.key, snapshot);
        let (revision, origin) = (snapshot.known_revision(), snapshot.origin_below(&cell.key));
        if let Some(before) = read.as_ref().filter(|read| are_same(read, &entries)) {
            let report = cell.report.load();
            if report.refusal.is_none() && (*before != entries || report.origin != origin) {
                cell.restamp(|report| (report.revision, report.origin) = (revision, origin));
            }
            *read = Some(entries);
            return;
        }
        match self.decode(&cell.key, &entries) {
            Ok((value, unknown_keys)) => cell.accept(value, |report| {
                (report.revision, report.origin) = (revision, origin);
                report.unknown_keys = unknown_keys;
            }),
            Err((key, error)) => {
                cell.refuse(Refusal::log(&key, revision.unwrap_or_default(), error));
            }
        }
        *read = Some(entries);
    }
}

impl<S: DeserializeOwned> Binding<S> {
    /// The struct, and how many keys it does not read; or the key that is wrong, and why.
    fn decode(&self, prefix: &str, entries: &[Entry]) -> Result<(S, usize), (String, ValueError)> {
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let notes = Notes::default();
            let value = read_struct::<S>(prefix, entries, &notes)?;
            (self.validate)(&value).map_err(|error| (prefix.to_owned(), error))?;
            Ok((value, notes.unknown.take().len()))
        }));
        decoded.unwrap_or_else(|_| {
            Err((prefix.to_owned(), ValueError::refused::<S>("its decoding or validation panicked")))
        })
    }
}

/// Makes a struct of the keys below a prefix; says which it is that is wrong, and why.
///
/// Keys that break the grammar are unknown ones: only a server that breaks the contract sends them, and their depth
/// would have no bound.
fn read_struct<S: DeserializeOwned>(
    prefix: &str,
    entries: &[Entry],
    notes: &Notes,
) -> Result<S, (String, ValueError)> {
    let (keys, broken): (Vec<Entry>, _) =
        entries.iter().cloned().partition(|(key, _)| key::check(key).is_ok());
    notes.unknown.replace(broken.into_iter().map(|(key, _)| key).collect());
    S::deserialize(Node::root(prefix, &keys, notes)).map_err(|error| error.at(prefix).of::<S>())
}

fn entries_below(prefix: &Arc<str>, snapshot: &Snapshot) -> Vec<Entry> {
    let prefix = selector(prefix);
    snapshot.held_by(&prefix).map(|(key, held)| (key.clone(), held.clone())).collect()
}

/// Whether they are the same keys with the same values, at whatever revision.
fn are_same(before: &[Entry], after: &[Entry]) -> bool {
    let is_same = |((key, held), (other, value)): (&Entry, &Entry)| key == other && held.has_text_of(value);
    before.len() == after.len() && before.iter().zip(after).all(is_same)
}

fn with_slash(prefix: &str) -> String {
    format!("{}/", prefix.strip_suffix('/').unwrap_or(prefix))
}
