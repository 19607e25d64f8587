//! A certificate for a server on this machine, and who signed it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{account, programs};

/// All of it, so that nothing comes from the settings of the machine.
const REQUEST: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[server]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost
";

/// A certificate for `localhost`, and for no address; an authority that signed it, and one that did not.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes new ones, which are valid for two days.
    pub(crate) fn new() -> Self {
        let certificates = Self { folder: TempDir::new().expect("a folder") };
        std::fs::write(certificates.path("request"), REQUEST).expect("it can be written");
        certificates.make("authority", "authority", &[]);
        certificates.make("foreign", "authority", &[]);
        certificates.make("server", "server", &["-CA", "authority.pem", "-CAkey", "authority.key"]);
        certificates
    }

    fn make(&self, name: &str, extensions: &str, signed: &[&str]) {
        let mut openssl = programs::command(&programs::find("openssl", "openssl"));
        openssl.args(["req", "-x509", "-config", "request", "-extensions", extensions, "-days", "2"]);
        openssl.args(["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{name}.key")]);
        openssl.args(["-out", &format!("{name}.pem")]).args(signed);
        programs::run(openssl.current_dir(self.folder.path()));
    }

    /// The authority that a client should trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// An authority that has nothing to do with the server.
    pub(crate) fn foreign_authority(&self) -> PathBuf {
        self.path("foreign.pem")
    }

    /// Puts the server's certificate and key into the folder of a server. The key is readable by the account alone, or
    /// PostgreSQL would not take it.
    pub(super) fn install(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let copies = ["server.pem", "server.key"].map(|name| {
            let copy = folder.join(name);
            std::fs::copy(self.path(name), &copy).expect("it can be copied");
            std::fs::set_permissions(&copy, Permissions::from_mode(0o600)).expect("it is ours");
            account::own(&copy);
            copy
        });
        copies.into()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
