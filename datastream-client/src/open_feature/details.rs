//! What an evaluation says beside the value, and why there is none.

use datastream::key::{KeyError, shown};
use datastream::value::ValueError;
use open_feature::provider::{ProviderStatus, ResolutionDetails};
use open_feature::{EvaluationError, EvaluationErrorCode, EvaluationReason, FlagMetadata};

use crate::error::Unavailable;
use crate::snapshot::Held;
use crate::status::{Origin, State, Status};

/// The value of a flag, read from `held`. `refused` says why that is not the newest; `status` is that of all flags.
pub(super) fn details<T>(
    value: T,
    held: &Held,
    refused: Option<&ValueError>,
    status: &Status,
) -> ResolutionDetails<T> {
    let origin = if status.origin == Origin::Fixed { Origin::Fixed } else { held.origin };
    let reason = match origin {
        Origin::Cache | Origin::Bootstrap => EvaluationReason::Cached,
        _ if refused.is_some() => stale(),
        Origin::Override => EvaluationReason::Static,
        _ if status.state == State::Ready => EvaluationReason::Static,
        _ => stale(),
    };
    let mut metadata = FlagMetadata::default()
        .with_value("origin", name(origin))
        .with_value("value_type", shown(&held.value_type).to_string());
    if let Some(revision) = held.known_revision().and_then(|revision| i64::try_from(revision).ok()) {
        metadata.add_value("revision", revision);
    }
    if let Some(age) = status.age {
        metadata.add_value("age_seconds", age.as_secs_f64());
    }
    if let Some(why) = refused {
        metadata.add_value("refused", why.to_string());
    }
    let variant = held.known_revision().map(|revision| revision.to_string());
    ResolutionDetails { value, variant, reason: Some(reason), flag_metadata: Some(metadata) }
}

/// A reason of the specification that the enumeration of the SDK lacks.
fn stale() -> EvaluationReason {
    EvaluationReason::Other("STALE".to_owned())
}

const fn name(origin: Origin) -> &'static str {
    match origin {
        Origin::None => "none",
        Origin::Live => "live",
        Origin::Cache => "cache",
        Origin::Bootstrap => "bootstrap",
        Origin::Override => "override",
        Origin::Default => "default",
        Origin::Fixed => "fixed",
    }
}

/// No status of the specification tells a server that refuses this client from any other error.
pub(super) const fn provider_status(state: State) -> ProviderStatus {
    match state {
        State::NotReady => ProviderStatus::NotReady,
        State::Ready => ProviderStatus::Ready,
        State::Stale => ProviderStatus::STALE,
        State::Error | State::Fatal => ProviderStatus::Error,
    }
}

/// Why there are no flags at all.
pub(super) fn unavailable(why: &Unavailable) -> EvaluationError {
    let text = why.to_string();
    match why {
        Unavailable::NotReady { .. } => error(EvaluationErrorCode::ProviderNotReady, text),
        _ => general(text),
    }
}

/// There is no such flag; perhaps because of a rule of keys, which its name breaks.
pub(super) fn missing(key: &str, rule: Option<&KeyError>) -> EvaluationError {
    let rule = rule.map(|rule| format!(": {rule}")).unwrap_or_default();
    error(EvaluationErrorCode::FlagNotFound, format!("`{}` does not exist{rule}", shown(key)))
}

/// A flag that this client may not read.
pub(super) fn denied(key: &str) -> EvaluationError {
    general(Unavailable::Denied { key: shown(key).to_string() }.to_string())
}

/// A flag without a value of the type that was asked for. A text that breaks the grammar of its own type cannot be parsed;
/// anything else is of another type.
pub(super) fn unusable(key: &str, why: &ValueError) -> EvaluationError {
    let code = match why {
        ValueError::Grammar { .. } | ValueError::Json { .. } => EvaluationErrorCode::ParseError,
        _ => EvaluationErrorCode::TypeMismatch,
    };
    error(code, format!("`{}` cannot be used: {why}", shown(key)))
}

/// The SDK shows the text of a general error in the place of its code.
fn general(text: String) -> EvaluationError {
    error(EvaluationErrorCode::General(text.clone()), text)
}

fn error(code: EvaluationErrorCode, message: String) -> EvaluationError {
    EvaluationError { code, message: Some(message) }
}
