//! A place that clients connect to, whichever server is behind it.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Forwards what comes on a port of its own to one server at a time. Gone when dropped, with its connections.
pub(super) struct Switch {
    address: SocketAddr,
    server: watch::Sender<SocketAddr>,
    accepting: AbortHandle,
}

impl Switch {
    /// A switch to the server at `url`, on the runtime of the caller.
    pub(super) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = watch::Sender::new(address_of(url));
        let accepting = tokio::spawn(accept(listener, server.subscribe())).abort_handle();
        Self { address, server, accepting }
    }

    /// What a client connects to.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes all connections; those that come from now on go to the server at `url`.
    pub(super) fn point(&self, url: &str) {
        self.server.send_replace(address_of(url));
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn address_of(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("the address of a server")
}

async fn accept(listener: TcpListener, server: watch::Receiver<SocketAddr>) {
    // Dropped with this task, and all of them with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(join(client, server.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards both ways until one side closes, or the switch points elsewhere. A server that is away is an end like any
/// other.
async fn join(mut client: TcpStream, mut server: watch::Receiver<SocketAddr>) {
    let address = *server.borrow_and_update();
    let Ok(mut far) = TcpStream::connect(address).await else { return };
    for stream in [&client, &far] {
        let _ = stream.set_nodelay(true);
    }
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut far) => {}
        _ = server.changed() => {}
    }
}
