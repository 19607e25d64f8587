//! What went wrong with a bucket: for the operator at the start, and for a caller later.

mod open;

use http::{HeaderMap, StatusCode};
use object_store::client::{HttpError, HttpErrorKind};
use serde::Deserialize;

pub use self::open::OpenError;
use crate::store::{Refused, StoreError};
use crate::stores::objects::Denied;

/// A request that did not come to what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{status}{}{}", dash(.code), dash(.message))]
    Answer {
        status: StatusCode,
        /// As S3 has them, such as `NoSuchKey`; empty if there was none.
        code: String,
        message: String,
        /// Where the bucket says that it is.
        region: Option<String>,
    },
    #[error("{}", root(.0))]
    Transport(HttpError),
    #[error("there are no credentials: {0}")]
    Credentials(object_store::Error),
    #[error("the answer makes no sense: {0}")]
    Malformed(String),
}

/// The body of an error.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    code: String,
    message: String,
    region: Option<String>,
}

impl Failure {
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, text: &[u8]) -> Self {
        let body: Body = quick_xml::de::from_reader(text).unwrap_or_default();
        let region = headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        let region = region.or(body.region.as_deref()).map(|region| line(region, 100));
        Self::Answer { status, code: line(&body.code, 100), message: line(&body.message, 200), region }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::Answer { code, .. } => code,
            _ => "",
        }
    }

    /// Whether the bucket asks to be asked less, and has done nothing. A mere 503 says that not: a proxy may have lost the
    /// answer.
    fn is_busy(&self) -> bool {
        self.status() == Some(StatusCode::TOO_MANY_REQUESTS)
            || matches!(self.code(), "SlowDown" | "ServiceUnavailable" | "OperationAborted")
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Answer { status, .. } => {
                self.is_busy()
                    || status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::Transport(_) => true,
            Self::Credentials(_) | Self::Malformed(_) => false,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND) && self.code() != "NoSuchBucket"
    }

    /// Whether the condition of the request did not hold, or another request came first.
    pub(super) fn is_lost(&self) -> bool {
        let lost = [StatusCode::PRECONDITION_FAILED, StatusCode::CONFLICT, StatusCode::NOT_MODIFIED];
        self.status().is_some_and(|status| lost.contains(&status)) || self.is_not_found()
    }

    /// Whether only this object may not be read, or cannot be now.
    pub(super) fn is_of_one_object(&self) -> bool {
        self.status() == Some(StatusCode::FORBIDDEN)
            && matches!(self.code(), "AccessDenied" | "InvalidObjectState" | "AllAccessDisabled")
    }

    /// Whether the server does not know what was asked.
    pub(super) fn is_unknown_to_server(&self) -> bool {
        let unknown = [StatusCode::NOT_IMPLEMENTED, StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED];
        self.status().is_some_and(|status| unknown.contains(&status))
    }

    pub(super) fn is_forbidden(&self) -> bool {
        self.status() == Some(StatusCode::FORBIDDEN)
    }

    /// For a caller, who is never at fault.
    pub(super) fn into_store_error(self) -> StoreError {
        let is_denied = self.is_forbidden() && self.code() == "AccessDenied";
        match self.status() {
            Some(StatusCode::INSUFFICIENT_STORAGE) => StoreError::Full(self.into()),
            _ if matches!(self.code(), "QuotaExceeded" | "XMinioStorageFull") => {
                StoreError::Full(self.into())
            }
            _ if is_denied => StoreError::ReadOnly(self.into()),
            _ => StoreError::Unavailable(self.into()),
        }
    }

    /// For whoever only reads.
    pub(super) fn into_unavailable(self) -> StoreError {
        StoreError::Unavailable(self.into())
    }

    /// What it means for a write.
    pub(super) fn into_denied(self) -> Denied {
        if self.is_lost() {
            return Denied::Lost;
        }
        if self.is_busy() || matches!(&self, Self::Transport(error) if error.kind() == HttpErrorKind::Connect)
        {
            return Denied::Busy(self.into());
        }
        if matches!(self.code(), "KeyTooLongError" | "MetadataTooLarge") {
            return Refused::Rules.into();
        }
        match &self {
            Self::Transport(_) => Denied::Unknown(self.into()),
            Self::Answer { status, .. }
                if status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED =>
            {
                Denied::Unknown(self.into())
            }
            _ => self.into_store_error().into(),
        }
    }
}

/// The last of the causes: HTTP says several times over that a request could not be sent.
fn root(error: &HttpError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

/// In one line, and so many characters at most, whatever a server of whatever make says.
fn line(text: &str, most: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|letter| !letter.is_control()).take(most).collect()
}

fn dash(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: StatusCode, text: &str) -> Failure {
        Failure::of_answer(status, &HeaderMap::new(), text.as_bytes())
    }

    #[test]
    fn what_a_bucket_says_is_one_short_line() {
        let long = "x\u{1b}[31m\n ".repeat(1000);
        let text =
            format!("<Error><Code>{long}</Code><Message>{long}</Message><Region>{long}</Region></Error>");
        let failure = answer(StatusCode::BAD_REQUEST, &text);
        let said = format!("{failure} {}", OpenError::of("b", "r", &failure));
        assert!(said.len() < 1000 && !said.contains(char::is_control), "{said}");
    }

    /// Such as of a proxy, behind which it may have been done.
    #[test]
    fn only_who_says_that_it_is_busy_has_done_nothing() {
        let mere = answer(StatusCode::SERVICE_UNAVAILABLE, "");
        assert!(mere.may_pass() && matches!(mere.into_denied(), Denied::Unknown(_)));
        for code in ["SlowDown", "ServiceUnavailable"] {
            let text = format!("<Error><Code>{code}</Code></Error>");
            let busy = answer(StatusCode::SERVICE_UNAVAILABLE, &text);
            assert!(busy.may_pass() && matches!(busy.into_denied(), Denied::Busy(_)), "{code}");
        }
    }
}
