//! A client without a server, for the tests of applications.

mod commit;

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use datastream::key::{self, KeySet};
use datastream::position::Position;
use datastream::proto::{Capability, Data, DataRequest, DataResponse, ListCapabilitiesResponse};
use datastream::value::{self, Value, ValueError};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::cache::WriteError;
use crate::client::{Client, Inner};
use crate::config::Limits;
use crate::error::{CallError, Disconnect};
use crate::session::{Changed, Link};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::status::Peer;
use crate::worker::Command;

/// A client whose settings are what a test says: by [`Client::fixed`].
///
/// It is a [`Client`] in all that can be asked of one, and gives the same handles. There is no network, no task and no
/// clock in it, so it needs no runtime, and a change is seen as soon as [`set`](Self::set) returns. The writes of
/// [`Client`], commits with their conditions among them, do what a server would do; it has no
/// [history](Client::history) and no [status of a server](Client::server_status). Nothing of it is
/// shared with any other. Clones are the same client.
#[derive(Clone, Debug)]
pub struct Fixed {
    client: Client,
}

/// A value for [`Client::fixed`], made of any type that is a [`Value`]: `10_i64.into()`.
pub struct FixedValue {
    value_type: &'static str,
    text: Result<Bytes, ValueError>,
}

impl<T: Value> From<T> for FixedValue {
    fn from(value: T) -> Self {
        Self { value_type: T::WRITES.name(), text: value::encode(&value) }
    }
}

impl std::fmt::Debug for FixedValue {
    /// Shows the type; a value never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FixedValue").field("value_type", &self.value_type).finish_non_exhaustive()
    }
}

impl Client {
    /// A client without a server that holds these settings, for the tests of code that takes one.
    ///
    /// # Panics
    ///
    /// As [`Fixed::set`].
    ///
    /// ```
    /// use datastream_client::{Client, Origin};
    ///
    /// let settings = Client::fixed([("max_connections", 10_i64.into()), ("name", "x".to_owned().into())]);
    /// let max = settings.watch::<i64>("max_connections");
    /// assert_eq!((max.get(), max.status().origin), (Some(10), Origin::Fixed));
    ///
    /// settings.set("max_connections", 20_i64);
    /// assert_eq!(max.get(), Some(20));
    /// settings.delete("max_connections");
    /// assert_eq!(max.get(), None);
    /// ```
    #[must_use]
    pub fn fixed<K: AsRef<str>>(values: impl IntoIterator<Item = (K, FixedValue)>) -> Fixed {
        let (commands, received) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new());
        let desk = Some(Desk::new(received));
        let fixed = Fixed {
            client: Self { inner: Arc::new(Inner { shared, commands, limits: Limits::default(), desk }) },
        };
        fixed.client.inner.with_desk(Desk::open);
        values.into_iter().for_each(|(key, value)| fixed.put(key.as_ref(), value));
        fixed
    }
}

impl Fixed {
    /// Sets `key` to `value`, of whatever type the setting was: handles show it when this returns.
    ///
    /// # Panics
    ///
    /// If `key` is no key, or its type has no text for the value: a mistake in the test.
    pub fn set<T: Value>(&self, key: impl AsRef<str>, value: T) {
        self.put(key.as_ref(), value.into());
    }

    /// Deletes `key`; one that is not there stays so.
    ///
    /// # Panics
    ///
    /// If `key` is no key.
    pub fn delete(&self, key: impl AsRef<str>) {
        let key = checked(key.as_ref());
        self.client.inner.with_desk(|desk, shared| {
            desk.change(shared, vec![Data { key: key.to_owned(), deleted: true, ..Data::default() }]);
        });
    }

    fn put(&self, key: &str, value: FixedValue) {
        let text =
            value.text.unwrap_or_else(|error| panic!("the value of `{key}` cannot be written: {error}"));
        let (key, value_type) = (checked(key).to_owned(), value.value_type.to_owned());
        self.client.inner.with_desk(|desk, shared| {
            desk.change(shared, vec![Data { key, value: text, value_type, ..Data::default() }]);
        });
    }
}

impl Deref for Fixed {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

fn checked(key: &str) -> &str {
    if let Err(error) = key::check(key) {
        panic!("`{}` is no key: {error}", key::shown(key));
    }
    key
}

/// What stands in the place of the worker: it does what it is asked as soon as it is asked, on the thread that asks.
pub(crate) struct Desk(Mutex<Open>);

/// The desk, to whoever has it to himself.
pub(crate) struct Open {
    received: UnboundedReceiver<Command>,
    snapshot: Snapshot,
}

impl Inner {
    /// Has the desk of a client without a server do what it was asked; with a server there is a worker.
    pub(crate) fn attend(&self) {
        self.with_desk(|_, _| {});
    }

    fn with_desk(&self, act: impl FnOnce(&mut Open, &Shared)) {
        if let Some(desk) = &self.desk {
            let mut desk = desk.lock();
            act(&mut desk, &self.shared);
            desk.obey_all(&self.shared);
        }
    }
}

impl Desk {
    fn new(received: UnboundedReceiver<Command>) -> Self {
        let mut snapshot = Snapshot::default();
        snapshot.set_covered(KeySet::all());
        Self(Mutex::new(Open { received, snapshot }))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A decoding that panics is caught by its cell.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows an empty state, and that it is followed.
    fn open(desk: &mut Open, shared: &Shared) {
        desk.publish(shared, 0);
        shared.show(Link::Live(Peer::Current));
        shared.settle();
    }
}

impl Open {
    fn obey_all(&mut self, shared: &Shared) {
        while let Ok(command) = self.received.try_recv() {
            self.obey(command, shared);
        }
    }

    /// Whoever no longer waits for an answer is no failure.
    fn obey(&mut self, command: Command, shared: &Shared) {
        match command {
            Command::Watch(cell) => {
                Weak::upgrade(&cell).iter().for_each(|cell| cell.offer(&self.snapshot, &Changed::All));
            }
            Command::Unwatch(key) => drop(shared.sweep(&key)),
            Command::Push(data, reply) => drop(reply.send(self.push(shared, data))),
            Command::Commit(request, _, reply) => drop(reply.send(self.commit(shared, request))),
            Command::Read(request, reply) => drop(reply.send(Ok(self.read(&request)))),
            Command::List(_, reply) => drop(reply.send(Ok(self.list()))),
            Command::History(_, reply) => drop(reply.send(Err(unsupported()))),
            Command::Status(reply) => drop(reply.send(Err(unsupported()))),
            Command::WriteBootstrap(_, reply) => drop(reply.send(Err(WriteError::NothingKnown))),
            // What is fixed is always right now.
            Command::Expire(_) => {}
            // Nothing that anybody could wait for will come.
            Command::After(_, reply) => drop(reply.send(())),
            Command::Close => {
                shared.show(Link::Lost(Arc::new(Disconnect::Closed)));
                shared.settle();
                self.received.close();
            }
        }
    }

    /// Shows changes as one, each at a revision of its own.
    fn change(&mut self, shared: &Shared, changes: Vec<Data>) {
        let mut revision = self.snapshot.revision();
        let mut entries = HashMap::new();
        for data in changes {
            revision += 1;
            entries.insert(data.key.clone(), Data { revision, ..data });
        }
        let mut keys = BTreeSet::new();
        self.snapshot.merge(entries, None, &mut keys);
        self.publish(shared, revision);
        let changed = Changed::Keys(keys.into_iter().collect());
        shared.touched_by(&changed).iter().for_each(|cell| cell.offer(&self.snapshot, &changed));
    }

    fn publish(&mut self, shared: &Shared, revision: u64) {
        self.snapshot.set_position(Position { revision, token: Bytes::from_static(b"fixed") });
        shared.snapshot.store(Arc::new(self.snapshot.clone()));
    }

    fn list(&self) -> ListCapabilitiesResponse {
        let capability = |key: &str| Capability {
            key: key.to_owned(),
            value_type: self
                .snapshot
                .text(key)
                .map(|(_, value_type)| value_type.to_owned())
                .unwrap_or_default(),
        };
        let capabilities = self.snapshot.keys().map(capability).collect();
        ListCapabilitiesResponse { capabilities, ..ListCapabilitiesResponse::default() }
    }

    fn read(&self, request: &DataRequest) -> DataResponse {
        let data = |key: &String| {
            let held = self.snapshot.held(key)?;
            let (value, value_type) = (held.value.clone(), held.value_type.clone().into_owned());
            let data =
                Data { key: key.clone(), value, value_type, revision: held.revision, ..Data::default() };
            Some((key.clone(), data))
        };
        DataResponse { data: request.keys.iter().filter_map(data).collect(), ..DataResponse::default() }
    }
}

fn unsupported() -> CallError {
    CallError::Unsupported("a fixed client has no server, and remembers nothing".to_owned())
}
