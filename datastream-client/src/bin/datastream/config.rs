//! Which server is meant, and as whom.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::misuse;

/// Where a server listens unless it is told otherwise.
const DEFAULT: &str = "http://127.0.0.1:8080";

/// What the configuration file may say.
#[derive(Default)]
pub(crate) struct Config {
    url: Option<String>,
    token: Option<String>,
}

impl Config {
    /// What was given goes before what the file says. Where the address is given the file is not read: the token there is
    /// for the server there.
    pub(crate) fn of(url: Option<String>, token: Option<String>) -> Result<Self, Failure> {
        let file = if url.is_some() { Self::default() } else { Self::load()? };
        Ok(Self { url: url.or(file.url), token: token.or(file.token) })
    }

    /// The address of the server.
    pub(crate) fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(DEFAULT)
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn load() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::read(&path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(misuse(format!("{}: {error}", path.display()))),
        }
    }

    fn read(path: &Path, text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| misuse(format!("{}: {why}", path.display()));
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.message()))?;
        let mut config = Self::default();
        for (name, value) in table {
            let (place, example) = match name.as_str() {
                "url" => (&mut config.url, "the url is a string, such as \"http://127.0.0.1:8080\""),
                "token" => (&mut config.token, "the token is a string"),
                _ => {
                    let name = name.escape_debug();
                    return Err(wrong(&format!("`{name}` is not known; there are: url, token")));
                }
            };
            *place = Some(value.as_str().ok_or_else(|| wrong(example))?.to_owned());
        }
        Ok(config)
    }
}

fn path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(folder.join("datastream").join("config.toml"))
}
