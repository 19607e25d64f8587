//! What a cluster is made with: its settings, who is admitted how, and its certificate.

use std::path::Path;

use super::certificates::Certificates;
use super::cluster::Cluster;
use super::role::WITH_PASSWORD;
use super::server::{Server, data_of};
use super::{account, programs};

/// The owner of all clusters.
pub(super) const SUPERUSER: &str = "postgres";

/// What a cluster is made with. By default: as Debian's package is, and everybody is admitted but roles that have a
/// password, who must know it.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    settings: Vec<(&'a str, &'a str)>,
    rules: Vec<&'a str>,
    certificates: Option<&'a Certificates>,
}

impl<'a> Setup<'a> {
    /// A line of `postgresql.conf`; the last of a name counts.
    #[must_use]
    pub(crate) fn set(mut self, name: &'a str, value: &'a str) -> Self {
        self.settings.push((name, value));
        self
    }

    /// A line of `pg_hba.conf`, before those that are there by default; the first that fits counts.
    #[must_use]
    pub(crate) fn rule(mut self, rule: &'a str) -> Self {
        self.rules.push(rule);
        self
    }

    /// TLS, for those who ask for it.
    #[must_use]
    pub(crate) fn tls(mut self, certificates: &'a Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Makes the cluster and starts it.
    pub(crate) fn start(&self) -> Cluster {
        let folder = account::folder();
        let data = data_of(folder.path());
        let mut initdb = account::command(&programs::postgres("initdb"));
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust"]);
        initdb.args(["--username", SUPERUSER, "--pgdata"]).arg(&data);
        programs::run(initdb.current_dir(folder.path()));
        std::fs::write(data.join("postgresql.conf"), self.settings(folder.path()))
            .expect("it can be written");
        std::fs::write(data.join("pg_hba.conf"), self.rules()).expect("it can be written");
        let cluster = Cluster::of(Server::start_in(folder));
        cluster.psql(&format!("create role {WITH_PASSWORD} nologin"));
        cluster
    }

    fn settings(&self, folder: &Path) -> String {
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            // In the folder, and so gone with it, also when the server is killed.
            "dynamic_shared_memory_type = 'mmap'".to_owned(),
        ];
        if let Some(certificates) = self.certificates {
            let (certificate, key) = certificates.install(folder);
            lines.push("ssl = 'on'".to_owned());
            lines.push(format!("ssl_cert_file = '{}'", certificate.display()));
            lines.push(format!("ssl_key_file = '{}'", key.display()));
        }
        let quoted = |(name, value): &(&str, &str)| format!("{name} = '{}'", value.replace('\'', "''"));
        lines.extend(self.settings.iter().map(quoted));
        lines.join("\n") + "\n"
    }

    fn rules(&self) -> String {
        let with_password = format!("host all +{WITH_PASSWORD} 127.0.0.1/32 scram-sha-256");
        let mut rules = self.rules.clone();
        rules.extend(["local all all trust", &with_password, "host all all 127.0.0.1/32 trust"]);
        rules.push("host replication all 127.0.0.1/32 trust");
        rules.join("\n") + "\n"
    }
}
