//! Settings as an application declares them: key, type, default and description beside their use.
//!
//! There is no registry: an application that wants a list of its keys writes one, and the compiler checks it.

use datastream::key::{self, KeyError, shown};
use datastream::value::{self, Value, ValueError};

use crate::client::{Capability, Client};
use crate::error::CallError;
use crate::watch::{Watch, WatchOr};

/// A setting of the application: its key, its type, and the default that is read while it has no value.
///
/// ```
/// use std::time::Duration;
///
/// use datastream_client::{Client, Declared, Key};
///
/// const MAX: Key<i64> = Key::new("max_connections", 100).describe("how many may be open at once");
/// const NAME: Key<String> = Key::with("name", || "unnamed".to_owned());
/// const PATIENCE: Key<Duration> = Key::new("patience", Duration::from_secs(5));
///
/// /// All of them, to be compared with what the server has.
/// const DECLARED: &[&dyn Declared] = &[&MAX, &NAME, &PATIENCE];
///
/// let client = Client::connect("http://127.0.0.1:1");
/// let (max, name) = (client.watch(MAX), client.watch(NAME));
/// assert_eq!((max.get(), name.get().as_str()), (100, "unnamed"));
/// ```
#[derive(Clone, Debug)]
pub struct Key<T> {
    name: &'static str,
    default: Fallback<T>,
    description: &'static str,
}

/// A default, or how to make it: not every type has values in a constant.
#[derive(Clone)]
enum Fallback<T> {
    Is(T),
    Made(fn() -> T),
}

impl<T> std::fmt::Debug for Fallback<T> {
    /// Shows nothing of the default: it is a value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl<T> Key<T> {
    /// The setting `name`, with its default.
    #[must_use]
    pub const fn new(name: &'static str, default: T) -> Self {
        Self { name, default: Fallback::Is(default), description: "" }
    }

    /// The setting `name`, with a default that no constant can hold, such as a `String` or a `Vec`. It is made once
    /// for each handle.
    #[must_use]
    pub const fn with(name: &'static str, default: fn() -> T) -> Self {
        Self { name, default: Fallback::Made(default), description: "" }
    }

    /// The key, for calls that take text: `client.set(MAX.name(), 7)`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Says what the setting is for.
    #[must_use]
    pub const fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// The default.
    #[must_use]
    pub fn into_default(self) -> T {
        match self.default {
            Fallback::Is(value) => value,
            Fallback::Made(make) => make(),
        }
    }
}

/// A declared setting, whatever its type: for lists of them. Every [`Key`] is one.
pub trait Declared: Sync {
    /// The key.
    fn name(&self) -> &'static str;

    /// What the setting is for; empty if nobody said so.
    fn description(&self) -> &'static str;

    /// Whether its type reads values of this type.
    ///
    /// # Errors
    ///
    /// [`ValueError::UnknownType`] and [`ValueError::Unreadable`].
    fn reads(&self, value_type: &str) -> Result<(), ValueError>;
}

impl<T: Value> Declared for Key<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn reads(&self, value_type: &str) -> Result<(), ValueError> {
        value::reads::<T>(value_type)
    }
}

/// What [`Client::watch`] reads a setting as, which decides what its handle is: a type `T`, with [`Watch<T>`], or a
/// [`Key<T>`], with [`WatchOr<T>`].
///
/// It is implemented for every [`Value`] and every `Key`, and there is nothing else to implement it for.
pub trait Setting {
    /// The handle.
    type Handle;
}

impl<T: Value> Setting for T {
    type Handle = Watch<T>;
}

impl<T: Value> Setting for Key<T> {
    type Handle = WatchOr<T>;
}

/// What [`Client::watch`] takes: text names a setting of the type that the caller says, and a [`Key<T>`] names one
/// with its type and its default.
///
/// It is implemented for everything that is `AsRef<str>`, which a `Key` therefore is not, and for `Key<T>` and
/// `&Key<T>`; there is nothing else to implement it for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no setting of `{T}`",
    note = "`watch::<i64>(\"a/key\")` names the type, `watch(KEY)` takes it from a `Key`"
)]
pub trait Names<T: Setting> {
    /// Follows the setting.
    fn watch(self, client: &Client) -> T::Handle;
}

impl<T: Value, S: AsRef<str>> Names<T> for S {
    fn watch(self, client: &Client) -> Watch<T> {
        client.watch_text(self.as_ref())
    }
}

impl<T: Value> Names<Key<T>> for Key<T> {
    fn watch(self, client: &Client) -> WatchOr<T> {
        client.watch_text(self.name).or(self.into_default())
    }
}

impl<T: Value + Clone> Names<Key<T>> for &Key<T> {
    fn watch(self, client: &Client) -> WatchOr<T> {
        self.clone().watch(client)
    }
}

/// What is wrong with a declared setting; found by [`Client::check`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The server does not have it: the default is read.
    #[error("`{key}` does not exist")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// The server has it in a type that the declared one does not read: the default is read.
    #[error("`{key}` has another type")]
    WrongType {
        /// The key.
        key: &'static str,
        /// Which types.
        #[source]
        source: ValueError,
    },
    /// The declared name is no key: correct it.
    #[error("`{key}` is no key")]
    NotAKey {
        /// The name, escaped and cut.
        key: String,
        /// The rule that it breaks.
        #[source]
        source: KeyError,
    },
}

impl Client {
    /// Compares the settings that an application declares with those that the server has: an empty list is perfect.
    ///
    /// It speaks of keys and types as they are now, and not of values; a type that reads all types of the server can
    /// still refuse a value, as a `u8` does 256.
    ///
    /// # Errors
    ///
    /// As [`capabilities`](Self::capabilities), which it asks for. Cancel safe.
    ///
    /// ```no_run
    /// use datastream_client::{Client, Key};
    ///
    /// const MAX: Key<i64> = Key::new("max_connections", 100);
    /// const NAME: Key<String> = Key::with("name", || "unnamed".to_owned());
    ///
    /// # async fn start(client: Client) -> Result<(), datastream_client::CallError> {
    /// for mismatch in client.check(&[&MAX, &NAME]).await? {
    ///     eprintln!("{mismatch}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(&self, declared: &[&dyn Declared]) -> Result<Vec<Mismatch>, CallError> {
        let capabilities = self.capabilities().await?;
        Ok(declared.iter().filter_map(|setting| mismatch(*setting, &capabilities)).collect())
    }
}

/// What is wrong with a setting. The capabilities are in order.
fn mismatch(setting: &dyn Declared, capabilities: &[Capability]) -> Option<Mismatch> {
    let key = setting.name();
    if let Err(source) = key::check(key) {
        return Some(Mismatch::NotAKey { key: shown(key).to_string(), source });
    }
    match capabilities.binary_search_by(|capability| capability.key.as_str().cmp(key)) {
        Ok(at) => {
            let wrong = |source| Mismatch::WrongType { key, source };
            setting.reads(&capabilities[at].value_type).map_err(wrong).err()
        }
        Err(_) => Some(Mismatch::Missing { key }),
    }
}
