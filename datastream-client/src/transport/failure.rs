//! Why a call was not done: what the status of an answer means.

use datastream::key::shown;
use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt as _;

use super::Server;
use super::address::Way;
use crate::error::{CallError, Disconnect};

impl Server {
    /// Why a call ended.
    pub(super) fn disconnect(&self, status: &Status) -> Disconnect {
        let code = status.code();
        match (code, cause(status)) {
            (Code::Unavailable, Some(cause)) if never_connected(status) => {
                Disconnect::Unreachable(format!("{}: {cause}", self.address.name))
            }
            (_, Some(cause)) => Disconnect::Broken(format!("{}: {cause}", self.address.name)),
            _ => Disconnect::Refused {
                code: code_name(code),
                text: shown(status.message()).to_string(),
                retry_after: status.get_details_retry_info().and_then(|info| info.retry_delay),
            },
        }
    }

    /// Why a call ended to which no answer began: perhaps something else listens there.
    pub(super) fn unanswered(&self, status: &Status) -> Disconnect {
        match self.disconnect(status) {
            Disconnect::Broken(why) => Disconnect::Broken(format!("{why} ({})", self.question())),
            why => why,
        }
    }

    /// What to ask oneself where something answers, and not as a server does.
    fn question(&self) -> &'static str {
        match self.address.way {
            Way::Plain => "is it a datastream server? one with TLS has an address that begins with https://",
            Way::Tls => "is it a datastream server, and does it want a certificate?",
            Way::Unix => "is it a datastream server?",
        }
    }

    /// Why a call of the application was not done.
    pub(super) fn call_error(&self, status: &Status) -> CallError {
        let text = || shown(status.message()).to_string();
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => CallError::Invalid(text()),
            Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists | Code::Aborted => {
                precondition(status).unwrap_or_else(|| CallError::Precondition(text()))
            }
            Code::PermissionDenied | Code::Unauthenticated => CallError::Denied(text()),
            Code::DeadlineExceeded | Code::Cancelled => CallError::TimedOut,
            Code::Unimplemented => CallError::Unsupported(text()),
            _ => self.unanswered(status).into(),
        }
    }
}

/// Which key was not as a commit expected it, where the server says so.
fn precondition(status: &Status) -> Option<CallError> {
    let info = status.get_details_error_info()?;
    if info.reason == "TYPE_CHANGE" {
        return Some(CallError::TypeChange(shown(status.message()).to_string()));
    }
    let details = info.metadata;
    let key = shown(details.get("key")?).to_string();
    let revision = details.get("revision").and_then(|revision| revision.parse().ok());
    match status.code() {
        Code::Aborted => Some(CallError::Conflict { key, revision: revision? }),
        Code::AlreadyExists => Some(CallError::Exists { key, revision: revision? }),
        Code::NotFound => Some(CallError::NotFound { key }),
        _ => None,
    }
}

/// Whether there was no connection at all, so that nothing was sent.
fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What the transport says of a failed connection: the last cause, which is the one that people understand. An
/// answer of the server has none.
fn cause(status: &Status) -> Option<String> {
    let mut cause = std::error::Error::source(status)?;
    loop {
        #[cfg(feature = "tls")]
        if let Some(text) = super::tls::explain(cause) {
            return Some(shown(&text).to_string());
        }
        match cause.source() {
            Some(deeper) => cause = deeper,
            None => return Some(shown(&cause.to_string()).to_string()),
        }
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
