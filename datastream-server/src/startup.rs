//! The steps from a command line to a server that listens, and what can be wrong with each.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datastream::proto::RefreshRequest;
use datastream::proto::control_service_client::ControlServiceClient;
use datastream_server::ServeError;
use datastream_server::store::{Commit, CommitError, Operation, Store};
#[cfg(feature = "sqlite")]
use datastream_server::stores::sqlite::OpenError;
use tokio::net::{TcpListener, TcpSocket};
use tonic::transport::Endpoint;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::Cli;

/// Why the server does not run. Each text is one line, and says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "{0} can be reached by others, and until TLS and tokens exist nothing protects the settings there: \
         listen on 127.0.0.1, or say --insecure"
    )]
    Exposed(SocketAddr),
    #[error("cannot listen on {address} ({source}): choose another address with --listen")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] io::Error),
    #[cfg(feature = "sqlite")]
    #[error("{}", chain(.0))]
    Store(#[from] OpenError),
    #[cfg(feature = "directory")]
    #[error("{0}")]
    Directory(#[from] datastream_server::stores::directory::OpenError),
    #[cfg(feature = "object")]
    #[error("{0}")]
    Object(#[from] datastream_server::stores::s3::OpenError),
    #[cfg(feature = "postgres")]
    #[error("{}", chain(.0))]
    Postgres(#[from] datastream_server::stores::postgres::OpenError),
    #[cfg(feature = "git")]
    #[error("{}", chain(.0))]
    Git(#[from] datastream_server::stores::git::OpenError),
    #[error(
        "this store adds nothing to a database that could be taken out: name sqlite: or postgres: with --store"
    )]
    NothingToDetach,
    #[error("the server at {server} does not look at its store: {said}")]
    Refresh { server: String, said: String },
    #[error("cannot write the sample settings: {}", chain(.0))]
    Seed(#[from] CommitError),
    #[error("{}", chain(.0))]
    Serve(#[from] ServeError),
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How many connections may wait to be accepted: the clients of a server that was restarted come within half a
/// second. With the usual 128, of 1,000 that came at once some were reset.
const BACKLOG: u32 = 4096;

/// How long a server that is asked to look may take: it gives its store some seconds.
const ANSWER: Duration = Duration::from_secs(30);

/// How many lines may wait for whoever takes them; one more is dropped, rather than wait for it.
const LINES: usize = 8192;

/// Logs to stderr, one line for each event, from a thread of its own: a pipe that nobody reads holds up no call. The
/// last lines are written when the guard is dropped.
pub(crate) fn log(targets: &Targets) -> WorkerGuard {
    let builder = NonBlockingBuilder::default().buffered_lines_limit(LINES).lossy(true);
    let (writer, guard) = builder.finish(io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(targets.clone()).init();
    guard
}

/// Refuses to offer unprotected settings to others, unless that was asked for.
pub(crate) fn check_exposure(cli: &Cli) -> Result<(), StartError> {
    if cli.insecure {
        tracing::warn!("--insecure: whoever can connect can read and change every setting, unencrypted");
        return Ok(());
    }
    let is_loopback = cli.listen.ip().to_canonical().is_loopback();
    if is_loopback { Ok(()) } else { Err(StartError::Exposed(cli.listen)) }
}

/// Binds the address. Returns the one that it became, since port 0 takes a free one.
pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    bind(address).map_err(|source| StartError::Listen { address, source })
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: the port is free again as soon as the process before has ended.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Opens the store, with sample settings in it if they are wanted.
pub(crate) async fn store(cli: &Cli) -> Result<Arc<dyn Store>, StartError> {
    let store = cli.store.open().await?;
    if cli.demo {
        seed(&*store).await?;
    }
    Ok(store)
}

/// Writes the sample settings of the original, in one commit.
async fn seed(store: &dyn Store) -> Result<(), CommitError> {
    let operations = vec![
        Operation::put("max_connections", "int", "10"),
        Operation::put("rate_limit", "int", "1000"),
        Operation::put("debug_enabled", "bool", "false"),
    ];
    let commit = Commit { operations, author: "demo".to_owned(), ..Commit::default() };
    store.seed(commit).await.map(drop)
}

/// Has another server look at its store. Returns what it says, for people.
pub(crate) async fn refresh(server: &str) -> Result<String, StartError> {
    let said = tokio::time::timeout(ANSWER, ask_to_look(server)).await;
    let said = said.unwrap_or_else(|_| Err(format!("it does not answer within {ANSWER:?}")));
    said.map_err(|said| StartError::Refresh { server: without_password(server), said })
}

async fn ask_to_look(server: &str) -> Result<String, String> {
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(|error| chain(&error))?;
    let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
    let answer = ControlServiceClient::new(channel).refresh(RefreshRequest {}).await;
    let position = answer.map_err(|status| status.message().to_owned())?.into_inner().position;
    Ok(format!("at revision {}", position.map_or(0, |position| position.revision)))
}

/// An address without what stands before an `@`.
fn without_password(server: &str) -> String {
    let (scheme, rest) = server.split_once("://").unwrap_or(("http", server));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

/// Completes when the operator wants the server to stop; signals are caught from this call on.
#[cfg(unix)]
pub(crate) fn stopped() -> Result<impl Future<Output = ()>, StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: streams are told to go");
    })
}

/// Completes when the operator wants the server to stop.
#[cfg(not(unix))]
pub(crate) fn stopped() -> Result<impl Future<Output = ()>, StartError> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
