//! What stands behind the `?` of an address.

use std::path::PathBuf;
use std::time::Duration;

use datastream::value;
use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::address::{Tls, Variable};

/// Ours, and what is left for the driver.
#[derive(Default)]
pub(super) struct Options {
    pub(super) table: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    pub(super) reconcile: Option<Duration>,
    pub(super) poll: Option<Duration>,
    pub(super) rest: Vec<String>,
}

impl Options {
    pub(super) fn take(&mut self, pair: &str) -> Result<(), String> {
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
    pub(super) fn tls(&self, config: &Config, variable: Variable<'_>) -> Result<Tls, String> {
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
