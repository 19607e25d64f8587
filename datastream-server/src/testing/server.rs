//! A server in the test's own process.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datastream::value::{self, Value};
use socket2::{Domain, Socket, Type};

use super::faults::Faults;
use super::running::{Running, block_on};
use crate::config::Config;
use crate::feed::Feed;
use crate::store::{Action, Commit, Operation, Store};
use crate::stores::memory::MemoryStore;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long a server that is stopped waits for its streams.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// How long a value that was put may take to reach the server.
pub(super) const PUBLISH_LIMIT: Duration = Duration::from_secs(1);

/// A server on a free port of 127.0.0.1, on threads of its own, gone when dropped.
///
/// Its methods block for some milliseconds at most, and may be called with or without a tokio runtime. It is
/// for tests: what goes wrong panics and says why.
///
/// ```
/// use datastream_server::testing::TestServer;
///
/// let server = TestServer::start().with("max_connections", 10_i64).with("debug_enabled", false);
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// server.set("max_connections", 20_i64);
/// ```
pub struct TestServer {
    pub(super) site: Arc<Site>,
}

/// Where the lives of a server take place, one after the other.
pub(super) struct Site {
    address: SocketAddr,
    /// Keeps the port while the server is stopped: nobody else is given it then.
    _reserved: Option<Socket>,
    pub(super) store: Arc<dyn Store>,
    /// The same store, if it is one that can be meddled with.
    pub(super) memory: Option<Arc<MemoryStore>>,
    config: Config,
    pub(super) faults: Arc<Faults>,
    running: Mutex<Option<Running>>,
}

impl TestServer {
    /// A server on an empty store in memory. Heartbeats come every second, so that a test of silence is short.
    ///
    /// # Panics
    ///
    /// If no port of 127.0.0.1 can be had.
    #[must_use]
    pub fn start() -> Self {
        let config = Config::default().heartbeat(Duration::from_secs(1)).drain_limit(DRAIN_LIMIT);
        let memory = Arc::new(MemoryStore::new());
        Self::begin(memory.clone(), Some(memory), config)
    }

    /// A server on a store, with settings of the test's choice.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(store: Arc<dyn Store>, config: Config) -> Self {
        Self::begin(store, None, config)
    }

    fn begin(store: Arc<dyn Store>, memory: Option<Arc<MemoryStore>>, config: Config) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bound(any).expect("a free port of 127.0.0.1");
        let address = first.local_addr().expect("a bound socket has an address");
        let address = address.as_socket().expect("it is of IPv4");
        // Where a port cannot be shared, the first is the one that listens.
        let (reserved, listening) = match bound(address) {
            Ok(second) => (Some(first), second),
            Err(_) => (None, first),
        };
        let (faults, running) = (Arc::default(), Mutex::default());
        let site = Site { address, _reserved: reserved, store, memory, config, faults, running };
        *site.running() = Some(site.run(&listening));
        Self { site: Arc::new(site) }
    }

    /// The same server, holding `value` for `key`: `start().with("max_connections", 10_i64)`.
    ///
    /// # Panics
    ///
    /// As [`set`](Self::set).
    #[must_use]
    pub fn with<T: Value>(self, key: &str, value: T) -> Self {
        self.set(key, value);
        self
    }

    /// What a client connects to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.site.address)
    }

    /// How many streams the server holds open; none while it is stopped.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.site.feed().map_or(0, |feed| feed.subscribers())
    }

    /// Puts a value, as somebody else than the client under test would; also while the server is stopped. When
    /// this returns, whoever asks the server gets it.
    ///
    /// # Panics
    ///
    /// If `key` is no key, or `value` has no text.
    pub fn set<T: Value>(&self, key: &str, value: T) {
        let text = value::encode(&value).expect("the value can be written");
        self.set_raw(key, T::WRITES.name(), text);
    }

    /// Puts a value given as text, of the type named; another type than the key has is fine.
    ///
    /// # Panics
    ///
    /// If `key` is no key, or the text is outside the grammar of its type.
    pub fn set_raw(&self, key: &str, value_type: &str, text: impl Into<bytes::Bytes>) {
        let value_type = Some(value_type.into());
        self.apply(key, Action::Put { value: text.into(), value_type, retype: true });
    }

    /// Deletes a key; also while the server is stopped.
    ///
    /// # Panics
    ///
    /// If there is no such key.
    pub fn delete(&self, key: &str) {
        let state = block_on(self.site.store.load()).expect("the store can be read");
        let is_there = state.changes.iter().any(|change| &*change.key == key && change.value.is_some());
        assert!(is_there, "there is no key {key} to delete");
        self.apply(key, Action::Delete);
    }

    fn apply(&self, key: &str, action: Action) {
        datastream::key::check(key).expect("the key is in the grammar of keys");
        let operation = Operation { key: key.into(), action, expected_revision: None };
        let commit = self.site.store.commit(Commit::one(operation));
        let feed = self.site.feed();
        block_on(async {
            let position = commit.await.expect("the store takes the commit");
            if let Some(feed) = feed {
                // That a test keeps the store from being read is no fault of this value.
                let _ = feed.reach(&position, PUBLISH_LIMIT).await;
            }
        });
    }

    /// Stops the server as an operator would: streams are told to go. Its values stay, for
    /// [`restart`](Self::restart). Does nothing if it is stopped.
    pub fn stop(&mut self) {
        let running = self.site.running().take();
        running.into_iter().for_each(Running::stop);
    }

    /// Ends the server as a crash would: connections break without a word. Its values stay.
    pub fn kill(&mut self) {
        self.site.kill();
    }

    /// Starts the server again on the same port, with the values that it has; stops it before if it runs.
    ///
    /// # Panics
    ///
    /// If the port was taken by somebody else meanwhile, which it cannot be on Unix.
    pub fn restart(&mut self) {
        self.stop();
        self.site.start();
    }
}

impl Site {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed, while the server runs.
    pub(super) fn feed(&self) -> Option<Arc<Feed>> {
        self.running().as_ref().map(|running| running.feed.clone())
    }

    /// Ends the server, if it runs.
    pub(super) fn kill(&self) {
        let running = self.running().take();
        running.into_iter().for_each(Running::kill);
    }

    /// Starts the server, unless it runs.
    pub(super) fn start(&self) {
        let mut running = self.running();
        if running.is_none() {
            *running = Some(self.run(&bound(self.address).expect("the port is free again")));
        }
    }

    fn run(&self, listening: &Socket) -> Running {
        Running::start(listen(listening), self.store.clone(), self.config.clone(), self.faults.clone())
    }
}

/// A socket at `address`, which another one of this process may share.
fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    #[cfg(unix)]
    {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: &Socket) -> TcpListener {
    socket.listen(BACKLOG).expect("a bound socket can listen");
    socket.try_clone().expect("a socket can be shared").into()
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}
