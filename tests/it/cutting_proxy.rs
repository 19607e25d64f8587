//! A TCP proxy that cuts connections in the midst of whatever they carry.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How many bytes a connection carries before it is cut: drawn anew for each connection.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    pub(crate) requests: Range<u64>,
    pub(crate) answers: Range<u64>,
}

impl Cuts {
    /// Only answers are cut: each request arrives whole.
    pub(crate) fn of_answers(answers: Range<u64>) -> Self {
        Self { requests: u64::MAX - 1..u64::MAX, answers }
    }
}

/// The proxy. It is gone when dropped, but not the connections that it has.
pub(crate) struct CuttingProxy {
    address: SocketAddr,
    cut: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl CuttingProxy {
    /// Starts one in front of the server at `url`, which need not be there yet, nor always.
    pub(crate) async fn start(url: &str, cuts: Cuts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = url.trim_start_matches("http://").parse().expect("an address of a test server");
        let cut = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(accept(listener, server, cuts, cut.clone()));
        Self { address, cut, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were cut; those that either side ended are not among them.
    pub(crate) fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, cuts: Cuts, cut: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        let (requests, answers) = (fastrand::u64(cuts.requests.clone()), fastrand::u64(cuts.answers.clone()));
        let cut = cut.clone();
        tokio::spawn(async move {
            // A server that is away, or goes, is an end like any other.
            if carry(client, server, requests, answers).await.is_ok_and(|is_cut| is_cut) {
                cut.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Carries so many bytes each way, and drops both connections when either way is at its end. Returns whether that was
/// for the bytes.
async fn carry(mut client: TcpStream, to: SocketAddr, requests: u64, answers: u64) -> std::io::Result<bool> {
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        ended = some(&mut from_client, requests, &mut to_server) => ended,
        ended = some(&mut from_server, answers, &mut to_client) => ended,
    }
}

async fn some(
    from: &mut (impl AsyncRead + Unpin),
    bytes: u64,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<bool> {
    Ok(copy(&mut from.take(bytes), to).await? == bytes)
}
