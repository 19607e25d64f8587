//! Who we are to a remote.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Origin;
use crate::stores::git::address::Remote;
use crate::stores::git::command::Git;

/// The user whom a token is for, where the URL names none: those who take tokens take any.
const USER: &str = "git";

impl Origin {
    pub(super) fn reaching(&self, remote: &Remote) -> Git {
        let protocol = match remote.url.split_once("://") {
            Some(("https", _)) => "https",
            Some(("http", _)) => "http",
            Some(("ssh", _)) => "ssh",
            _ => "file",
        };
        let header = token(remote).map(|token| {
            let user = user(&remote.url).unwrap_or(USER);
            let login = STANDARD.encode(format!("{user}:{token}"));
            (format!("http.{}.extraHeader", remote.url), format!("Authorization: Basic {login}"))
        });
        self.git.reaching(protocol, header.into_iter().collect())
    }
}

fn user(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    authority.rsplit_once('@').map(|(user, _)| user)
}

/// Read anew each time, since it may be exchanged.
fn token(remote: &Remote) -> Option<String> {
    let read = match &remote.token_file {
        Some(file) => std::fs::read_to_string(file).inspect_err(|error| {
            tracing::warn!(file = %file.display(), %error, "the file of the token cannot be read");
        }),
        None => std::env::var("DATASTREAM_GIT_TOKEN").map_err(std::io::Error::other),
    };
    read.ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}
