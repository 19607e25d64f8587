//! Between the wire and the server: requests are checked here, and errors become statuses here.
//!
//! A text names the field and the rule, shows a key escaped and cut, and never a value. What a store says of
//! its own failures stays in the log: it may hold paths.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datastream::key::{self, KeyError, KeySet, Selector};
use datastream::limit;
use datastream::position::{Position, PositionError};
use datastream::proto::{Data, DataRequest};
use datastream::value::ValueError;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::store::{Action, CommitError, Operation, Refused, StoreError};
use crate::subscription::Request;

/// What stands in `ErrorInfo.domain`.
const DOMAIN: &str = "datastream";
/// When a client may try again what failed for a passing reason.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Checks what a client asks to read.
pub(crate) fn read_request(message: DataRequest) -> Result<Request, Status> {
    let DataRequest { keys, resume, fresh, client_name } = message;
    let length: usize = keys.iter().map(String::len).sum();
    if keys.len() > limit::KEYS || length > limit::KEYS_BYTES {
        return Err(too_many_keys());
    }
    if client_name.len() > limit::CLIENT_NAME_BYTES {
        return Err(invalid("client_name", "a client name has at most 256 bytes"));
    }
    let announced = resume.is_some();
    let resume = resume.map(Position::from_proto).transpose().map_err(bad_position)?.flatten();
    let asked = if keys.is_empty() { KeySet::all() } else { selectors("keys", &keys)? };
    let fresh = selectors("fresh", &fresh)?;
    if let Some(stray) = fresh.iter().find(|entry| !asked.contains_selector(entry)) {
        let shown = key::shown(stray.as_str());
        return Err(invalid("fresh", &format!("an entry of fresh must stand in keys as well: {shown}")));
    }
    Ok(Request { keys: Arc::new(asked), fresh: Arc::new(fresh), resume, announced })
}

fn selectors(field: &str, entries: &[String]) -> Result<KeySet, Status> {
    let parsed = entries.iter().enumerate().map(|(i, entry)| {
        Selector::parse(entry).map_err(|error| bad_key(&format!("{field}[{i}]"), entry, error))
    });
    parsed.collect()
}

/// Checks what a client asks to write. `field` is where the setting stands in the request.
pub(crate) fn read_push(
    field: &str,
    data: Data,
    retype: bool,
    max_value_bytes: usize,
) -> Result<Operation, Status> {
    check_key(&format!("{field}key"), &data.key)?;
    if data.value.len() > max_value_bytes {
        return Err(invalid(
            &format!("{field}value"),
            &format!("a value has at most {max_value_bytes} bytes here"),
        ));
    }
    let value_type = (!data.value_type.is_empty()).then(|| data.value_type.into());
    let action = Action::Put { value: data.value, value_type, retype };
    Ok(Operation { key: data.key.into(), action, expected_revision: None })
}

/// Checks a key that is to be written.
pub(crate) fn check_key(field: &str, key: &str) -> Result<(), Status> {
    key::check(key).map_err(|error| bad_key(field, key, error))
}

/// The deadline that a caller set, as in the gRPC protocol: up to eight digits and a unit. What is malformed
/// is ignored, as the transport does.
pub(crate) fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 60 * 60)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Wrong whatever the state: the field, and the rule.
pub(crate) fn invalid(field: &str, rule: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, rule);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {rule}"), details)
}

pub(crate) fn bad_key(field: &str, key: &str, error: KeyError) -> Status {
    invalid(field, &format!("{error}: {}", key::shown(key)))
}

fn bad_position(error: PositionError) -> Status {
    invalid("resume", &error.to_string())
}

fn too_many_keys() -> Status {
    let rule = "at most 10,000 keys, and 1 MiB of them: ask for a prefix instead";
    let details = ErrorDetails::with_quota_failure_violation("keys", rule);
    Status::with_error_details(Code::ResourceExhausted, format!("keys: {rule}"), details)
}

/// An answer that does not fit into one message.
pub(crate) fn too_large(instead: &str) -> Status {
    let text = format!("the answer exceeds 4 MiB: {instead}");
    let details = ErrorDetails::with_quota_failure_violation("message", &text);
    Status::with_error_details(Code::ResourceExhausted, text, details)
}

/// A failure that passes.
pub(crate) fn unavailable(text: &str) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, text, details)
}

/// Too much of something: what, and how much there may be.
pub(crate) fn too_many(field: &str, rule: &str) -> Status {
    let details = ErrorDetails::with_quota_failure_violation(field, rule);
    Status::with_error_details(Code::ResourceExhausted, format!("{field}: {rule}"), details)
}

/// Why a commit was not made. `field` says where a key stands in the request: before `value`, or what is deleted.
pub(crate) fn commit_failed(error: &CommitError, field: &dyn Fn(&str) -> String) -> Status {
    match error {
        CommitError::Refused { key, why } => {
            refused(key.as_deref(), why, &key.as_deref().map(field).unwrap_or_default())
        }
        CommitError::Reused => Status::with_error_details(
            Code::InvalidArgument,
            format!("request_id: {error}: draw a new one for each commit"),
            ErrorDetails::with_error_info("REQUEST_ID_REUSED", DOMAIN, HashMap::new()),
        ),
        CommitError::SeveralKeys => Status::with_error_details(
            Code::Unimplemented,
            "operations: this store takes one key in a commit: make a commit for each",
            ErrorDetails::with_error_info("ONE_KEY", DOMAIN, HashMap::new()),
        ),
        CommitError::Store(error) => store_failed(error),
    }
}

fn refused(key: Option<&str>, why: &Refused, place: &str) -> Status {
    let of = key.map(|key| format!(" (key {})", key::shown(key))).unwrap_or_default();
    let text = format!("{why}{of}");
    let info = |reason: &str, revision: Option<u64>| {
        let key = key.map(|key| ("key".to_owned(), key.to_owned()));
        let revision = revision.map(|revision| ("revision".to_owned(), revision.to_string()));
        ErrorDetails::with_error_info(
            reason,
            DOMAIN,
            key.into_iter().chain(revision).collect::<HashMap<_, _>>(),
        )
    };
    let status = |code, reason, revision| Status::with_error_details(code, &*text, info(reason, revision));
    // The text names the key and is for people; where that stands in the request, the details say.
    let wrong = |field: &str| {
        let details = ErrorDetails::with_bad_request_violation(format!("{place}{field}"), &*text);
        let field = if field.is_empty() { "delete" } else { field };
        Status::with_error_details(Code::InvalidArgument, format!("{field}: {text}"), details)
    };
    match why {
        Refused::Value(error) => {
            let is_type = matches!(error, ValueError::UnknownType { .. });
            wrong(if is_type { "value_type" } else { "value" })
        }
        Refused::Rules if place.ends_with("delete") => wrong(""),
        Refused::Rules => wrong("value"),
        Refused::NoType => wrong("value_type"),
        Refused::InTheWay { .. } => status(Code::FailedPrecondition, "IN_THE_WAY", None),
        Refused::TypeChange { .. } => status(Code::FailedPrecondition, "TYPE_CHANGE", None),
        Refused::Conflict { revision } => status(Code::Aborted, "CONFLICT", Some(*revision)),
        Refused::Exists { revision } => status(Code::AlreadyExists, "EXISTS", Some(*revision)),
        Refused::NotFound => status(Code::NotFound, "NOT_FOUND", None),
    }
}

/// What a store could not do.
pub(crate) fn store_failed(error: &StoreError) -> Status {
    tracing::warn!(error = %crate::error_chain(error), "the store did not do what a call asked for");
    match error {
        StoreError::Unavailable(_) => unavailable("the store is not available now: try again"),
        StoreError::Full(_) => Status::with_error_details(
            Code::ResourceExhausted,
            "the store is full: it takes pushes again when there is room",
            ErrorDetails::with_quota_failure_violation("store", "no space left"),
        ),
        StoreError::ReadOnly(_) => Status::with_error_details(
            Code::FailedPrecondition,
            "the store is read-only, or its rules refuse this: the log of the server says which",
            ErrorDetails::with_error_info("READ_ONLY", DOMAIN, HashMap::new()),
        ),
        StoreError::Corrupt(_) => Status::data_loss("the store is damaged: see the log of the server"),
    }
}
