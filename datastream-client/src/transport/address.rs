//! The address of a server, as people write it.

use datastream::key::shown;
use tonic::transport::{Endpoint, Uri};

use crate::error::Disconnect;

/// Where a server is: what to connect to, and how to name it in a message.
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    /// Host and port.
    pub(super) name: String,
}

impl Address {
    /// Reads `http://host:8080`. The scheme may be left out, and white space around it is ignored.
    pub(super) fn parse(text: &str) -> Result<Self, Disconnect> {
        let text = text.trim();
        let uri =
            uri(text).map_err(|rule| Disconnect::BadAddress(format!("`{}`: {rule}", shown_address(text))))?;
        let name = uri.authority().map(ToString::to_string).unwrap_or_default();
        Ok(Self { endpoint: Endpoint::from(uri), name })
    }
}

fn uri(text: &str) -> Result<Uri, &'static str> {
    const FORM: &str = "an address is like http://host:8080";
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("only http:// is supported so far");
    }
    let uri: Uri = format!("http://{rest}").parse().map_err(|_| FORM)?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(FORM)?;
    if authority.as_str().contains('@') {
        return Err("an address has no user and no password");
    }
    let names_port = authority.as_str().len() > authority.host().len();
    if names_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("a port is a number from 1 to 65535");
    }
    if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        return Err("an address ends after its port");
    }
    Ok(uri)
}

/// An address, right or wrong, as it may stand in a message: escaped and cut, and without the password that may stand
/// before an `@`.
pub(crate) fn shown_address(text: &str) -> String {
    let host = text.rfind('@').map_or(text, |at| &text[at..]);
    shown(host).to_string()
}

/// How a file names a server: by host and port, and so without a password.
pub(crate) fn server_name(text: &str) -> String {
    Address::parse(text).map_or_else(|_| shown_address(text), |address| address.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        let table = [
            ("http://localhost:8080", "localhost:8080"),
            ("http://localhost", "localhost"),
            ("HTTP://h:1/", "h:1"),
            (" 127.0.0.1:8080\n", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ];
        for (text, name) in table {
            assert_eq!(Address::parse(text).map(|address| address.name).as_deref(), Ok(name), "{text}");
        }
    }
}
