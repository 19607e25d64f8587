//! Which server is meant, and as whom.

use std::path::{Path, PathBuf};

use datastream_client::{Client, ClientBuilder, Tls};

use crate::args::Way;
use crate::failure::Failure;
use crate::misuse;

/// Where a server listens unless it is told otherwise.
const DEFAULT: &str = "http://127.0.0.1:8080";

/// The server that is meant. What was given goes before what the file says. Where the address is given the file is not
/// read: the token there is for the server there.
pub(crate) fn server(way: Way) -> Result<ClientBuilder, Failure> {
    let file = if way.url.is_some() { Config::default() } else { Config::load()? };
    let url = way.url.or(file.url).unwrap_or_else(|| DEFAULT.to_owned());
    let mut tls = Tls::default();
    if let Some(path) = way.ca_file {
        tls = tls.ca_file(path);
    }
    tls = match (way.cert_file, way.key_file) {
        (Some(certificate), Some(key)) => tls.identity_files(certificate, key),
        (None, None) => tls,
        _ => return Err(misuse("--cert-file and --key-file belong together".to_owned())),
    };
    let server = Client::builder(url).tls(tls);
    Ok(match (way.token, way.token_file, file.token) {
        (Some(token), ..) => server.token(token),
        (None, Some(path), _) => server.token_file(path),
        (None, None, Some(token)) => server.token(token),
        (None, None, None) => server,
    })
}

/// What the configuration file may say.
#[derive(Default)]
struct Config {
    url: Option<String>,
    token: Option<String>,
}

impl Config {
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
