//! Why nothing was done, in one line, and the exit code for it.

use std::fmt;

use datastream_client::{CallError, Disconnect, Unavailable};

/// The exit codes. 0 is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Not done, for a reason without a code of its own.
    Other = 1,
    /// A mistake in what was asked for.
    Use = 2,
    /// No connection.
    Connection = 3,
    /// A key is not as it was expected to be.
    Precondition = 4,
}

/// Why nothing was done.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    text: String,
    /// Nobody reads what is written.
    pub(crate) is_broken_pipe: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), is_broken_pipe: false }
    }

    /// What went wrong with its causes, and what can be done.
    fn of(code: Code, error: &dyn std::error::Error, remedy: &str) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        let divider = if remedy.is_empty() { "" } else { "; " };
        Self::new(code, format!("{text}{divider}{remedy}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const ADDRESS: &str = "say --url http://HOST:PORT";
const NOT_THERE: &str = "is the server running there? --url says where it is";
const AGAIN: &str = "try again";
const LOOK_AGAIN: &str = "look at it again with `datastream get KEY -o json`";

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let (code, remedy) = match &error {
            CallError::NotAKey { .. } => (Code::Use, "a key is like pool/size"),
            CallError::Unwritable { .. } | CallError::BadCommit(_) | CallError::Invalid(_) => (Code::Use, ""),
            CallError::Conflict { .. } | CallError::Exists { .. } | CallError::NotFound { .. } => {
                (Code::Precondition, LOOK_AGAIN)
            }
            CallError::TypeChange(text) => {
                // What follows says how it is meant on the wire.
                let what = text.split(':').next().unwrap_or_default();
                return Self::new(Code::Precondition, format!("{what}; --retype says that you mean it"));
            }
            CallError::Precondition(_) => (Code::Precondition, ""),
            CallError::Unreachable(why) if matches!(**why, Disconnect::BadAddress(_)) => (Code::Use, ADDRESS),
            CallError::Unreachable(why)
                if matches!(**why, Disconnect::BadToken | Disconnect::Credentials(_)) =>
            {
                (Code::Use, "")
            }
            CallError::Unreachable(_) => (Code::Connection, NOT_THERE),
            CallError::TimedOut | CallError::Interrupted => (Code::Connection, AGAIN),
            CallError::Failed(why) => match &**why {
                Disconnect::Refused { code, .. } if *code != "UNAVAILABLE" => (Code::Other, ""),
                _ => (Code::Connection, AGAIN),
            },
            CallError::Unsupported(_) => (Code::Other, "it may be a server of the original"),
            _ => (Code::Other, ""),
        };
        Self::of(code, &error, remedy)
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        let (code, remedy) = match &error {
            Unavailable::Missing { .. } => (Code::Other, "`datastream list` shows what does"),
            Unavailable::NotAKey { .. } => (Code::Use, "a key is like pool/size, a prefix like pool/"),
            Unavailable::NotReady { .. } => (Code::Connection, AGAIN),
            _ => (Code::Other, ""),
        };
        Self::of(code, &error, remedy)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let is_broken_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { is_broken_pipe, ..Self::of(Code::Other, &error, "") }
    }
}

impl From<clap::Error> for Failure {
    /// The paragraph that says what is wrong, as one line.
    fn from(error: clap::Error) -> Self {
        let text = error.to_string();
        let wrong: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let wrong = wrong.join(" ");
        let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
        if wrong.starts_with("Looks at") {
            return Self::new(Code::Use, "say what to do; `datastream --help` lists it");
        }
        Self::new(Code::Use, format!("{wrong}; `datastream --help` lists what there is"))
    }
}
