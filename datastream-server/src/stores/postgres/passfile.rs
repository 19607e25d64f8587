//! libpq's file of passwords: <https://www.postgresql.org/docs/current/libpq-pgpass.html>.

use std::fs;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The password for the first host of `config`, if the file has one. A file that others can read is left aside, as libpq
/// does.
pub(super) fn password(config: &Config, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let named = variable("PGPASSFILE").map(PathBuf::from);
    let path = named.or_else(|| Some(Path::new(&variable("HOME")?).join(".pgpass")))?;
    let text = fs::read_to_string(&path).ok()?;
    if !is_private(&path) {
        tracing::warn!(path = %path.display(), "the file of passwords is not used: others can read it; chmod 0600");
        return None;
    }
    let user = config.get_user()?;
    let host = match config.get_hosts().first()? {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(_) => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    find(&text, [&host, &port, config.get_dbname().unwrap_or(user), user])
}

/// The password of the first line whose four words fit; `*` fits everything.
fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let (words, password) = (fields.get(..4)?, fields.get(4)?);
        words.iter().zip(wanted).all(|(word, wanted)| word == "*" || word == wanted).then(|| password.clone())
    })
}

/// What the colons part; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(characters.next())),
            other => fields.last_mut().into_iter().for_each(|field| field.push(other)),
        }
    }
    fields
}

#[cfg(unix)]
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let text = "# a comment\nother:5432:d:u:no\nh:*:d:u:pa\\:ss\\\\word\n*:*:*:*:last";
        assert_eq!(find(text, ["h", "5432", "d", "u"]).as_deref(), Some("pa:ss\\word"));
        assert_eq!(find(text, ["h", "5432", "e", "u"]).as_deref(), Some("last"));
        assert_eq!(find("h:1:d:u", ["h", "1", "d", "u"]), None);
    }
}
