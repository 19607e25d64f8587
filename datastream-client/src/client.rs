//! The front door.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datastream::key::{self, shown};
use datastream::limit::CLIENT_NAME_BYTES;
use datastream::position::Position;
use datastream::proto::{self, Data, ListCapabilitiesRequest, ListCapabilitiesResponse};
use datastream::value::{self, Value};
use tokio::sync::{mpsc, oneshot};

use crate::cache::WriteError;
use crate::cell::{AnyCell as _, Cell};
use crate::config::Limits;
use crate::error::{CallError, Disconnect, Unavailable};
use crate::local::{Local, Wish};
use crate::session::Session;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::status::{ClientStatus, State};
use crate::transport::{Grpc, Transport, server_name, shown_address};
use crate::watch::Watch;
use crate::worker::{self, Command, Place, Worker};

/// How many keys one page of a list asks for.
const PAGE: u32 = 1000;

/// A connection to a settings server.
///
/// It connects when something is watched, and reconnects by itself, always: a wrong address or a server that is
/// not there shows in [`Watch::ready`] and [`status`](Self::status), and a server that comes back heals it. All handles
/// of a client share one stream, unless its server is one of the [original](crate::Peer::Original). Cheap to clone. It ends when the last clone and the last handle are gone.
///
/// ```
/// use datastream_client::Client;
///
/// let url = "http://127.0.0.1:8080";
/// let cfg = Client::connect(url).watch::<i64>("max_connections");
/// assert_eq!(cfg.get(), None); // Nothing is known before the server has answered.
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) limits: Limits,
}

/// A key of the server, and the type of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// The key.
    pub key: String,
    /// The name of the type, as it was written.
    pub value_type: String,
}

impl From<proto::Capability> for Capability {
    fn from(capability: proto::Capability) -> Self {
        Self { key: capability.key, value_type: capability.value_type }
    }
}

/// A write that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Where it stands in the history; `None` if the server is one that does not say.
    pub position: Option<Position>,
    /// Whether the handles of this client show it.
    pub seen: Seen,
}

/// Whether the handles of a client show what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// They do, or show something newer.
    Applied,
    /// The client has no handle of the key.
    NotWatched,
    /// Written, not yet seen: the client has lost its stream, or the server is slow to say so. It will. A server
    /// of the original does not say where a write stands, so there is nothing to wait for: its stream brings the
    /// write later, and may miss it if others come soon after.
    NotYet,
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:8080`. Returns at once and never fails.
    #[must_use]
    pub fn connect(url: impl AsRef<str>) -> Self {
        Self::builder(url).connect()
    }

    /// A client with settings of its own.
    pub fn builder(url: impl AsRef<str>) -> ClientBuilder {
        ClientBuilder {
            url: url.as_ref().to_owned(),
            limits: Limits::default(),
            client_name: String::new(),
            place: Place::Caller,
            wish: Wish::default(),
        }
    }

    /// Follows `key` as a `T`. Returns at once; see [`Watch::ready`].
    ///
    /// Handles of one key and one type share their value. A string that is no key fails its own handle, and is
    /// never sent. A client watches at most 10,000 keys.
    #[must_use]
    pub fn watch<T: Value>(&self, key: impl AsRef<str>) -> Watch<T> {
        let key = key.as_ref();
        let cell = match key::check(key) {
            Ok(()) => self.inner.shared.cell(key, &self.inner.commands),
            Err(source) => {
                let cell = Arc::new(Cell::<T>::new(Arc::from(key), None));
                cell.fail(Unavailable::NotAKey { key: shown(key).to_string(), source });
                cell
            }
        };
        Watch::new(cell, Some(self.inner.clone()))
    }

    /// All that this client watches, at one position. Two reads of handles may straddle a commit; reads of one
    /// snapshot never do. Costs a reference count.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.shared.snapshot.load_full()
    }

    /// Whether the server is followed, and if not, why.
    #[must_use]
    pub fn status(&self) -> ClientStatus {
        let shared = &self.inner.shared;
        let (state, since) = shared.link_state();
        let snapshot = shared.snapshot.load();
        let state = match state {
            State::Stale if !snapshot.knows_anything() => State::NotReady,
            state => state,
        };
        let (position, last_error) = (snapshot.position().cloned(), shared.last_error());
        let (age, peer) = (shared.age(), shared.peer());
        ClientStatus { state, since: since.into_std(), age, peer, position, last_error }
    }

    /// The keys that the server has, with their types, in order.
    ///
    /// # Errors
    ///
    /// [`CallError`], after [`Limits::sync`] at the latest for each 1,000 keys. Cancel safe.
    pub async fn capabilities(&self) -> Result<Vec<Capability>, CallError> {
        let mut all: Vec<Capability> = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = self.page(page_token).await?;
            let is_ahead = |first: &proto::Capability| all.last().is_none_or(|last| last.key < first.key);
            if !page.capabilities.first().map_or(page.next_page_token.is_empty(), is_ahead) {
                return Err(Disconnect::Violation("a page of a list leads nowhere").into());
            }
            all.extend(page.capabilities.into_iter().map(Capability::from));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                // A server of the original has one page, in an order of its own.
                all.sort_by(|a, b| a.key.cmp(&b.key));
                return Ok(all);
            }
        }
    }

    async fn page(&self, page_token: String) -> Result<ListCapabilitiesResponse, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::List(ListCapabilitiesRequest { page_size: PAGE, page_token }, reply))?;
        answer.await.map_err(|_| CallError::Interrupted)?
    }

    /// Sets `key` to `value`; durable when it returns.
    ///
    /// If this client watches the key, it also waits, for at most [`Limits::seen`], until its handles show the
    /// value: a read after an acknowledged write sees it. With a server of the original it does not wait, and says
    /// [`Seen::NotYet`]. Not cancel safe: dropping the future does not take the
    /// write back.
    ///
    /// # Errors
    ///
    /// [`CallError`]. After `TimedOut`, `Failed` and `Interrupted` it is not known whether the value was written.
    pub async fn set<T: Value>(&self, key: impl AsRef<str>, value: T) -> Result<Written, CallError> {
        let key = key.as_ref();
        let named = || shown(key).to_string();
        key::check(key).map_err(|source| CallError::NotAKey { key: named(), source })?;
        let text = value::encode(&value).map_err(|source| CallError::Unwritable { key: named(), source })?;
        let data = Data {
            key: key.to_owned(),
            value: text,
            value_type: T::WRITES.name().to_owned(),
            // Only for a server of the original: what has no time it takes for older than all, and sends to nobody.
            updated_at: Some(SystemTime::now().into()),
            ..Data::default()
        };
        let (reply, answer) = oneshot::channel();
        self.send(Command::Push(data, reply))?;
        answer.await.map_err(|_| CallError::Interrupted)?
    }

    fn send(&self, command: Command) -> Result<(), CallError> {
        self.inner.commands.send(command).map_err(|_| CallError::Closed)
    }

    /// A client over a transport of the test's own.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_transport(transport: impl Transport, limits: Limits) -> Self {
        Self::builder("").limits(limits).connect_over(transport)
    }

    /// Writes a [bootstrap file](ClientBuilder::bootstrap_file): all that this client watches, as the server has said
    /// it, without overrides. It replaces what is at `path` in one step.
    ///
    /// The values lie in it as they are; only its owner may read it, unless you say otherwise. Once asked for, the
    /// file is written even if the future is dropped.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use datastream_client::Client;
    ///
    /// let client = Client::connect("http://127.0.0.1:8080");
    /// let max = client.watch::<i64>("max_connections");
    /// max.ready().await?;
    /// client.write_bootstrap("settings.bootstrap").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WriteError`]: no server has said anything yet, or the file cannot be written.
    pub async fn write_bootstrap(&self, path: impl Into<PathBuf>) -> Result<(), WriteError> {
        let (reply, written) = oneshot::channel();
        let command = Command::WriteBootstrap(path.into(), reply);
        self.inner.commands.send(command).map_err(|_| WriteError::Closed)?;
        written.await.map_err(|_| WriteError::Closed)?
    }

    fn start(transport: impl Transport, builder: ClientBuilder) -> Self {
        let ClientBuilder { url, limits, client_name, place, wish } = builder;
        let shared = Arc::new(Shared::new());
        let (commands, received) = mpsc::unbounded_channel();
        let session = Session::new(limits.clone(), client_name);
        let local = Local::new(wish, server_name(&url));
        worker::start(Worker::new(session, transport, shared.clone(), received, limits.seen, local), place);
        Self { inner: Arc::new(Inner { shared, commands, limits }) }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish()
    }
}

/// The settings of a client that is about to be made; by [`Client::builder`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    url: String,
    limits: Limits,
    client_name: String,
    place: Place,
    wish: Wish,
}

impl std::fmt::Debug for ClientBuilder {
    /// Shows the address escaped and cut, and without a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &shown_address(&self.url))
            .field("limits", &self.limits)
            .field("client_name", &shown(&self.client_name).to_string())
            .field("place", &self.place)
            .field("wish", &self.wish)
            .finish()
    }
}

impl ClientBuilder {
    /// How long to wait for what.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// A name of this client for the operator of the server, at most 256 bytes; what is longer is cut.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        let is_end = |end: &usize| self.client_name.is_char_boundary(*end);
        let end = (0..=CLIENT_NAME_BYTES).rev().find(is_end).unwrap_or_default();
        self.client_name.truncate(end);
        self
    }

    /// Runs the client outside of the caller's tokio runtime, for applications that block theirs: on one thread
    /// that all such clients of the process share.
    pub fn own_thread(mut self) -> Self {
        self.place = Place::Own;
        self
    }

    /// Keeps the last known good state in a file, and begins with it: an application that starts while its server,
    /// or the network, is down has the settings of its last run. Default: none.
    ///
    /// Until the first complete live state each handle shows what the file has, with the origin
    /// [`Cache`](crate::Origin::Cache), the state [`Stale`](State::Stale), and its true age; then everything is
    /// replaced in one step, and the file does not count any more. Beside the newest value of a key it has the last
    /// one that every handle could use, if the newest is none.
    ///
    /// The file is replaced in one step, never by the task that takes updates, at most once per
    /// [interval](Self::cache_interval), and when the client ends. A process that exits at once after its last handle
    /// was dropped may miss that last write if it has no tokio runtime; it has an older file then, never a broken one.
    /// One file is for one client: two that share it overwrite each other. It is read before the first contact, which
    /// a slow disk delays; [`connect`](Self::connect) does not wait for it.
    ///
    /// A file that is cut, damaged, unreadable, of a newer version, of another server address, or no regular file,
    /// is as none: one warning names it, and the next good state replaces it. A path that cannot be written costs a
    /// warning, and is tried again.
    ///
    /// **The values lie in the file as they are.** On Unix only its owner may read it (mode 0600).
    ///
    /// ```
    /// use datastream_client::Client;
    ///
    /// let url = "http://127.0.0.1:8080";
    /// let client = Client::builder(url).cache_file("/var/cache/my-app/settings").connect();
    /// ```
    pub fn cache_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.wish.files.cache = Some(path.into());
        self
    }

    /// The least time from one write of the [cache file](Self::cache_file) to the next. Default: 10 s.
    pub fn cache_interval(mut self, interval: Duration) -> Self {
        self.wish.cache_interval = interval;
        self
    }

    /// Begins with a file that came with the application, where there is no good [cache file](Self::cache_file). It
    /// is only read, once; [`Client::write_bootstrap`] writes one. Default: none.
    ///
    /// It is used as a cache is, with the origin [`Bootstrap`](crate::Origin::Bootstrap). It may be a link, and of
    /// another server: a server to which its position means nothing sends everything. One that is not there, or not
    /// good, costs a warning.
    pub fn bootstrap_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.wish.files.bootstrap = Some(path.into());
        self
    }

    /// Lets an operator replace settings of this one application, whatever the server says, for as long as they stand
    /// in a file: a JSON object of keys and values. Default: none.
    ///
    /// ```json
    /// { "max_connections": 10, "limits/timeout": "30s", "debug_enabled": true }
    /// ```
    ///
    /// The file is read each second; it may come, change and go at any time, and each override that begins or ends is
    /// a warning in the log, which names the key. Handles and [snapshots](Client::snapshot) show an override with the
    /// origin [`Override`](crate::Origin::Override), with or without a server; it is never written to a server or to a
    /// cache file. A string is read as the text of the type that a handle wants; objects and lists are JSON. Where a
    /// handle cannot use it, the handle goes on with the live value, and its status has the refusal. A file that is
    /// no such object is not used: the overrides stay as they were.
    pub fn override_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.wish.override_file = Some(path.into());
        self
    }

    /// As [`override_file`](Self::override_file), from variables of the environment, which are read once, by this
    /// builder's [`connect`](Self::connect). The file wins. Default: off.
    ///
    /// The variable of a key is `DATASTREAM_OVERRIDE_` and the key in capitals, with `__` for each `/` and `_` for
    /// whatever else is no ASCII letter or digit: `DATASTREAM_OVERRIDE_LIMITS__MAX_RATE` is for `limits/max-rate`, and
    /// for `limits/max_rate` as well. It is read as a string in the file is. Below a prefix it concerns keys that the
    /// server has.
    pub fn overrides_from_env(mut self) -> Self {
        self.wish.overrides_from_env = true;
        self
    }

    /// Makes the client. Returns at once and never fails.
    #[must_use]
    pub fn connect(self) -> Client {
        Client::start(Grpc::new(&self.url, self.limits.clone()), self)
    }

    /// Makes the client, over a transport of the test's own.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn connect_over(self, transport: impl Transport) -> Client {
        Client::start(transport, self)
    }
}
