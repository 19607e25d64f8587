//! Which server is meant.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::misuse;

/// Where a server listens unless it is told otherwise.
const DEFAULT: &str = "http://127.0.0.1:8080";

/// The address that was given, or else that of the configuration file.
pub(crate) fn url(given: Option<String>) -> Result<String, Failure> {
    let Some(path) = path().filter(|_| given.is_none()) else {
        return Ok(given.unwrap_or_else(|| DEFAULT.to_owned()));
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(DEFAULT.to_owned()),
        Err(error) => return Err(misuse(format!("{}: {error}", path.display()))),
    };
    read(&path, &text)
}

fn path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(folder.join("datastream").join("config.toml"))
}

fn read(path: &Path, text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| misuse(format!("{}: {why}", path.display()));
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.message()))?;
    if let Some(name) = table.keys().find(|name| *name != "url") {
        return Err(wrong(&format!("`{}` is not known; there is: url", name.escape_debug())));
    }
    match table.get("url") {
        None => Ok(DEFAULT.to_owned()),
        Some(toml::Value::String(url)) => Ok(url.clone()),
        Some(_) => Err(wrong("the url is a string, such as \"http://127.0.0.1:8080\"")),
    }
}
