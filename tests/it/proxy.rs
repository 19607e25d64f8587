//! A TCP proxy in front of a server, which a test can make silent, or cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Forwards what comes on a port of its own, both ways. Gone when dropped, with its connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: AbortHandle,
}

/// What the connections of a proxy are told.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_silent: bool,
    /// How often all connections were cut.
    cuts: u64,
}

impl Proxy {
    /// A proxy to the server at `url`, on the runtime of the caller.
    pub(crate) async fn to(url: &str) -> Self {
        let server: SocketAddr = url.trim_start_matches("http://").parse().expect("the address of a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = watch::Sender::default();
        let accepting = tokio::spawn(accept(listener, server, state.subscribe())).abort_handle();
        Self { address, state, accepting }
    }

    /// What a client connects to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forwards nothing, and closes nothing, until the guard is dropped; then what was held back goes on its way.
    pub(crate) fn silence(&self) -> Silence {
        self.state.send_modify(|state| state.is_silent = true);
        Silence(self.state.clone())
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A proxy is silent while this is kept.
#[must_use]
pub(crate) struct Silence(watch::Sender<State>);

impl Drop for Silence {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.is_silent = false);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: watch::Receiver<State>) {
    // Dropped with this task, and all of them with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(join(client, server, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards both ways until one side closes, or the connection is cut.
async fn join(client: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cutting = state.clone();
    let cuts = cutting.borrow_and_update().cuts;
    tokio::select! {
        () = forward(from_client, to_server, state.clone()) => {}
        () = forward(from_server, to_client, state) => {}
        _ = cutting.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let is_open = state.wait_for(|state| !state.is_silent).await.is_ok();
        if !is_open || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
