//! Where a database is: a URL, and what the environment says where the URL does not.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::environment;
use super::options::Options;

/// Which PostgreSQL is served, and how.
///
/// Made of `postgres://user@host:port/database?table=data`, with libpq's options behind the `?` and those of
/// [`Address::parse`]. What the URL leaves out is taken from libpq's variables (`PGHOST`, `PGPORT`, `PGUSER`,
/// `PGPASSWORD`, `PGPASSFILE`, `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGAPPNAME`, `PGCONNECT_TIMEOUT`,
/// `PGTARGETSESSIONATTRS`), and of a bare `postgres:` everything from `DATABASE_URL`, if that is set. Shown without its
/// password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) config: Config,
    /// The user's table; with its schema in front where it is not on the search path.
    pub(super) table: String,
    pub(super) tls: Tls,
    /// How often the table is compared with the log, for what was written past the triggers.
    pub(super) reconcile: Duration,
    /// How often a table is read that cannot be followed.
    pub(super) poll: Duration,
}

/// How the connection is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// Not at all: for this machine, and for networks that are trusted.
    Off,
    /// Encrypted, to the server whose name the certificate has. Trusts who is in the file, or else whom the system trusts.
    VerifyFull(Option<PathBuf>),
}

/// What a variable of the environment holds, if it holds something.
pub(super) type Variable<'e> = &'e dyn Fn(&str) -> Option<String>;

fn wrong(why: &str) -> String {
    format!("not an address of PostgreSQL{why}: postgres://user@host:5432/database?table=data is one")
}

impl Address {
    /// Reads a URL. Beside what libpq knows, its options are:
    ///
    /// - `table`: the user's table. Default: `data`.
    /// - `sslmode`: `verify-full` or `disable`; `require` and `verify-ca` are taken for `verify-full`. Default: `disable`
    ///   for this machine (a socket, loopback), else `verify-full`.
    /// - `sslrootcert`: a file of the certificates to trust. Default: those that the system trusts.
    /// - `reconcile`: how often the table is compared with the log. Default: `10m`; at least `10ms`.
    /// - `poll`: how often a table that cannot be followed is read. Default: `5s`; at least `10ms`.
    ///
    /// # Errors
    ///
    /// In words that follow the name of the flag, without the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_in(text, &|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn parse_in(text: &str, variable: Variable<'_>) -> Result<Self, String> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let is_bare = matches!(place, "postgres:" | "postgresql:");
        let url = is_bare.then(|| variable("DATABASE_URL")).flatten();
        let url = url.as_deref().unwrap_or(if is_bare { "postgres://" } else { place });
        let (place, theirs) = url.split_once('?').unwrap_or((url, ""));
        if !(place.starts_with("postgres://") || place.starts_with("postgresql://")) {
            return Err(wrong(""));
        }
        let mut options = Options::default();
        for pair in theirs.split('&').chain(query.split('&')).filter(|pair| !pair.is_empty()) {
            options.take(pair)?;
        }
        let place = environment::with_port(place, variable);
        let config = Config::from_str(&format!("{place}?{}", options.rest.join("&")));
        let mut config = config.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
            wrong(&cause.unwrap_or_default())
        })?;
        environment::complete(&mut config, variable)?;
        Ok(Self {
            tls: options.tls(&config, variable)?,
            config,
            table: options.table.unwrap_or_else(|| "data".to_owned()),
            reconcile: options.reconcile.unwrap_or(Duration::from_secs(10 * 60)),
            poll: options.poll.unwrap_or(Duration::from_secs(5)),
        })
    }

    /// The hosts, for people.
    pub(super) fn hosts(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        hosts.collect::<Vec<_>>().join(",")
    }

    /// The name of the database, for people.
    pub(super) fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or("(that of the user's name)")
    }

    /// The user, for people.
    pub(super) fn user(&self) -> &str {
        self.config.get_user().unwrap_or("(that of the system)")
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}/{}?table={}", self.user(), self.hosts(), self.database(), self.table)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Address, String> {
        Address::parse_in(text, &|name| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn parsed(text: &str, variables: &[(&str, &str)]) -> Address {
        parse(text, variables).expect("an address")
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        let address = parsed("postgres://app:secret@db.example:6000/settings?table=app.data", &[]);
        let shown = "postgres://app@db.example:6000/settings?table=app.data";
        assert_eq!((address.to_string(), format!("{address:?}")), (shown.to_owned(), shown.to_owned()));
        assert_eq!(address.config.get_password(), Some(&b"secret"[..]));
    }

    #[test]
    fn what_the_url_leaves_out_is_taken_from_the_environment() {
        let variables =
            [("PGHOST", "db"), ("PGPORT", "6000"), ("PGUSER", "u"), ("PGDATABASE", "d"), ("PGPASSWORD", "p")];
        assert_eq!(parsed("postgres:", &variables).to_string(), "postgres://u@db:6000/d?table=data");
        assert_eq!(parsed("postgres://v@h/e", &variables).to_string(), "postgres://v@h:6000/e?table=data");
        assert_eq!(parsed("postgres:", &variables).config.get_password(), Some(&b"p"[..]));
        for (url, hosts) in [
            ("postgres://u:p@h:1,k/e", "h:1,k:6000"),
            ("postgres://[::1]/e", "::1:6000"),
            ("postgres://[::1]:1/e", "::1:1"),
        ] {
            assert_eq!(parsed(url, &variables).hosts(), hosts, "{url}");
        }
    }

    #[test]
    fn a_bare_address_is_that_of_database_url() {
        let variables = [("DATABASE_URL", "postgres://u@h:1/d?connect_timeout=3"), ("PGUSER", "other")];
        assert_eq!(parsed("postgres:?table=t", &variables).to_string(), "postgres://u@h:1/d?table=t");
        assert_eq!(parsed("postgres://v@k:2/e", &variables).to_string(), "postgres://v@k:2/e?table=data");
    }

    #[test]
    fn a_database_url_that_is_none_is_told() {
        for url in ["host=db password=secret", "mysql://u:secret@h/d"] {
            let error = parse("postgres:", &[("DATABASE_URL", url)]).expect_err(url);
            assert!(error.contains("not an address") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn others_than_this_machine_are_verified() {
        let tls = |text: &str, variables: &[_]| parsed(text, variables).tls;
        for here in
            ["postgres://localhost/d", "postgres://127.0.0.1/d", "postgres://[::1]/d", "postgres://%2Frun/d"]
        {
            assert_eq!(tls(here, &[]), Tls::Off, "{here}");
        }
        assert_eq!(tls("postgres://db/d", &[]), Tls::VerifyFull(None));
        assert_eq!(tls("postgres://db/d?sslmode=disable", &[]), Tls::Off);
        assert_eq!(tls("postgres://db/d", &[("PGSSLMODE", "disable")]), Tls::Off);
        let roots = Tls::VerifyFull(Some("/ca".into()));
        assert_eq!(tls("postgres://localhost/d?sslmode=require&sslrootcert=/ca", &[]), roots);
        assert_eq!(tls("postgres://db/d", &[("PGSSLROOTCERT", "/ca"), ("PGSSLMODE", "prefer")]), roots);
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for (text, told) in [
            ("postgres://u:secret@h/d?sslmode=maybe", "sslmode"),
            ("postgres://u:secret@h/d?reconcile=soon", "reconcile"),
            ("postgres://u:secret@h/d?table=", "table"),
            ("postgres://u:secret@h/d?sslkey=k", "sslkey"),
            ("postgres://u:secret@h:many/d", "port"),
            ("mysql://u:secret@h/d", "not an address"),
        ] {
            let error = parse(text, &[]).expect_err(text);
            assert!(error.contains(told) && !error.contains("secret"), "{error}");
        }
    }
}
