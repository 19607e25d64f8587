//! Connections to the database.

use std::fs::File;
use std::future::poll_fn;
use std::io::BufReader;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Tls};
use super::error::OpenError;
use crate::retry::Connection;

/// For how long a host may leave us without an answer when it is dialled.
const CONNECT: Duration = Duration::from_secs(5);
/// After how long a silent network is asked, by TCP, whether it is still there.
const IDLE: Duration = Duration::from_secs(10);

/// For how long a connection to a standby is kept, where the address names another host that may be the primary.
const STANDBY: Duration = Duration::from_secs(5);

/// What is called when the server says something that was not asked for.
pub(super) type Heard = Box<dyn FnMut(AsyncMessage) + Send>;

/// Makes connections to one database.
pub(super) struct Dialler {
    pub(super) address: Address,
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Dialler {
    pub(super) fn new(address: Address) -> Result<Self, OpenError> {
        let mut config = address.config.clone();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.keepalives_idle(IDLE).keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        config.tcp_user_timeout(2 * IDLE);
        let tls = match &address.tls {
            Tls::Off => None,
            Tls::VerifyFull(roots) => Some(MakeRustlsConnect::new(verifying(roots.as_deref())?)),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { address, config, tls })
    }

    /// A connection, which `heard` is called from. It ends when the client is dropped.
    ///
    /// Who takes connections may still say nothing: the driver limits the first step alone, so all of it is limited here.
    pub(super) async fn connect(&self, heard: Heard) -> Result<Client, OpenError> {
        let each = self.config.get_connect_timeout().copied().unwrap_or(CONNECT);
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        let limit = each.saturating_mul(hosts.saturating_add(1));
        match timeout(limit, self.dial(heard)).await {
            Ok(connected) => connected.map_err(|error| OpenError::of_connect(&self.address, &error)),
            Err(_) => {
                let cause = format!("no answer within {limit:?}");
                Err(OpenError::Unreachable { hosts: self.address.hosts(), cause })
            }
        }
    }

    async fn dial(&self, heard: Heard) -> Result<Client, tokio_postgres::Error> {
        match &self.tls {
            None => self.config.connect(NoTls).await.map(|(client, connection)| {
                drop(tokio::spawn(drive(connection, heard)));
                client
            }),
            Some(tls) => self.config.connect(tls.clone()).await.map(|(client, connection)| {
                drop(tokio::spawn(drive(connection, heard)));
                client
            }),
        }
    }

    /// A connection for questions and answers.
    pub(super) async fn ask(&self) -> Result<Session, OpenError> {
        let client = self.connect(Box::new(|_| {})).await?;
        let mut leave_at = None;
        if self.config.get_hosts().len() > 1 {
            let question = client.query_typed_one("SELECT pg_is_in_recovery()", &[]);
            let answer = timeout(CONNECT, question).await.ok().and_then(Result::ok);
            let is_standby = answer.is_none_or(|row| row.try_get(0).unwrap_or(true));
            leave_at = is_standby.then(|| Instant::now() + STANDBY);
        }
        Ok(Session { client, leave_at })
    }
}

/// A connection, for as long as it is worth to be kept.
pub(super) struct Session {
    client: Client,
    /// When to look for the primary, which may be back.
    leave_at: Option<Instant>,
}

impl Connection for Session {
    fn is_lost(&self) -> bool {
        self.client.is_closed() || self.leave_at.is_some_and(|leave_at| Instant::now() >= leave_at)
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Moves what is asked and answered, until either side has enough. Whoever asks is told how it ended.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, mut heard: Heard)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|cx| Pin::new(&mut connection).get_mut().poll_message(cx)).await {
        heard(message);
    }
}

/// TLS that trusts those in the file, or else those whom the system trusts.
fn verifying(roots: Option<&Path>) -> Result<ClientConfig, OpenError> {
    let mut trusted = RootCertStore::empty();
    let found = match roots {
        Some(path) => read(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    trusted.add_parsable_certificates(found);
    if trusted.is_empty() {
        return Err(OpenError::Roots { cause: "there are none".to_owned() });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| OpenError::Roots { cause: error.to_string() })?;
    Ok(builder.with_root_certificates(trusted).with_no_client_auth())
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let failed = |cause: String| OpenError::Roots { cause: format!("{}: {cause}", path.display()) };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let certificates = CertificateDer::pem_reader_iter(BufReader::new(file));
    certificates.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))
}
