//! How TLS is spoken.

use std::error::Error;
use std::io;
use std::time::Duration;

use datastream::key::shown;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::secret_file;
use crate::error::Disconnect;
use crate::tls::{Pem, Tls};

const NO_TLS: &str = "it does not speak TLS: an address without it begins with http://";

const NO_HTTP2: &str = "it speaks TLS, and not HTTP/2: whatever ends TLS there must offer `h2` (ALPN)";
const NO_CERTIFICATE: &str =
    "it has no certificate in the PEM format: between lines of BEGIN CERTIFICATE and END CERTIFICATE";
const NO_KEY: &str = "it has no private key in the PEM format, which begins with a line of BEGIN PRIVATE KEY";
/// The largest file: the roots of a whole system are a quarter of a megabyte.
const MOST: usize = 4 << 20;

/// The same endpoint, with TLS. Reads files.
pub(super) fn secure(endpoint: Endpoint, tls: &Tls, limit: Duration) -> Result<Endpoint, Disconnect> {
    let mut config = ClientTlsConfig::new().timeout(limit);
    config = match &tls.roots {
        None => config.with_native_roots(),
        Some(roots) => config.ca_certificate(Certificate::from_pem(trusted(roots)?)),
    };
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(identity(certificate, key)?);
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    endpoint.tls_config(config).map_err(|error| {
        let mut cause: &dyn Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        match (&tls.identity, cause.downcast_ref()) {
            (Some((certificate, key)), Some(error)) => wrong(&name(certificate), &unfit(key, error)),
            _ => wrong("it cannot be set up", &shown(&cause.to_string()).to_string()),
        }
    })
}

/// Whom to trust. Without any, nobody would be, and each connection would fail for another reason.
fn trusted(pem: &Pem) -> Result<Vec<u8>, Disconnect> {
    let text = read(pem)?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates(pem, &text)?);
    match usable {
        0 => Err(unusable(pem)),
        _ => Ok(text),
    }
}

fn identity(certificate: &Pem, key: &Pem) -> Result<Identity, Disconnect> {
    let (chain, secret) = (read(certificate)?, read(key)?);
    let first = certificates(certificate, &chain)?;
    ParsedCertificate::try_from(&first[0]).map_err(|_| unusable(certificate))?;
    PrivateKeyDer::from_pem_slice(&secret).map_err(|_| wrong(&name(key), NO_KEY))?;
    Ok(Identity::from_pem(chain, secret))
}

/// All that are there: one at least.
fn certificates(pem: &Pem, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Disconnect> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|_| unusable(pem))?;
    if found.is_empty() { Err(wrong(&name(pem), NO_CERTIFICATE)) } else { Ok(found) }
}

fn read(pem: &Pem) -> Result<Vec<u8>, Disconnect> {
    match pem {
        Pem::Bytes(bytes) => Ok(bytes.clone()),
        Pem::File(path) => {
            secret_file::read(path, MOST).map_err(|why| Disconnect::Credentials(format!("TLS: {why}")))
        }
    }
}

/// Why a certificate cannot be shown with this key.
fn unfit(key: &Pem, error: &rustls::Error) -> String {
    let key = shown(&name(key));
    match error {
        rustls::Error::InconsistentKeys(_) => format!("it does not belong to the key, {key}"),
        _ => format!("it cannot be used with the key, {key}: {}", shown(&error.to_string())),
    }
}

fn name(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Bytes(_) => "the PEM that is given".to_owned(),
    }
}

fn unusable(pem: &Pem) -> Disconnect {
    wrong(&name(pem), "what stands there as a certificate is none, or damaged")
}

fn wrong(what: &str, why: &str) -> Disconnect {
    Disconnect::Credentials(format!("TLS: {}: {why}", shown(what)))
}

/// What an error of TLS means for people, with a remedy. Without the times that some have, which differ from one attempt
/// to the next.
pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof && io.to_string().contains("handshake"))
    {
        return Some(NO_TLS.to_owned());
    }
    if error.to_string() == "HTTP/2 was not negotiated." {
        return Some(NO_HTTP2.to_owned());
    }
    // HTTP/2 keeps only the text of an alert that comes after the handshake, as one for a certificate does.
    if let Some(alert) = error.to_string().strip_prefix("received fatal alert: ") {
        return Some(refused(alert));
    }
    let inner = io.and_then(|io| io.get_ref()).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    Some(match inner.or_else(|| error.downcast_ref())? {
        rustls::Error::InvalidMessage(_) => NO_TLS.to_owned(),
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer => {
                "its certificate is of an issuer that is not trusted: name a file with the right one"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: is the clock of this machine right?".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name than that of the address".to_owned()
            }
            wrong => format!("its certificate cannot be used: {wrong:?}"),
        },
        other => other.to_string(),
    })
}

fn refused(alert: &str) -> String {
    match alert {
        "CertificateRequired" => "it wants a certificate of this client, which shows none".to_owned(),
        // TLS 1.2 has no other word for a client that shows none.
        "BadCertificate" => {
            "it does not accept the certificate of this client, or misses one: BadCertificate".to_owned()
        }
        "UnsupportedCertificate"
        | "CertificateRevoked"
        | "CertificateExpired"
        | "CertificateUnknown"
        | "UnknownCA"
        | "AccessDenied"
        | "DecryptError" => {
            format!("it does not accept the certificate of this client: {alert}")
        }
        "NoApplicationProtocol" => NO_HTTP2.to_owned(),
        "ProtocolVersion" => "it speaks neither TLS 1.2 nor TLS 1.3".to_owned(),
        alert => format!("it refuses TLS with this client: {alert}"),
    }
}
