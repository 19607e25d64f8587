//! A server, from its first connection to its last.

use std::sync::Arc;
use std::time::Duration;

use datastream::limit;
use datastream::service::control_service_server::ControlServiceServer;
use datastream::service::data_service_server::{DataService, DataServiceServer};
use futures_util::{Stream, TryStream, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router, TcpConnectInfo};
use tower_layer::{Identity, Stack};

use crate::access::AccessLog;
use crate::config::Config;
use crate::content_type::GrpcOnly;
use crate::control::Control;
use crate::feed::Feed;
use crate::gathered::Gathered;
use crate::handshake::Handshake;
use crate::service::Service;
use crate::store::{Store, StoreError};
use crate::stream::Common;

/// How many calls one connection may have open. Our client has one stream and a few calls.
const STREAMS_PER_CONNECTION: u32 = 128;
/// tonic passes "unset" on as "no limit"; these two are hyper's own defaults against floods of resets
/// (CVE-2023-44487, RUSTSEC-2024-0003), the first raised for clients that cancel many calls at once.
const PENDING_RESETS: usize = 100;
const LOCAL_RESETS: usize = 1024;
const HEADER_BYTES: u32 = 16 << 10;
/// A peer that answers no ping for this long is gone.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Why a server ended, or did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The store cannot be read.
    #[error("the store cannot be loaded")]
    Store(#[from] StoreError),
    /// The task that follows the store ended. It does not, unless the store panics where it must not.
    #[error("the server no longer follows its store")]
    Feed,
    /// The transport failed.
    #[error("the server failed")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Answers the contract on `incoming` connections from `store` until `shutdown` completes.
///
/// Then it accepts nothing more, tells each stream to go and when to come back, lets calls finish, and returns
/// after at most [`Config::drain_limit`]. A connection whose peer does not react is left to end by itself.
/// A connection that does not begin with HTTP/2 within 10 s is closed.
/// Dropping the future stops the server without a wait: it accepts nothing more, each stream is told to go, and the
/// store is let go of with the last connection. A push that was not answered is there whole or not at all.
///
/// # Errors
///
/// [`ServeError::Store`] if the store cannot be loaded at the start. Later failures of the store end nothing:
/// they are answered, logged, and shown as the age of the source.
///
/// # Examples
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use datastream_server::{Config, incoming, serve, stores::MemoryStore};
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// let store = Arc::new(MemoryStore::new());
/// serve(incoming(listener), store, Config::default(), std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
pub async fn serve<I>(
    incoming: I,
    store: Arc<dyn Store>,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    I: TryStream + Stream<Item = Result<I::Ok, I::Error>>,
    I::Ok: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    I::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut shutdown = Box::pin(shutdown);
    let feed = tokio::select! {
        feed = Feed::start(store, config.retention) => feed?,
        () = &mut shutdown => return Ok(()),
    };
    serve_feed(incoming, feed, config, |service| service, shutdown).await
}

/// [`serve`], from a feed that was started already, by the service that `wrap` makes of ours.
pub(crate) async fn serve_feed<I, D: DataService>(
    incoming: I,
    feed: Arc<Feed>,
    config: Config,
    wrap: impl FnOnce(Service) -> D,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    I: TryStream + Stream<Item = Result<I::Ok, I::Error>>,
    I::Ok: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    I::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut tasks = JoinSet::new();
    tasks.spawn(feed.clone().run());
    tasks.spawn(feed.clone().compact());

    let (tell, draining) = watch::channel(false);
    let drain = Drain { tell, feed: feed.clone() };
    let common =
        Common { started: Instant::now(), stall_limit: config.stall_limit, draining: draining.clone() };
    let drain_limit = config.drain_limit;
    let control = Control::new(feed.clone(), config.clone());
    let router = router(wrap(Service::new(feed.clone(), config, common)), control);

    let stopped = wait_for(draining.clone());
    let served =
        router.serve_with_incoming_shutdown(incoming.map_ok(|io| Gathered::new(Handshake::new(io))), stopped);
    let shutdown = async {
        shutdown.await;
        drain.begin();
        sleep(drain_limit).await;
    };
    tokio::select! {
        served = served => served.map_err(|error| ServeError::Transport(error.into())),
        () = shutdown => {
            tracing::warn!("some connections did not end in time");
            Ok(())
        }
        // They run for ever, unless a store breaks its contract with a panic.
        Some(_) = tasks.join_next() => Err(ServeError::Feed),
    }
}

/// Tells each stream to go, at the latest when it is dropped: connections are tasks of their own and outlive the server.
struct Drain {
    tell: watch::Sender<bool>,
    feed: Arc<Feed>,
}

impl Drain {
    fn begin(&self) {
        self.tell.send_replace(true);
        self.feed.ring_everybody();
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.begin();
    }
}

async fn wait_for(mut draining: watch::Receiver<bool>) {
    // Without its sender the server is gone.
    let _ = draining.wait_for(|draining| *draining).await;
}

fn router(
    service: impl DataService,
    control: Control,
) -> Router<Stack<GrpcOnly, Stack<AccessLog, Identity>>> {
    let service = DataServiceServer::new(service)
        // What is unpacked is held to the size of a message. Answers leave as they are: most are small, and each
        // would be packed anew for every subscriber.
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limit::MESSAGE_BYTES)
        .max_encoding_message_size(limit::MESSAGE_BYTES);
    let control = ControlServiceServer::new(control)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limit::MESSAGE_BYTES)
        .max_encoding_message_size(limit::MESSAGE_BYTES);
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS))
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .layer(AccessLog { peer: |extensions| extensions.get::<TcpConnectInfo>()?.remote_addr() })
        .layer(GrpcOnly)
        .add_service(service)
        .add_service(control)
}
