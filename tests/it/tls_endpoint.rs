//! TLS in front of a server, as a proxy of an operator is, with certificates of the test's own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An issuer of certificates.
pub(crate) struct Issuer(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in the PEM format.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A listener that speaks TLS, and passes on what is said to a server. It is gone when dropped.
pub(crate) struct TlsEndpoint {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it can be signed"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, or addresses.
    pub(crate) fn identity(&self, names: &[&str]) -> Identity {
        self.identity_between(names, 1975, 4096)
    }

    /// One that is valid from the beginning of one year to that of the other.
    pub(crate) fn identity_between(&self, names: &[&str], first: i32, end: i32) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(end, 1, 1));
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.0).expect("it can be signed").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

impl Identity {
    /// Writes both files, and says where they are.
    pub(crate) fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, &self.certificate).expect("the folder can be written");
        std::fs::write(&key, &self.key).expect("the folder can be written");
        (certificate, key)
    }

    /// What a server with this identity speaks, to clients with a certificate of `clients` if one is named.
    pub(crate) fn config(&self, clients: Option<&Issuer>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().expect("they are supported");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(issuer) => {
                let mut roots = RootCertStore::empty();
                roots.add(issuer.0.der().clone()).expect("it is a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.expect("it has a root"))
            }
        };
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("it is one");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("it is one");
        let mut config = builder.with_single_cert(vec![certificate], key).expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

impl TlsEndpoint {
    /// In front of the server at `url`.
    pub(crate) async fn start(url: &str, config: ServerConfig) -> Self {
        let behind = url.strip_prefix("http://").expect("it is an address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let (acceptor, count) = (TlsAcceptor::from(Arc::new(config)), accepted.clone());
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass_on(acceptor.clone(), connection, behind.clone()));
            }
        });
        Self { address, accepted, serving }
    }

    /// The address, with this host.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for TlsEndpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A client that does not like what it sees goes away; the test looks at what it says.
async fn pass_on(acceptor: TlsAcceptor, connection: TcpStream, behind: String) {
    let Ok(mut secured) = acceptor.accept(connection).await else { return };
    let Ok(mut server) = TcpStream::connect(behind).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut secured, &mut server).await;
}
