//! How TLS is spoken.

use std::error::Error;
use std::io;
use std::time::Duration;

use datastream::key::shown;
use rustls::CertificateError;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::error::Disconnect;
use crate::tls::{Pem, Tls};

const NO_TLS: &str = "it does not speak TLS: an address without it begins with http://";

/// The same endpoint, with TLS. Reads files.
pub(super) fn secure(endpoint: Endpoint, tls: &Tls, limit: Duration) -> Result<Endpoint, Disconnect> {
    let mut config = ClientTlsConfig::new().timeout(limit);
    config = match &tls.roots {
        None => config.with_native_roots(),
        Some(roots) => config.ca_certificate(Certificate::from_pem(certificates(roots)?)),
    };
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    endpoint.tls_config(config).map_err(|error| {
        let mut cause: &dyn Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        wrong(&cause.to_string())
    })
}

/// Without any, nobody would be trusted, and each connection would fail for another reason.
fn certificates(pem: &Pem) -> Result<Vec<u8>, Disconnect> {
    let text = read(pem)?;
    let begin: &[u8] = b"-----BEGIN CERTIFICATE-----";
    match text.windows(begin.len()).any(|window| window == begin) {
        true => Ok(text),
        false => Err(wrong(&format!("{pem:?} has no certificate in the PEM format"))),
    }
}

fn read(pem: &Pem) -> Result<Vec<u8>, Disconnect> {
    match pem {
        Pem::Bytes(bytes) => Ok(bytes.clone()),
        Pem::File(path) => {
            std::fs::read(path).map_err(|error| wrong(&format!("{}: {error}", path.display())))
        }
    }
}

fn wrong(why: &str) -> Disconnect {
    Disconnect::Credentials(format!("TLS: {}", shown(why)))
}

/// What an error of TLS means for people, with a remedy. Without the times that some have, which differ from one attempt
/// to the next.
pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof && io.to_string().contains("handshake"))
    {
        return Some(NO_TLS.to_owned());
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
        alert => format!("it refuses TLS with this client: {alert}"),
    }
}
