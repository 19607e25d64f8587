//! A database of one test.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_postgres::{Client, NoTls};

use super::cluster::Cluster;
use super::psql;
use super::role::Role;

static CREATED: AtomicUsize = AtomicUsize::new(0);

/// A database with a name of its own, empty at first; dropped with its roles, whoever is connected.
pub(crate) struct Database {
    cluster: Cluster,
    name: String,
    roles: Mutex<Vec<String>>,
}

impl Database {
    pub(super) fn create(cluster: &Cluster) -> Self {
        let name = format!("test_{}", CREATED.fetch_add(1, Ordering::Relaxed));
        // Nobody is ever connected to this template, which would keep it from being copied.
        cluster.psql(&format!("create database {name} template template0"));
        Self { cluster: cluster.clone(), name, roles: Mutex::default() }
    }

    /// Its name, without a need for quotes.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where a superuser connects to it.
    pub(crate) fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// Runs SQL in it as a superuser. Returns what it answers, a row in a line, `|` between columns.
    pub(crate) fn psql(&self, sql: &str) -> String {
        psql::expected(sql, self.try_psql(sql))
    }

    /// As [`psql`](Self::psql), where it may fail: then returns what `psql` complains about.
    pub(crate) fn try_psql(&self, sql: &str) -> Result<String, String> {
        psql::psql(&self.url(), sql)
    }

    /// A session of a superuser, for tests that need many statements or one transaction.
    pub(crate) async fn connect(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url(), NoTls).await.expect("it takes connections");
        // Its error is the client's too.
        tokio::spawn(connection);
        client
    }

    /// Makes a role that may log in, and nothing else. Its name in the cluster has this database's name in it.
    pub(crate) fn role(&self, name: &str) -> Role<'_> {
        self.create_role(name, None)
    }

    /// As [`role`](Self::role), and it must show a password of letters and digits when it connects.
    pub(crate) fn role_with_password(&self, name: &str, password: &str) -> Role<'_> {
        self.create_role(name, Some(password))
    }

    fn create_role(&self, name: &str, password: Option<&str>) -> Role<'_> {
        let role = Role::create(self, name, password);
        self.roles.lock().expect("no holder panics").push(role.name().to_owned());
        role
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It goes with the cluster, if that does not run.
        let _ = self.cluster.try_psql(&format!("drop database if exists {} with (force)", self.name));
        for role in self.roles.get_mut().into_iter().flatten() {
            let _ = self.cluster.try_psql(&format!("drop role if exists {role}"));
        }
    }
}
