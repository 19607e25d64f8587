//! The front door.

mod connection;
mod files;

use std::sync::Arc;
use std::time::SystemTime;

use datastream::key::{self, shown};
use datastream::limit::CLIENT_NAME_BYTES;
use datastream::proto::{self, Data, ListCapabilitiesRequest, ListCapabilitiesResponse};
use datastream::value::{self, Value};
use tokio::sync::mpsc;

use crate::cell::{AnyCell, Cell, OneKey};
use crate::config::Limits;
use crate::declared::{Names, Setting};
use crate::error::{CallError, Disconnect, Unavailable};
use crate::fixed::Desk;
use crate::local::{Local, Wish};
use crate::session::Session;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::status::ClientStatus;
use crate::transport::{Access, Grpc, Transport, server_name, shown_address};
use crate::watch::Watch;
use crate::worker::{self, Command, Place, Worker};
use crate::written::Written;

/// How many keys one page of a list asks for.
const PAGE: u32 = 1000;

/// A connection to a settings server.
///
/// It connects when something is watched, and reconnects by itself, always: a server that is not there shows in
/// [`Watch::ready`] and [`status`](Self::status), and one that comes back heals it. A string that is no address shows there
/// at once, and stays. All handles of a client share one stream, unless its server is one of the
/// [original](crate::Peer::Original). Cheap to clone. It ends when it is [closed](Self::close), or the last clone and
/// the last handle are gone.
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
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) limits: Limits,
    /// What stands in the place of the worker, for a client without a server.
    pub(crate) desk: Option<Desk>,
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

impl Client {
    /// A client of the server at `url`: `http://127.0.0.1:8080`, `https://host:8443` with the feature `tls`, or
    /// `unix:/run/settings.sock`. Returns at once and never fails.
    ///
    /// Of several servers of the same settings, with commas between them, the first is followed, and when it is lost the
    /// next, from the position where the other left off: `http://a:8080,http://b:8080`. Calls go over a connection of their
    /// own, and have a turn of their own.
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
            access: Access::default(),
            place: Place::Caller,
            wish: Wish::default(),
        }
    }

    /// Follows a setting: `watch::<T>("a/key")` is a [`Watch<T>`], and `watch(KEY)` of a declared [`Key<T>`](crate::Key)
    /// is a [`WatchOr<T>`](crate::WatchOr) with the default that stands there. Returns at once; see [`Watch::ready`].
    ///
    /// Handles of one key and one type share their value. A string that is no key fails its own handle, and is
    /// never sent. A client watches at most 10,000 keys.
    ///
    /// ```
    /// use datastream_client::{Client, Key};
    ///
    /// const MAX: Key<i64> = Key::new("max_connections", 100);
    ///
    /// let client = Client::connect("http://127.0.0.1:1");
    /// assert_eq!(client.watch(MAX).get(), 100);
    /// assert_eq!(client.watch::<i64>("max_connections").get(), None);
    /// ```
    #[must_use]
    pub fn watch<T: Setting>(&self, key: impl Names<T>) -> T::Handle {
        key.watch(self)
    }

    /// Follows the key of this text.
    pub(crate) fn watch_text<T: Value>(&self, key: &str) -> Watch<T> {
        let cell = match key::check(key) {
            Ok(()) => {
                let cell = self.inner.shared.cell(key, &self.inner.commands);
                self.inner.attend();
                cell
            }
            Err(source) => {
                let cell = Arc::new(Cell::<T>::new(Arc::from(key), OneKey, None));
                cell.fail(Unavailable::NotAKey { key: shown(key).to_string(), source });
                self.inner.shared.note_unfollowed(&cell);
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
        let (state, since) = shared.state();
        let snapshot = shared.snapshot.load();
        let (position, last_error) = (snapshot.position().cloned(), shared.last_error());
        let (age, peer) = (shared.age(), shared.peer());
        let server = Some(shared.server.load().to_string()).filter(|server| !server.is_empty());
        ClientStatus { state, since: since.into_std(), age, peer, server, position, last_error }
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
        let request = ListCapabilitiesRequest { page_size: PAGE, page_token };
        self.ask(|reply| Command::List(request, reply)).await
    }

    /// Sets `key` to `value`; durable when it returns.
    ///
    /// If this client watches the key, it also waits, for at most [`Limits::seen`], until its handles show the
    /// value: a read after an acknowledged write sees it. With a server of the original it does not wait, and says
    /// [`Seen::NotYet`](crate::Seen::NotYet). Not cancel safe: dropping the future does not take the
    /// write back.
    ///
    /// # Errors
    ///
    /// [`CallError`]. After `TimedOut`, `Failed` and `Interrupted` it is not known whether the value was written: a
    /// [commit](Self::commit) finds out.
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
        self.ask(|reply| Command::Push(data, reply)).await
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), CallError> {
        self.inner.commands.send(command).map_err(|_| CallError::Closed)?;
        self.inner.attend();
        Ok(())
    }

    /// A client over a transport of the test's own.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_transport(transport: impl Transport, limits: Limits) -> Self {
        Self::builder("").limits(limits).connect_over(transport)
    }

    fn start(transport: impl Transport, builder: ClientBuilder) -> Self {
        let ClientBuilder { url, limits, client_name, access: _, place, wish } = builder;
        let shared = Arc::new(Shared::new());
        let (commands, received) = mpsc::unbounded_channel();
        let mut session = Session::new(limits.clone(), client_name);
        session.set_servers(transport.servers().len());
        let local = Local::new(wish, server_name(&url));
        worker::start(Worker::new(session, transport, shared.clone(), received, limits.seen, local), place);
        Self { inner: Arc::new(Inner { shared, commands, limits, desk: None }) }
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
    access: Access,
    place: Place,
    wish: Wish,
}

impl std::fmt::Debug for ClientBuilder {
    /// Shows the address escaped and cut, and neither a password nor a token nor a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &shown_address(&self.url))
            .field("limits", &self.limits)
            .field("client_name", &shown(&self.client_name).to_string())
            .field("access", &self.access)
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

    /// Makes the client. Returns at once and never fails.
    #[must_use]
    pub fn connect(self) -> Client {
        let transport = Grpc::new(&self.url, self.access.clone(), self.limits.clone());
        Client::start(transport, self)
    }

    /// Makes the client, over a transport of the test's own.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn connect_over(self, transport: impl Transport) -> Client {
        Client::start(transport, self)
    }

    /// Makes the client, over what `wrap` makes of its transport: for tests that look at the calls, or spoil them.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn connect_through<T: Transport>(self, wrap: impl FnOnce(Grpc) -> T) -> Client {
        let transport = Grpc::new(&self.url, self.access.clone(), self.limits.clone());
        Client::start(wrap(transport), self)
    }
}
