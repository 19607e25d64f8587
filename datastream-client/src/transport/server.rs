//! A server as it is reached: over a connection that is made when it is first needed, by somebody who says who it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;
use tonic::Request;
use tonic::transport::Endpoint;

use super::address::{Address, Way};
use super::bearer::Token;
use super::checked::Checked;
use super::connector::Connector;
use crate::error::{CallError, Disconnect};

/// How often a quiet connection is pinged, and how long it may take to answer. Streams of our servers have their
/// heartbeats, and calls their deadlines; this is for those of the original. gRPC servers end a connection that is
/// pinged more often than each five minutes while they send nothing.
const PING: (Duration, Duration) = (Duration::from_secs(330), Duration::from_secs(10));
/// How soon, how often and how many times the peer's system is asked for a sign of life, which no server counts.
const TCP_KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);

/// How servers are reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) token: Token,
    #[cfg(feature = "tls")]
    pub(crate) tls: crate::tls::Tls,
    pub(crate) connector: Option<Connector>,
}

/// The servers of a client, in the order in which they are tried.
pub(super) struct Servers {
    addresses: Vec<Address>,
    access: Arc<Access>,
    limit: Duration,
}

/// One of them, and a connection to it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: Address,
    access: Arc<Access>,
    limit: Duration,
    channel: Arc<OnceCell<Checked>>,
    /// Whether calls are to go elsewhere: only what this very one did counts.
    is_spent: Arc<AtomicBool>,
    has_others: bool,
}

/// A connection for one purpose.
#[derive(Default)]
pub(super) struct Lane {
    turn: usize,
    server: Option<Server>,
}

impl Servers {
    /// `limit` is for a connection.
    pub(super) fn new(addresses: &str, access: Access, limit: Duration) -> Result<Self, Disconnect> {
        let addresses = Address::parse_all(addresses)?;
        if let Some(open) = addresses.iter().find(|address| address.is_open() && access.token.is_some()) {
            tracing::warn!(server = open.name, "the token goes over a connection without TLS");
        }
        Ok(Self { addresses, access: Arc::new(access), limit })
    }

    fn connect(&self, turn: usize) -> Server {
        let address = self.addresses[turn % self.addresses.len()].clone();
        Server {
            address,
            access: self.access.clone(),
            limit: self.limit,
            channel: Arc::default(),
            is_spent: Arc::default(),
            has_others: self.addresses.len() > 1,
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.addresses.iter().map(|address| address.name.clone()).collect()
    }
}

impl Lane {
    /// A lane that begins with the server of this number.
    pub(super) fn to(turn: usize) -> Self {
        Self { turn, server: None }
    }

    /// The connection; a new one, if there is none, to the next server if this one is spent.
    pub(super) fn server(&mut self, servers: &Servers) -> Server {
        if self.server.take_if(|server| server.is_spent.load(Ordering::Relaxed)).is_some() {
            self.turn = self.turn.wrapping_add(1);
        }
        self.server.get_or_insert_with(|| servers.connect(self.turn)).clone()
    }

    /// Does not trust the connection again.
    pub(super) fn renew(&mut self) {
        self.server = None;
    }
}

impl Server {
    /// What a call needs: the connection, which may still have to be made, and a request that says who asks.
    pub(super) async fn ready<Q>(&self, message: Q) -> Result<(Checked, Request<Q>), Disconnect> {
        let mut request = Request::new(message);
        let bearer = timeout(self.limit, self.access.token.bearer()).await;
        let late =
            || Disconnect::Credentials(format!("no token: there was no answer within {:?}", self.limit));
        if let Some(bearer) = bearer.unwrap_or_else(|_| Err(late()))? {
            request.metadata_mut().insert("authorization", bearer);
        }
        let channel = self.channel.get_or_try_init(|| self.connect()).await?;
        Ok((channel.clone(), request))
    }

    /// Sends later calls elsewhere, if this error says that the connection is not to be trusted again; or that the server
    /// does not serve for now, and there is another.
    pub(super) fn judge(&self, error: &CallError) {
        let is_spent = match error {
            CallError::TimedOut => true,
            CallError::Unreachable(why) => !matches!(**why, Disconnect::Credentials(_)),
            CallError::Failed(why) => match &**why {
                Disconnect::Refused { code, .. } => *code == "UNAVAILABLE" && self.has_others,
                _ => true,
            },
            _ => false,
        };
        if is_spent {
            self.is_spent.store(true, Ordering::Relaxed);
        }
    }

    async fn connect(&self) -> Result<Checked, Disconnect> {
        let endpoint = self.endpoint().await?;
        let endpoint = endpoint.connect_timeout(self.limit).tcp_nodelay(true);
        let endpoint = endpoint.http2_keep_alive_interval(PING.0).keep_alive_timeout(PING.1);
        let (idle, interval, retries) = TCP_KEEPALIVE;
        let endpoint = endpoint.tcp_keepalive(Some(idle)).tcp_keepalive_interval(Some(interval));
        let endpoint = endpoint.tcp_keepalive_retries(Some(retries));
        Ok(Checked(match &self.access.connector {
            Some(connector) if self.address.way != Way::Unix => {
                endpoint.connect_with_connector_lazy(connector.clone())
            }
            _ => endpoint.connect_lazy(),
        }))
    }

    #[cfg(feature = "tls")]
    async fn endpoint(&self) -> Result<Endpoint, Disconnect> {
        if self.address.way != Way::Tls {
            return Ok(self.address.endpoint.clone());
        }
        let (endpoint, access, limit) = (self.address.endpoint.clone(), self.access.clone(), self.limit);
        // It reads files.
        let secured = tokio::task::spawn_blocking(move || super::tls::secure(endpoint, &access.tls, limit));
        secured.await.unwrap_or(Err(Disconnect::Interrupted))
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS, files are read")]
    async fn endpoint(&self) -> Result<Endpoint, Disconnect> {
        Ok(self.address.endpoint.clone())
    }
}
