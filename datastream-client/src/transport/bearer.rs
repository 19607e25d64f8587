//! Who is calling, as far as a token says it.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use datastream::key::shown;
use tonic::metadata::{Ascii, MetadataValue};

use crate::error::Disconnect;

/// What a token may not be. The token itself is in no error: it is a secret.
const RULE: &str = "the token is empty, or not of visible ASCII characters";

/// The longest token: a server refuses longer headers anyway.
const MAX_BYTES: usize = 8 << 10;

type Failure = Box<dyn StdError + Send + Sync>;

/// Where the token comes from that goes with each call.
#[derive(Clone, Default)]
pub(crate) enum Token {
    #[default]
    None,
    Fixed(String),
    /// Read anew for each call.
    File(PathBuf),
    /// Asked for anew for each call.
    Asked(Arc<dyn Fn() -> Result<String, Failure> + Send + Sync>),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed",
            Self::File(_) => "File",
            Self::Asked(_) => "Asked",
        })
    }
}

/// What a call says of its caller.
pub(super) type Bearer = Option<MetadataValue<Ascii>>;

impl Token {
    /// What the next call is to say. A file, or the application, is asked where it may block.
    pub(super) async fn bearer(&self) -> Result<Bearer, Disconnect> {
        let asked: Box<dyn FnOnce() -> Result<String, String> + Send> = match self.clone() {
            Self::None => return Ok(None),
            // It stays as bad as it is, as a bad address does.
            Self::Fixed(token) => {
                return header(&token).map(Some).ok_or_else(|| Disconnect::BadAddress(RULE.to_owned()));
            }
            Self::File(path) => Box::new(move || {
                let text = std::fs::read_to_string(&path);
                text.map(|text| text.trim().to_owned())
                    .map_err(|error| format!("{}: {error}", path.display()))
            }),
            Self::Asked(ask) => Box::new(move || ask().map_err(|error| error.to_string())),
        };
        let answer = tokio::task::spawn_blocking(asked).await;
        let answer = answer.unwrap_or_else(|_| Err("the function of the application panicked".to_owned()));
        let wrong = |why: &str| Disconnect::Credentials(format!("no token: {}", shown(why)));
        let token = answer.map_err(|why| wrong(&why))?;
        header(&token).map(Some).ok_or_else(|| wrong(RULE))
    }

    pub(super) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

fn header(token: &str) -> Bearer {
    let is_token =
        !token.is_empty() && token.len() <= MAX_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok().filter(|_| is_token)?;
    value.set_sensitive(true);
    Some(value)
}
