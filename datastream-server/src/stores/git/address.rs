//! Which repository is served, and how.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::stores::interval;

/// Where the settings are, which branch of it, and how it is looked at.
///
/// Made of `git:/srv/settings.git#main` for a repository on this machine, or `git+https://host/settings.git#main`,
/// `git+ssh://`, `git+file://` for one that is fetched and pushed to; see [`Address::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) place: Place,
    /// The branch; `None`: the one that the repository calls its own.
    pub(super) branch: Option<String>,
    /// How often the place is looked at.
    pub(super) poll: Duration,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine: its branch is the truth.
    Local(PathBuf),
    /// Elsewhere: the truth is there, and here is a mirror of it.
    Remote(Remote),
}

/// A repository elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// As git takes it, without a password.
    pub(super) url: String,
    /// The folder of the mirror.
    pub(super) mirror: PathBuf,
    /// A file with the token that says who we are, read again before each contact.
    pub(super) token_file: Option<PathBuf>,
    /// How long it may take to say where its branch stands. A push may take three times as long, a fetch thirty times.
    pub(super) timeout: Duration,
}

const POLL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(20);
const SCHEMES: [&str; 4] = ["https", "http", "ssh", "file"];

impl Address {
    /// Reads `git:FOLDER?OPTIONS#BRANCH`, or the same with `git+https://`, `git+http://` (to this machine), `git+ssh://`
    /// or `git+file://`. Without a branch it is the one that `HEAD` names there. The options:
    ///
    /// - `poll`: how often it is looked at. Default: `5s`; at least `100ms`. A commit in a folder is noticed at once.
    /// - `mirror`: the folder of the mirror of a remote. Default: one of its own below `$XDG_CACHE_HOME/datastream`, or
    ///   `~/.cache/datastream`.
    /// - `timeout`: how long a remote may take to say where its branch stands; a push three times as long, a fetch thirty
    ///   times. Default: `20s`.
    /// - `token_file`: a file with the token or password for a remote, for the user that the URL names. Without it,
    ///   `DATASTREAM_GIT_TOKEN`; without that, what git itself has: a credential helper, `GIT_ASKPASS`, an ssh agent.
    ///
    /// # Errors
    ///
    /// In words that follow the name of the flag. A password in the URL is one, and is not shown.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, branch) = text.split_once('#').map_or((text, None), |(rest, branch)| (rest, Some(branch)));
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let branch = branch.map(checked_branch).transpose()?;
        let (mut poll, mut mirror, mut token_file, mut timeout) = (POLL, None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("poll", value) => poll = interval("poll", value)?,
                ("timeout", value) => timeout = Some(interval("timeout", value)?),
                ("mirror", folder) if !folder.is_empty() => mirror = Some(PathBuf::from(folder)),
                ("token_file", file) if !file.is_empty() => token_file = Some(PathBuf::from(file)),
                (name, _) => {
                    return Err(format!(
                        "a git repository has no option {name:?}, or it needs a value: poll=5s, mirror=FOLDER, \
                         token_file=FILE and timeout=20s are its options, before the #branch"
                    ));
                }
            }
        }
        let place = match place.strip_prefix("git:") {
            Some(_) if mirror.is_some() || token_file.is_some() || timeout.is_some() => {
                return Err(
                    "mirror, token_file and timeout are for a remote, such as git+https://".to_owned()
                );
            }
            Some("") => return Err("git needs a folder: git:/srv/settings.git#main".to_owned()),
            Some(folder) if folder.starts_with("//") => {
                return Err("a folder is written git:/srv/settings.git; a remote, git+https://".to_owned());
            }
            Some(folder) => Place::Local(folder.into()),
            None => {
                let url = checked_url(place.strip_prefix("git+").unwrap_or(place))?;
                let mirror = mirror.map_or_else(|| default_mirror(&url), Ok)?;
                Place::Remote(Remote { url, mirror, token_file, timeout: timeout.unwrap_or(TIMEOUT) })
            }
        };
        Ok(Self { place, branch, poll })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(folder) => write!(f, "git:{}", folder.display())?,
            Place::Remote(remote) => write!(f, "git+{}", remote.url)?,
        }
        self.branch.as_ref().map_or(Ok(()), |branch| write!(f, "#{branch}"))
    }
}

/// What could be taken for an option, or be no name of a branch at all, never reaches git. Git has the last word on the rest.
fn checked_branch(name: &str) -> Result<String, String> {
    let name = name.strip_prefix("refs/heads/").unwrap_or(name);
    let is_plain = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    let is_good = !name.is_empty()
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("@{")
        && name.chars().all(is_plain);
    if is_good { Ok(name.to_owned()) } else { Err(format!("no name of a branch: {name:?}")) }
}

/// Only schemes that run nothing of the caller's choice.
fn checked_url(url: &str) -> Result<String, String> {
    let known = || {
        format!(
            "git+{url} is no remote that this server fetches: {} are",
            SCHEMES.map(|s| format!("git+{s}://")).join(", ")
        )
    };
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a URL holds no white space".to_owned());
    }
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| "a remote is written git+https://host/path".to_owned())?;
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if user.is_some_and(|user| user.contains(':')) {
        return Err(
            "a password does not belong into a URL, which is shown and logged: use token_file=FILE, or \
                    DATASTREAM_GIT_TOKEN"
                .to_owned(),
        );
    }
    if !SCHEMES.contains(&scheme) {
        return Err(known());
    }
    // Such a host or user would be an option of ssh.
    if host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return Err(format!("no host: {host:?}"));
    }
    match scheme {
        "file" if !host.is_empty() || rest.len() < 2 => {
            Err("a folder is written git+file:///srv/settings.git".to_owned())
        }
        "http" if !is_this_machine(host) => {
            Err(format!("git+http:// sends the token unprotected; use git+https:// for {host}"))
        }
        "https" | "http" | "ssh" if host.is_empty() => Err(known()),
        _ => Ok(url.to_owned()),
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// A folder for each remote, so that two of them never share one.
fn default_mirror(url: &str) -> Result<PathBuf, String> {
    let folder = |name| env::var_os(name).filter(|folder| Path::new(folder).is_absolute()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    let cache =
        cache.ok_or("there is no HOME for the mirror of the remote: name a folder with ?mirror=FOLDER")?;
    let name: String =
        url.chars().map(|c| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' }).collect();
    let name: String = name.chars().rev().take(80).collect::<Vec<_>>().into_iter().rev().collect();
    Ok(cache.join("datastream").join("git").join(format!("{:08x}-{name}", crc32fast::hash(url.as_bytes()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_which_branch() {
        let local = Address::parse("git:/srv/a.git?poll=1s#team/live").expect("a folder");
        assert_eq!(local.place, Place::Local("/srv/a.git".into()));
        assert_eq!((local.branch.as_deref(), local.poll), (Some("team/live"), Duration::from_secs(1)));
        assert_eq!(local.to_string(), "git:/srv/a.git#team/live");
        let remote = Address::parse("git+https://me@host/a.git?mirror=/m&token_file=/t").expect("a remote");
        let Place::Remote(found) = &remote.place else { panic!("{remote:?}") };
        assert_eq!(found.url, "https://me@host/a.git");
        assert_eq!((found.mirror.to_str(), found.token_file.is_some()), (Some("/m"), true));
        assert_eq!((remote.branch, remote.poll), (None, POLL));
    }

    #[test]
    fn two_remotes_never_share_a_mirror() {
        let mirror = |url| default_mirror(url).expect("a home");
        assert_ne!(mirror("https://host/a.git"), mirror("https://host/a_git"));
    }

    #[test]
    fn what_git_could_take_for_an_option_or_a_program_is_refused() {
        for text in [
            "git:",
            "git://host/a.git",
            "git+ext::sh -c x",
            "git+ext://sh",
            "git+--upload-pack=x://h/p",
            "git+ssh://-oProxyCommand=x/a",
            "git+ssh://-l@host/a",
            "git+https:///a",
            "git+http://example.com/a.git",
            "git+file://host/a",
            "git+https://host/a b",
            "git:/a#-x",
            "git:/a#a..b",
            "git:/a#",
            "git:/a#a b",
            "git:/a?poll=1ms",
            "git+https://host/a?timeout=soon",
            "git:/a?nothing=1",
            "git:/a?mirror=/m",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(!error.contains('\n'), "one line: {error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        let error = Address::parse("git+https://me:hunter2@host/a.git").expect_err("a password");
        assert!(!error.contains("hunter2") && error.contains("token_file"), "{error}");
    }
}
