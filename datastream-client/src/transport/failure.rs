//! Why a call was not done: what the status of an answer means.

use std::error::Error;
use std::time::Duration;

use datastream::key::shown;
use prost::Message as _;
use tonic::{Code, ConnectError, Status};
use tonic_types::{RetryInfo, StatusExt as _, pb};

use super::address::Way;
use super::{RECEIVE_BYTES, Server};
use crate::error::{CallError, Disconnect};
use crate::wire::read_duration;

/// What can be wrong with an answer that is none of gRPC, or none of the contract.
#[derive(Clone, Copy)]
enum Finding {
    Cut,
    TooLong,
    NoMessage,
}

/// How the texts of tonic begin that say so; tests meet each of them.
const FINDINGS: [(&str, Finding); 6] = [
    ("Error, decoded message length too large", Finding::TooLong),
    ("failed to decode Protobuf message", Finding::NoMessage),
    ("protocol error: received message with compressed-flag", Finding::NoMessage),
    ("Missing response message", Finding::NoMessage),
    ("protocol error: missing grpc-status trailer", Finding::Cut),
    ("Unexpected EOF decoding stream", Finding::Cut),
];
/// What a page of HTTP comes to that is read as a message.
const BAD_FLAG: &str = "protocol error: received message with invalid compression flag";

impl Server {
    /// Why a call ended.
    pub(super) fn disconnect(&self, status: &Status) -> Disconnect {
        if let Some(why) = self.own_finding(status) {
            return why;
        }
        let code = status.code();
        match (code, cause(status)) {
            (Code::Unavailable, Some(cause)) if never_connected(status) => {
                Disconnect::Unreachable(format!("{}: {cause}", self.address.name))
            }
            (_, Some(cause)) => Disconnect::Broken(format!("{}: {cause}", self.address.name)),
            _ => Disconnect::Refused {
                code: code_name(code),
                text: shown(status.message()).to_string(),
                retry_after: retry_after(status),
            },
        }
    }

    /// What tonic found wrong with an answer, and did not hear from the server. It marks such a status by nothing but its
    /// text.
    fn own_finding(&self, status: &Status) -> Option<Disconnect> {
        let text = status.message();
        let broken = |why: &str| Disconnect::Broken(format!("{}: {why}", self.address.name));
        if let Some(http) = http_status(text) {
            let question = self.question();
            return Some(broken(&format!("it answers with HTTP {http}, and not with gRPC ({question})")));
        }
        Some(match FINDINGS.iter().find(|(begins, _)| text.starts_with(begins))?.1 {
            Finding::Cut => broken("the answer was cut off, perhaps by a proxy"),
            // A server of another kind may say the same of a request that is too large for it.
            Finding::TooLong if !text.ends_with(&format!(" {RECEIVE_BYTES} bytes")) => return None,
            Finding::TooLong => Disconnect::Violation("a message is longer than 8 MiB"),
            Finding::NoMessage => Disconnect::Violation("what it sent is no message of the contract"),
        })
    }

    /// Why a call ended to which no answer began: perhaps something else listens there.
    pub(super) fn unanswered(&self, status: &Status) -> Disconnect {
        // What was found out, by us or by TLS, needs no question.
        let is_known = self.own_finding(status).is_some() || of_tls(status).is_some();
        match self.disconnect(status) {
            Disconnect::Broken(why) if !is_known => {
                Disconnect::Broken(format!("{why} ({})", self.question()))
            }
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
        if self.own_finding(status).is_some() {
            return self.unanswered(status).into();
        }
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

/// When the server wants to be asked again, if it says so.
///
/// The conversion of `tonic-types` is that of `prost-types`, which panics at what [`read_duration`] does not take.
fn retry_after(status: &Status) -> Option<Duration> {
    let details = pb::Status::decode(status.details()).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url == RetryInfo::TYPE_URL)?;
    read_duration(pb::RetryInfo::decode(&*info.value).ok()?.retry_delay?)
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
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// The status of an answer that is HTTP and not gRPC, as that of a proxy or an ingress with no server behind it: with a page
/// or without one.
fn http_status(text: &str) -> Option<&str> {
    let bare = text.strip_prefix("grpc-status header missing, mapped from HTTP status code ");
    let page = || Some(text.strip_prefix(BAD_FLAG)?.split_once("while receiving response with status: ")?.1);
    let code = bare.or_else(page)?.split(' ').next()?;
    code.bytes().all(|byte| byte.is_ascii_digit()).then_some(code)
}

/// What the transport says of a failed connection: the last cause, which is the one that people understand. An
/// answer of the server has none.
fn cause(status: &Status) -> Option<String> {
    let explained = of_tls(status).or_else(|| Some(causes(status).last()?.to_string()));
    explained.map(|text| shown(&text).to_string())
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = Error::source(status);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// What TLS has to say of a failure, if that is what it is.
#[cfg(feature = "tls")]
fn of_tls(status: &Status) -> Option<String> {
    causes(status).find_map(super::tls::explain)
}

#[cfg(not(feature = "tls"))]
fn of_tls(_: &Status) -> Option<String> {
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(seconds: i64, nanos: i32) -> Status {
        let info = pb::RetryInfo { retry_delay: Some(prost_types::Duration { seconds, nanos }) };
        let detail =
            prost_types::Any { type_url: RetryInfo::TYPE_URL.to_owned(), value: info.encode_to_vec() };
        let details = pb::Status { details: vec![detail], ..pb::Status::default() }.encode_to_vec();
        Status::with_details(Code::Unavailable, "later", details.into())
    }

    #[test]
    fn no_delay_that_a_server_asks_for_panics_and_only_sound_ones_are_read() {
        assert_eq!(retry_after(&refused(3, 5)), Some(Duration::new(3, 5)));
        let unsound = [(i64::MIN, 0), (i64::MIN, i32::MIN), (0, i32::MIN), (-1, 0), (i64::MAX, i32::MAX)];
        assert!(unsound.into_iter().all(|(seconds, nanos)| retry_after(&refused(seconds, nanos)).is_none()));
        assert_eq!(retry_after(&Status::unavailable("later")), None);
    }
}
