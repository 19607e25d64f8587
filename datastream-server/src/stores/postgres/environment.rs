//! libpq's variables: <https://www.postgresql.org/docs/current/libpq-envars.html>.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;

use super::address::Variable;
use super::passfile;

/// The URL with `PGPORT` at each of its hosts that has no port: the driver would give it the usual one.
pub(super) fn with_port(url: &str, variable: Variable<'_>) -> String {
    let Some(((scheme, rest), port)) = url.split_once("://").zip(variable("PGPORT")) else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    // Behind the brackets of an IPv6 address.
    let has_port = |host: &str| host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let complete = |host: &str| match host {
        "" => String::new(),
        host if has_port(host) => host.to_owned(),
        host => format!("{host}:{port}"),
    };
    let hosts: Vec<_> = hosts.split(',').map(complete).collect();
    format!("{scheme}://{user}{}{path}", hosts.join(","))
}

/// Adds what a URL left out.
pub(super) fn complete(config: &mut Config, variable: Variable<'_>) -> Result<(), String> {
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
    let found = sockets.into_iter().find(|folder| Path::new(folder).join(".s.PGSQL.5432").exists());
    found.unwrap_or("localhost").to_owned()
}
