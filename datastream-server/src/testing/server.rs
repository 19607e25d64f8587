//! A server in the test's own process.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datastream::value::{self, Value};
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::feed::Feed;
use crate::serve::serve_feed;
use crate::store::{Action, Commit, Operation, Store};
use crate::stores::memory::MemoryStore;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long a server that is stopped waits for its streams.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// How long a value that was put may take to reach the server.
const PUBLISH_LIMIT: Duration = Duration::from_secs(1);

/// How long a killed server may take to let go of its port; it takes no time unless the machine is busy.
const KILL_LIMIT: Duration = Duration::from_secs(1);

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
    address: SocketAddr,
    /// Keeps the port while the server is stopped: nobody else is given it then.
    _reserved: Option<Socket>,
    store: Arc<dyn Store>,
    config: Config,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    feed: Arc<Feed>,
    stop: oneshot::Sender<()>,
    /// In a lock only so that a server can be shared between threads.
    stopped: Mutex<std::sync::mpsc::Receiver<()>>,
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
        Self::start_with(Arc::new(MemoryStore::new()), config)
    }

    /// A server on a store, with settings of the test's choice.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(store: Arc<dyn Store>, config: Config) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bound(any).expect("a free port of 127.0.0.1");
        let address = first.local_addr().expect("a bound socket has an address");
        let address = address.as_socket().expect("it is of IPv4");
        // Where a port cannot be shared, the first is the one that listens.
        let (reserved, listening) = match bound(address) {
            Ok(second) => (Some(first), second),
            Err(_) => (None, first),
        };
        let running = Some(Running::start(listen(&listening), store.clone(), config.clone()));
        Self { address, _reserved: reserved, store, config, running }
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
        format!("http://{}", self.address)
    }

    /// How many streams the server holds open; none while it is stopped.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.feed.subscribers())
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
        let state = block_on(self.store.load()).expect("the store can be read");
        let is_there = state.changes.iter().any(|change| &*change.key == key && change.value.is_some());
        assert!(is_there, "there is no key {key} to delete");
        self.apply(key, Action::Delete);
    }

    fn apply(&self, key: &str, action: Action) {
        datastream::key::check(key).expect("the key is in the grammar of keys");
        let operation = Operation { key: key.into(), action, expected_revision: None };
        let commit = self.store.commit(Commit::one(operation));
        let feed = self.running.as_ref().map(|running| &running.feed);
        block_on(async {
            let position = commit.await.expect("the store takes the commit");
            if let Some(feed) = feed {
                // That a test keeps the store from being read is no fault of this value.
                let _ = feed.reach(position.revision, PUBLISH_LIMIT).await;
            }
        });
    }

    /// Stops the server as an operator would: streams are told to go. Its values stay, for
    /// [`restart`](Self::restart). Does nothing if it is stopped.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    /// Ends the server as a crash would: connections break without a word. Its values stay.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Starts the server again on the same port, with the values that it has; stops it before if it runs.
    ///
    /// # Panics
    ///
    /// If the port was taken by somebody else meanwhile, which it cannot be on Unix.
    pub fn restart(&mut self) {
        self.stop();
        let listening = bound(self.address).expect("the port is free again");
        self.running = Some(Running::start(listen(&listening), self.store.clone(), self.config.clone()));
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

impl Running {
    fn start(listener: TcpListener, store: Arc<dyn Store>, config: Config) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let (stop, stopping) = oneshot::channel();
        let (done, stopped) = std::sync::mpsc::channel();
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).expect("a listener can be registered")
        };
        let feed = block_on(Feed::start(store, config.retention)).expect("the store can be loaded");
        let served = feed.clone();
        runtime.spawn(async move {
            // A dropped sender stops the server just as a message does.
            let shutdown = async { drop(stopping.await) };
            let served = serve_feed(crate::incoming(listener), served, config, shutdown).await;
            served.expect("the test server serves");
            drop(done);
        });
        Self { runtime, feed, stop, stopped: Mutex::new(stopped) }
    }

    /// Returns when the port is free again.
    fn kill(self) {
        self.runtime.shutdown_background();
        let stopped = self.stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = stopped.recv_timeout(KILL_LIMIT);
    }

    fn stop(self) {
        drop(self.stop);
        // Disconnects when the server has ended.
        let stopped = self.stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = stopped.recv();
        self.runtime.shutdown_background();
    }
}

/// Runs a future to its end on a thread of its own: the caller's may be one of a runtime, which must not block.
fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future);
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
