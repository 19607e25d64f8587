//! Why a bucket is not served, and what to do.

use http::StatusCode;

use super::Failure;

/// Why a bucket is not served. Each text is one line, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The endpoint is no URL, or not encrypted.
    #[error("endpoint {0}")]
    Endpoint(String),
    /// Nothing says who we are.
    #[error("there are no credentials for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({0})")]
    NoCredentials(String),
    /// The bucket does not answer as it should.
    #[error("{place}: {what}: {remedy}")]
    Bucket {
        /// The bucket and its endpoint.
        place: String,
        /// What it said.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Something else.
    #[error("the bucket cannot be served: {0}")]
    Other(String),
}

impl OpenError {
    pub(in crate::stores::s3) fn other(error: impl std::error::Error + 'static) -> Self {
        Self::Other(crate::error_chain(&error))
    }

    pub(in crate::stores::s3) fn of(place: &str, region: &str, failure: &Failure) -> Self {
        if let Failure::Credentials(error) = failure {
            return Self::NoCredentials(error.to_string());
        }
        let what = failure.to_string();
        Self::Bucket { place: place.to_owned(), what, remedy: remedy(region, failure) }
    }
}

fn remedy(region: &str, failure: &Failure) -> String {
    let there = match failure {
        Failure::Answer { region: Some(there), .. } if there != region => Some(there),
        _ => None,
    };
    let remedy = match (failure.code(), failure.status()) {
        ("NoSuchBucket", _) => "make the bucket, or name another",
        ("InvalidAccessKeyId" | "NotSignedUp", _) => "check AWS_ACCESS_KEY_ID",
        ("SignatureDoesNotMatch", _) => "check AWS_SECRET_ACCESS_KEY",
        ("RequestTimeTooSkewed", _) => "the clock of this machine is wrong: set it, with NTP",
        ("ExpiredToken" | "InvalidToken", _) => "check AWS_SESSION_TOKEN",
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException", _) => {
            return match there {
                Some(there) => format!("the bucket is in another region: say ?region={there}"),
                None => format!("the region may be another than {region}: say ?region=..."),
            };
        }
        (_, Some(StatusCode::FORBIDDEN)) => {
            "check the AWS_ variables, and that the user has s3:ListBucket and s3:GetObject there"
        }
        (_, Some(StatusCode::NOT_FOUND)) => "check the endpoint and the name of the bucket",
        (_, Some(status)) if status.is_redirection() => "check the endpoint and ?region=",
        (_, Some(_)) => "check the endpoint, and ?style=path or ?style=virtual",
        (_, None) => "check the endpoint, with http:// or https://, and that it can be reached from here",
    };
    remedy.to_owned()
}
