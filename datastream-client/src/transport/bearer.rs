//! Who is calling, as far as a token says it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, thread};

use datastream::key::shown;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;
use tonic::metadata::{Ascii, MetadataValue};

use super::secret_file;
use crate::error::Disconnect;

/// What a token may not be. The token itself is in no error: it is a secret.
const RULE: &str = "the token is empty, longer than 8 KiB, or not of visible ASCII characters";
const PANICKED: &str = "the function of the application panicked";

/// The longest token: a server refuses longer headers anyway.
const MAX_BYTES: usize = 8 << 10;
/// The most white space around one in a file.
const SPACE_BYTES: usize = 1 << 10;

/// Where the token comes from that goes with each call.
#[derive(Clone, Default)]
pub(crate) enum Token {
    #[default]
    None,
    Fixed(String),
    /// Asked for anew for each call.
    Asked(Arc<Asked>),
}

/// A file, or a function of the application, that says the token.
pub(crate) struct Asked {
    ask: Arc<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// The answer that nobody has had yet, or that is still to come.
    answer: Mutex<Option<Answer>>,
}

/// What several calls may wait for.
type Answer = Shared<BoxFuture<'static, Result<String, String>>>;

/// What a call says of its caller.
pub(super) type Bearer = Option<MetadataValue<Ascii>>;

impl Token {
    pub(crate) fn from_file(path: PathBuf) -> Self {
        Self::asked(move || read(&path))
    }

    pub(crate) fn asked(ask: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self::Asked(Arc::new(Asked { ask: Arc::new(ask), answer: Mutex::default() }))
    }

    /// What the next call is to say. Cancel safe: an answer that comes later is that of the next call.
    pub(super) async fn bearer(&self) -> Result<Bearer, Disconnect> {
        match self {
            Self::None => Ok(None),
            // It stays as bad as it is, as a bad address does.
            Self::Fixed(token) => header(token).map(Some).ok_or(Disconnect::BadToken),
            Self::Asked(asked) => {
                let wrong = |why: &str| Disconnect::Credentials(format!("no token: {}", shown(why)));
                let token = asked.answer().await.map_err(|why| wrong(&why))?;
                header(&token).map(Some).ok_or_else(|| wrong(RULE))
            }
        }
    }

    pub(super) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl Asked {
    /// Asks, unless that is being done: one that never answers costs one thread, and none of those that the application
    /// needs.
    fn answer(&self) -> Answer {
        // Nothing under this lock leaves it half-changed.
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answer.as_ref().filter(|answer| answer.peek().is_none()) {
            return answer.clone();
        }
        let (reply, answered) = oneshot::channel();
        let ask = self.ask.clone();
        let thread = thread::Builder::new().name("datastream-token".to_owned());
        // One that cannot be started drops what would reply, as one that panics does.
        let started = thread.spawn(move || reply.send(ask()));
        let lost = if started.is_ok() { PANICKED } else { "no thread can be had to ask for it" };
        let asked = answered.map(move |answered| answered.unwrap_or_else(|_| Err(lost.to_owned())));
        answer.insert(asked.boxed().shared()).clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed",
            Self::Asked(_) => "Asked",
        })
    }
}

/// A token, with white space around it.
fn read(path: &Path) -> Result<String, String> {
    let text = secret_file::read(path, MAX_BYTES + SPACE_BYTES)?;
    let text = String::from_utf8(text).map_err(|_| format!("{}: it is no text", path.display()))?;
    Ok(text.trim().to_owned())
}

fn header(token: &str) -> Bearer {
    let is_token =
        !token.is_empty() && token.len() <= MAX_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token {
        return None;
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}
