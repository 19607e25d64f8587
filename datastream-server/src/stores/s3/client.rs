//! Requests to a bucket: signed, limited in time, and answered with an object's headers and body or with what went wrong.
//!
//! Credentials, the signature and HTTP are those of `object_store`. Its own calls are not used: a list of it fails as a whole
//! where a foreign key has an empty segment, and takes `a/` for `a`; and its delete knows no condition.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::HeaderName;
use http::{HeaderMap, Method, StatusCode};
use object_store::aws::{
    AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider,
};
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector as _, HttpRequest, HttpResponse, ReqwestConnector,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig, StaticCredentialProvider};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::address::{Address, Credentials};
use super::error::{Failure, OpenError};
use crate::retry::Pauses;

/// What a signature leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a path.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// How long a request may take as a whole; how long a connection, and a pause in an answer.
const LIMIT: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long what only reads is asked again, and the waits between.
const PATIENCE: Duration = Duration::from_secs(8);
pub(super) const PAUSES: Pauses = Pauses::between(Duration::from_millis(100), Duration::from_secs(3));
/// The most of an error, or of a page of a list, that is read.
const TEXT_BYTES: usize = 16 << 20;

/// A bucket that can be asked.
#[derive(Debug)]
pub(super) struct Client {
    http: HttpClient,
    /// `None` where requests are not signed.
    credentials: Option<AwsCredentialProvider>,
    pub(super) region: String,
    /// With the bucket, and without a `/` behind it.
    pub(super) base: String,
}

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// The whole key; empty for the bucket itself.
    pub(super) key: &'a str,
    pub(super) query: Vec<(&'a str, &'a str)>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Bytes,
}

/// An answer that is no error.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    /// `None` if it is longer than was asked for.
    pub(super) body: Option<Bytes>,
}

impl Client {
    /// Takes what the address does not say from the `AWS_` variables.
    pub(super) fn of(address: &Address) -> Result<Self, OpenError> {
        // There may be one already: the first in the process is everybody's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let environment = AmazonS3Builder::from_env();
        let said = |key| environment.get_config_value(&key).filter(|value| !value.is_empty());
        let endpoint = said(AmazonS3ConfigKey::S3Endpoint).or(said(AmazonS3ConfigKey::Endpoint));
        let endpoint = address.endpoint.clone().or(endpoint);
        let region =
            address.region.clone().or(said(AmazonS3ConfigKey::Region)).unwrap_or("us-east-1".to_owned());
        let is_true = |key| said(key).is_some_and(|value| value == "true");
        let is_insecure =
            address.is_insecure || is_true(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
        let is_virtual = address.is_virtual.unwrap_or_else(|| {
            is_true(AmazonS3ConfigKey::VirtualHostedStyleRequest)
                || (endpoint.is_none() && !address.bucket.contains('.'))
        });
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let base = base(&endpoint, &address.bucket, is_virtual, is_insecure)?;
        let options = ClientOptions::new()
            .with_allow_http(base.starts_with("http://"))
            .with_timeout(LIMIT)
            .with_connect_timeout(CONNECT_LIMIT)
            .with_read_timeout(READ_LIMIT);
        let http = ReqwestConnector::default().connect(&options).map_err(OpenError::other)?;
        let credentials = match &address.credentials {
            Some(given) => Some(fixed(given)),
            None if is_true(AmazonS3ConfigKey::SkipSignature) => None,
            None => Some(of_environment(environment, &address.bucket, &region)?),
        };
        Ok(Self { http, credentials, region, base })
    }

    /// Asks once. An answer with a body of more than `most` bytes comes without it.
    pub(super) async fn once(&self, request: &Request<'_>, most: usize) -> Result<Answer, Failure> {
        let response = self.http.execute(self.signed(request).await?).await.map_err(Failure::Transport)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            let body = body(response, most).await?;
            return Ok(Answer { headers, body });
        }
        // An answer to HEAD, and one that says that nothing changed, have no body.
        let text = body(response, TEXT_BYTES).await?.unwrap_or_default();
        Err(Failure::of_answer(status, &headers, &text))
    }

    /// Asks what changes nothing, again while the bucket is busy or out of reach.
    pub(super) async fn ask(&self, request: &Request<'_>, most: usize) -> Result<Answer, Failure> {
        let (mut pauses, began) = (PAUSES, Instant::now());
        loop {
            match self.once(request, most).await {
                Err(failure) if failure.may_pass() && began.elapsed() < PATIENCE => {
                    tracing::debug!(%failure, "asking again");
                    tokio::time::sleep(pauses.next_jittered()).await;
                }
                answer => return answer,
            }
        }
    }

    async fn signed(&self, request: &Request<'_>) -> Result<HttpRequest, Failure> {
        let mut url = format!("{}/{}", self.base, utf8_percent_encode(request.key, ENCODED_IN_PATH));
        for (n, (name, value)) in request.query.iter().enumerate() {
            let joint = if n == 0 { '?' } else { '&' };
            url += &format!("{joint}{name}={}", utf8_percent_encode(value, ENCODED));
        }
        let mut asked = http::Request::builder().method(&request.method).uri(url);
        for (name, value) in &request.headers {
            asked = asked.header(name, value);
        }
        let mut asked =
            asked.body(request.body.clone().into()).map_err(|error| Failure::Malformed(error.to_string()))?;
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get_credential().await.map_err(Failure::Credentials)?;
            let authorizer = AwsAuthorizer::new(&credential, "s3", &self.region);
            authorizer.try_authorize(&mut asked, None).map_err(Failure::Credentials)?;
        }
        Ok(asked)
    }
}

impl Request<'_> {
    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn fixed(given: &Credentials) -> AwsCredentialProvider {
    let Credentials { key_id, secret, token } = given.clone();
    Arc::new(StaticCredentialProvider::new(AwsCredential { key_id, secret_key: secret, token }))
}

/// Keys, a web identity, or what the cloud says of this instance.
fn of_environment(
    environment: AmazonS3Builder,
    bucket: &str,
    region: &str,
) -> Result<AwsCredentialProvider, OpenError> {
    // The server that says so may not be there; while we serve, the next look asks again.
    let retry =
        RetryConfig { max_retries: 0, retry_timeout: CONNECT_LIMIT, backoff: BackoffConfig::default() };
    let source = environment.with_bucket_name(bucket).with_region(region).with_retry(retry).build();
    Ok(source.map_err(|error| OpenError::NoCredentials(error.to_string()))?.credentials().clone())
}

/// Where the bucket is.
fn base(endpoint: &str, bucket: &str, is_virtual: bool, is_insecure: bool) -> Result<String, OpenError> {
    let wrong = |what: &str| OpenError::Endpoint(format!("{endpoint}: {what}"));
    let uri: http::Uri = endpoint.parse().map_err(|_| wrong("this is no URL, such as https://s3.example"))?;
    let (scheme, authority) = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) => (scheme, authority),
        _ => return Err(wrong("an endpoint begins with https://")),
    };
    if authority.as_str().contains('@') {
        return Err(OpenError::Endpoint(
            "holds a user or a password: use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(),
        ));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback =
        host == "localhost" || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback());
    if scheme == "http" && !is_loopback && !is_insecure {
        return Err(wrong("this is not encrypted: use https://, or say &insecure=true"));
    }
    let path = uri.path().trim_end_matches('/');
    Ok(if is_virtual {
        format!("{scheme}://{bucket}.{authority}{path}")
    } else {
        format!("{scheme}://{authority}{path}/{bucket}")
    })
}

/// Reads a body, if it is no longer than `most`.
async fn body(response: HttpResponse, most: usize) -> Result<Option<Bytes>, Failure> {
    let length = response
        .headers()
        .get(http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > most) && response.status() == StatusCode::OK {
        return Ok(None);
    }
    let mut whole = BytesMut::new();
    let mut parts = response.into_body().bytes_stream();
    while let Some(part) = parts.next().await {
        whole.extend_from_slice(&part.map_err(Failure::Transport)?);
        if whole.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(whole.freeze()))
}
