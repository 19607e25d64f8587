//! The addresses of servers, as people write them.

use std::path::Path;

use datastream::key::shown;
use tonic::transport::{Endpoint, Uri};

use crate::error::Disconnect;

const FORM: &str = "an address is like http://host:8080";

/// Where a server is: what to connect to, and how to name it in a message.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    pub(super) way: Way,
    /// Host and port, or the path of the socket.
    pub(super) name: String,
}

/// What is spoken on the way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// TCP.
    Plain,
    /// TLS over TCP.
    Tls,
    /// A socket of this machine.
    Unix,
}

impl Address {
    /// Reads what stands between commas: `http://a:8080,http://b:8080`.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, Disconnect> {
        // Before anything is split, and shown by itself: a password may have commas.
        if text.split(',').any(|address| address.contains('@') && !address.trim().starts_with("unix:")) {
            return Err(wrong(text, "an address has no user and no password"));
        }
        text.split(',').map(Self::parse).collect()
    }

    /// Reads `http://host:8080`, `https://host` or `unix:/path`. `http://` may be left out, and white space around it is
    /// ignored.
    fn parse(text: &str) -> Result<Self, Disconnect> {
        let text = text.trim();
        read(text).map_err(|rule| wrong(text, rule))
    }

    /// Whether everybody between here and there can read what is said.
    pub(super) fn is_open(&self) -> bool {
        let host = self.endpoint.uri().host().unwrap_or_default();
        let is_here = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback());
        self.way == Way::Plain && !is_here
    }
}

fn wrong(text: &str, rule: &str) -> Disconnect {
    Disconnect::BadAddress(format!("`{}`: {rule}", shown_address(text)))
}

fn read(text: &str) -> Result<Address, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path.strip_prefix("//").unwrap_or(path));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let (way, scheme) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (Way::Plain, "http"),
        "https" if cfg!(feature = "tls") => (Way::Tls, "https"),
        "https" => return Err("https:// needs the feature `tls` of datastream-client"),
        _ => return Err("an address begins with http://, https:// or unix:"),
    };
    let uri = uri(format!("{scheme}://{rest}"))?;
    let name = shown(uri.authority().ok_or(FORM)?.as_str()).to_string();
    Ok(Address { endpoint: Endpoint::from(uri), way, name })
}

fn socket(path: &str) -> Result<Address, &'static str> {
    if !cfg!(unix) {
        return Err("this system has no sockets of Unix");
    }
    if !Path::new(path).is_absolute() || path.contains('\0') {
        return Err("the path of a socket begins with /");
    }
    let endpoint = Endpoint::from_shared(format!("unix:{path}")).map_err(|_| FORM)?;
    Ok(Address { endpoint, way: Way::Unix, name: shown(path).to_string() })
}

fn uri(text: String) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| FORM)?;
    let has_fragment = text.contains('#'); // Which a `Uri` leaves out.
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(FORM)?;
    let names_port = authority.as_str().len() > authority.host().len();
    if names_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("a port is a number from 1 to 65535");
    }
    if has_fragment || uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        return Err("an address ends after its port");
    }
    Ok(uri)
}

/// An address, right or wrong, as it may stand in a message: escaped and cut, and without what may be secret: a password
/// before an `@`, a token after a `?` or `#`.
pub(crate) fn shown_address(text: &str) -> String {
    const SECRETS: [char; 2] = ['?', '#'];
    let (before, host) = text.split_at(text.rfind('@').unwrap_or(0));
    // The `@` itself may stand in the token.
    let host = if before.contains(SECRETS) { "@" } else { host };
    shown(host.split(SECRETS).next().unwrap_or_default()).to_string()
}

/// How a file names a server: by host and port, and so without a password; several in the order of the alphabet, which is
/// not that in which they are tried.
pub(crate) fn server_name(text: &str) -> String {
    let Ok(addresses) = Address::parse_all(text) else { return shown_address(text) };
    let mut names: Vec<_> = addresses.into_iter().map(|address| address.name).collect();
    names.sort();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port_or_a_socket() {
        let table = [
            ("http://localhost:8080", "localhost:8080", Way::Plain),
            ("http://localhost", "localhost", Way::Plain),
            ("HTTP://h:1/", "h:1", Way::Plain),
            (" 127.0.0.1:8080\n", "127.0.0.1:8080", Way::Plain),
            ("http://[::1]:8080", "[::1]:8080", Way::Plain),
            #[cfg(feature = "tls")]
            ("HTTPS://h:1", "h:1", Way::Tls),
            #[cfg(unix)]
            ("unix:/run/s.sock", "/run/s.sock", Way::Unix),
            #[cfg(unix)]
            ("unix:///run/s.sock", "/run/s.sock", Way::Unix),
        ];
        for (text, name, way) in table {
            let address = Address::parse(text).map(|address| (address.name, address.way));
            assert_eq!(address, Ok((name.to_owned(), way)), "{text}");
        }
    }

    #[test]
    fn the_name_of_several_servers_does_not_depend_on_their_order() {
        assert_eq!(server_name("http://b:1, http://a:1"), "a:1,b:1");
        assert_eq!(server_name("a:1,b:1"), "a:1,b:1");
    }

    #[test]
    fn nothing_is_shown_of_an_address_that_may_be_secret() {
        let table = [
            ("http://h:1", "http://h:1"),
            ("http://user:s3cret@h:1", "@h:1"),
            ("http://user:s3,cret@h:1,http://b:1", "@h:1,http://b:1"),
            ("http://user:s3?cret@h:1", "@"),
            ("http://h:1?token=s3cret", "http://h:1"),
            ("http://h:1/#s3cret", "http://h:1/"),
            ("http://h:1?token=s3@cret", "@"),
        ];
        for (text, shown) in table {
            assert_eq!(shown_address(text), shown, "{text}");
            let why = Address::parse_all(text).err().map(|why| why.to_string()).unwrap_or_default();
            assert!(!["s3", "cret"].iter().any(|part| why.contains(part)), "{text}: {why}");
        }
    }

    #[test]
    fn a_name_is_no_longer_than_it_may_be_shown() {
        let address = Address::parse(&"x".repeat(60_000)).map(|address| address.name.len());
        assert!(address.is_ok_and(|length| length < 200));
    }

    #[test]
    fn what_leaves_this_machine_without_tls_is_open() {
        let open = |text| Address::parse(text).map(|address| address.is_open());
        assert_eq!(["h:1", "10.0.0.1:1", "[2001:db8::1]:1"].map(open), [Ok(true), Ok(true), Ok(true)]);
        assert_eq!(["localhost:1", "127.0.0.9:1", "[::1]:1"].map(open), [Ok(false), Ok(false), Ok(false)]);
    }
}
