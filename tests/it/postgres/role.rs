//! Who is no superuser.

use super::database::Database;
use super::psql;

/// The group of those whom a cluster asks for a password.
pub(super) const WITH_PASSWORD: &str = "with_password";

/// A role that may connect to a database; dropped with it.
pub(crate) struct Role<'a> {
    database: &'a Database,
    name: String,
    password: Option<String>,
}

impl<'a> Role<'a> {
    pub(super) fn create(database: &'a Database, name: &str, password: Option<&str>) -> Self {
        let name = format!("{name}_{}", database.name());
        let demanded = password.map(|password| format!("password '{password}' in role {WITH_PASSWORD}"));
        database.psql(&format!("create role {name} login {}", demanded.unwrap_or_default()));
        Self { database, name, password: password.map(str::to_owned) }
    }

    /// Its name, for GRANT and the like; without a need for quotes.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it connects to the database, with the password if it has one.
    pub(crate) fn url(&self) -> String {
        let password = self.password.as_ref().map(|password| format!(":{password}"));
        let who = format!("{}{}", self.name, password.unwrap_or_default());
        self.database.cluster().url_of(&who, self.database.name())
    }

    /// Runs SQL as this role.
    pub(crate) fn psql(&self, sql: &str) -> String {
        psql::expected(sql, self.try_psql(sql))
    }

    /// As [`psql`](Self::psql), where it may fail.
    pub(crate) fn try_psql(&self, sql: &str) -> Result<String, String> {
        psql::psql(&self.url(), sql)
    }
}
