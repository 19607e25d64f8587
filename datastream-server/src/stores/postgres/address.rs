//! Where a database is: a URL, and what the environment says where the URL does not.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use datastream::value;
use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::passfile;

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

/// A variable of the environment.
type Variable<'e> = &'e dyn Fn(&str) -> Option<String>;

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
        let is_bare = matches!(text.split('?').next(), Some("postgres:" | "postgresql:"));
        let from_environment = is_bare.then(|| variable("DATABASE_URL")).flatten();
        let (place, query) = match (&from_environment, text.split_once('?')) {
            (Some(url), _) => url.split_once('?').unwrap_or((url, "")),
            (None, Some(parts)) => parts,
            (None, None) => (text, ""),
        };
        // The options of the flag beside those of the variable.
        let ours = from_environment.as_ref().and(text.split_once('?')).map_or("", |(_, query)| query);
        let mut options = Options::default();
        for pair in query.split('&').chain(ours.split('&')).filter(|pair| !pair.is_empty()) {
            options.take(pair)?;
        }
        let place = if place.ends_with("postgres:") || place.ends_with("postgresql:") {
            "postgres://"
        } else {
            place
        };
        let mut config =
            Config::from_str(&format!("{place}?{}", options.rest.join("&"))).map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                format!(
                    "not an address of PostgreSQL{}: postgres://user@host:5432/database?table=data is one",
                    cause.unwrap_or_default()
                )
            })?;
        complete(&mut config, variable)?;
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

/// What stands behind the `?`: ours, and what is left for the driver.
#[derive(Default)]
struct Options {
    table: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    reconcile: Option<Duration>,
    poll: Option<Duration>,
    rest: Vec<String>,
}

impl Options {
    fn take(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = percent_decode_str(value).decode_utf8().map_err(|_| format!("{name} is not UTF-8"))?;
        match name {
            "table" if text.is_empty() => return Err("table needs a name: ?table=data".to_owned()),
            "table" => self.table = Some(text.into_owned()),
            "sslmode" => self.sslmode = Some(text.into_owned()),
            "sslrootcert" => self.sslrootcert = Some(text.into_owned()),
            "reconcile" => self.reconcile = Some(duration(name, &text)?),
            "poll" => self.poll = Some(duration(name, &text)?),
            _ => self.rest.push(pair.to_owned()),
        }
        Ok(())
    }

    /// Off where nobody else can listen, else on and verified: less would not tell the server from who stands between.
    fn tls(&self, config: &Config, variable: Variable<'_>) -> Result<Tls, String> {
        let roots = self.sslrootcert.clone().or_else(|| variable("PGSSLROOTCERT")).map(PathBuf::from);
        let mode = self.sslmode.clone().or_else(|| variable("PGSSLMODE"));
        match mode.as_deref() {
            Some("disable") => Ok(Tls::Off),
            Some("require" | "verify-ca" | "verify-full") => Ok(Tls::VerifyFull(roots)),
            None | Some("prefer" | "allow") if config.get_hosts().iter().all(is_here) => Ok(Tls::Off),
            None | Some("prefer" | "allow") => Ok(Tls::VerifyFull(roots)),
            Some(other) => Err(format!("sslmode is verify-full or disable, not {other:?}")),
        }
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, String> {
    let interval: Duration = value::decode("duration", &text.to_owned().into())
        .map_err(|error| format!("{name} is a duration, as in ?{name}=10m: {error}"))?;
    Ok(interval.max(Duration::from_millis(10)))
}

/// Whether a host is this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// What the URL left out.
fn complete(config: &mut Config, variable: Variable<'_>) -> Result<(), String> {
    if config.get_hosts().is_empty() {
        let hosts = variable("PGHOST").unwrap_or_else(default_host);
        hosts.split(',').for_each(|host| _ = config.host(host));
    }
    if config.get_ports().is_empty()
        && let Some(ports) = variable("PGPORT")
    {
        for port in ports.split(',') {
            config.port(port.parse().map_err(|_| "PGPORT is not a port".to_owned())?);
        }
    }
    if config.get_user().is_none() {
        variable("PGUSER").map(|user| config.user(user));
    }
    if config.get_dbname().is_none() {
        variable("PGDATABASE").map(|name| config.dbname(name));
    }
    if config.get_application_name().is_none() {
        config.application_name(variable("PGAPPNAME").as_deref().unwrap_or("datastream-server"));
    }
    if let Some(seconds) = variable("PGCONNECT_TIMEOUT").filter(|_| config.get_connect_timeout().is_none()) {
        let seconds =
            seconds.parse().map_err(|_| "PGCONNECT_TIMEOUT is not a number of seconds".to_owned())?;
        config.connect_timeout(Duration::from_secs(seconds));
    }
    target(config, variable)?;
    if config.get_password().is_none() {
        let password = variable("PGPASSWORD").or_else(|| passfile::password(config, variable));
        password.map(|password| config.password(password));
    }
    Ok(())
}

fn target(config: &mut Config, variable: Variable<'_>) -> Result<(), String> {
    use tokio_postgres::config::TargetSessionAttrs::{Any, ReadOnly, ReadWrite};
    if config.get_target_session_attrs() != Any {
        return Ok(());
    }
    config.target_session_attrs(match variable("PGTARGETSESSIONATTRS").as_deref() {
        None | Some("any") => Any,
        Some("read-write" | "primary") => ReadWrite,
        Some("read-only" | "standby") => ReadOnly,
        Some(other) => {
            return Err(format!("PGTARGETSESSIONATTRS is any, read-write or read-only, not {other:?}"));
        }
    });
    Ok(())
}

/// Where libpq looks: the socket, or the loopback where there is none.
fn default_host() -> String {
    let sockets = ["/var/run/postgresql", "/tmp"];
    let found =
        sockets.into_iter().find(|folder| std::path::Path::new(folder).join(".s.PGSQL.5432").exists());
    found.unwrap_or("localhost").to_owned()
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
    }

    #[test]
    fn a_bare_address_is_that_of_database_url() {
        let variables = [("DATABASE_URL", "postgres://u@h:1/d?connect_timeout=3"), ("PGUSER", "other")];
        assert_eq!(parsed("postgres:?table=t", &variables).to_string(), "postgres://u@h:1/d?table=t");
        assert_eq!(parsed("postgres://v@k:2/e", &variables).to_string(), "postgres://v@k:2/e?table=data");
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
        ] {
            let error = parse(text, &[]).expect_err(text);
            assert!(error.contains(told) && !error.contains("secret"), "{error}");
        }
    }
}
