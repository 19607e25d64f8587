//! What a client trusts, and how it shows who it is.

use std::fmt;
use std::path::PathBuf;

/// TLS: whose certificates are trusted, and the client's own.
///
/// It is for addresses that begin with `https://`. The default trusts what the system does, and shows nothing. Files are
/// in the PEM format and are read for each connection, so that they may be replaced while the client runs; one that
/// cannot be read, or does not fit, is shown by [`status`](crate::Client::status) and tried again.
///
/// ```
/// use datastream_client::{Client, Tls};
///
/// let tls = Tls::default().ca_file("/etc/datastream/ca.pem").identity_files("me.pem", "me.key");
/// let client = Client::builder("https://settings.example:8443").tls(tls).connect();
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Tls {
    pub(crate) roots: Option<Pem>,
    pub(crate) identity: Option<(Pem, Pem)>,
    pub(crate) server_name: Option<String>,
}

/// Something in the PEM format.
#[derive(Clone)]
pub(crate) enum Pem {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Tls {
    /// Trusts the certificates of this file, and no longer those that the system trusts.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots = Some(Pem::File(path.into()));
        self
    }

    /// As [`ca_file`](Self::ca_file), with what would stand in the file.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(Pem::Bytes(pem.into()));
        self
    }

    /// Shows this certificate, with the key that it belongs to, to a server that asks for one.
    pub fn identity_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// As [`identity_files`](Self::identity_files), with what would stand in the files.
    pub fn identity_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((Pem::Bytes(certificate.into()), Pem::Bytes(key.into())));
        self
    }

    /// Expects a certificate of this name, and not of the host in the address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}

impl fmt::Debug for Tls {
    /// Shows the files, and never what stands in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots)
            .field("identity", &self.identity)
            .field("server_name", &self.server_name)
            .finish()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Bytes(_) => f.write_str("given"),
        }
    }
}
