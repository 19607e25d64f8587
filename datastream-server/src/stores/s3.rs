//! The store `s3`: a bucket with an object for each setting, whose path below a prefix is the key.
//!
//! The objects are the truth: there is no manifest, so that any tool may write them. All are listed again and again, and what
//! has another ETag is read, with the ETag that comes with it. A write is conditional, and a bucket that does not keep the
//! conditions is served for reading (`probe.rs`): two servers, or a server and a person, would lose updates there.

mod address;
mod client;
mod error;
mod list;
mod media;
mod probe;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Method};

pub use self::address::Address;
use self::client::{Answer, Client, Request};
use self::error::Failure;
pub use self::error::OpenError;
use self::probe::Conditions;
use super::objects::{Denied, Listed, Listing, Object, Objects, Place, Reading};
use crate::config::MAX_VALUE_BYTES;
use crate::store::{Store, StoreError, Stored};

/// What is below this name is ours, and no setting.
const OWN: &str = ".datastream/";
const SEEDED: &str = ".datastream/seeded";

/// Serves a bucket: the objects below the prefix of `address`.
///
/// # Errors
///
/// [`OpenError`], which says in one line what to do.
pub async fn open(address: &Address) -> Result<Arc<dyn Store>, OpenError> {
    let client = Client::of(address)?;
    let failed = |failure: Failure| OpenError::of(&client.base, &client.region, &failure);
    let own = format!("{}{OWN}", address.prefix);
    client.list(&own).await.map_err(failed)?;
    let conditions = probe::probe(&client, &own).await.map_err(failed)?;
    match &conditions {
        Conditions::Kept => {}
        Conditions::KeptExceptDeletes(why) => {
            tracing::warn!(bucket = %address, why, "settings cannot be deleted here, but by other tools");
        }
        Conditions::NotKept(why) => tracing::warn!(bucket = %address, why, "read-only: pushes are refused"),
    }
    let bucket = Bucket { client, prefix: address.prefix.clone(), conditions };
    Ok(Arc::new(Objects::start(bucket, address.poll).await.map_err(OpenError::other)?))
}

/// A bucket, as a place of objects.
struct Bucket {
    client: Client,
    prefix: String,
    conditions: Conditions,
}

/// What names the content of an object. The ETag is opaque, and missing in the lists of some servers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    e_tag: Option<String>,
    /// Unknown of what we wrote: a list then has another, and it is read once more.
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Bucket {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key of an entry of a list, if it is to be a setting.
    fn listed(&self, entry: list::Entry) -> Option<Listed<Version>> {
        let Some(name) = entry.name else {
            tracing::warn!(prefix = self.prefix, "a key that is not UTF-8 is not served");
            return None;
        };
        // A tool that shows folders makes objects for them.
        if name.is_empty() || name.ends_with('/') || self.reserves(&name) {
            return None;
        }
        let (bytes, time, is_settled) = (entry.bytes, entry.modified, entry.is_settled);
        let version = Version { e_tag: entry.e_tag, modified: Some(time), bytes };
        Some(Listed { key: name.into(), version, is_settled, bytes, time })
    }

    async fn change(&self, request: Request<'_>) -> Result<Answer, Denied> {
        self.client.once(&request, 0).await.map_err(Failure::into_denied)
    }
}

#[async_trait]
impl Place for Bucket {
    type Version = Version;
    /// The bucket compares and writes in one step.
    type Turn = ();

    const READERS: usize = 16;

    async fn list(&self) -> Result<Listing<Version>, StoreError> {
        let entries = self.client.list(&self.prefix).await.map_err(Failure::into_unavailable)?;
        let objects = entries.into_iter().filter_map(|entry| self.listed(entry)).collect();
        Ok(Listing { objects, unreadable: Vec::new() })
    }

    async fn read(&self, key: &str) -> Result<Reading<Version>, StoreError> {
        let whole = self.key(key);
        let request = Request { method: Method::GET, key: &whole, ..Request::default() };
        match self.client.ask(&request, MAX_VALUE_BYTES).await {
            Ok(answer) => Ok(Reading::There(object(key, answer))),
            Err(failure) if failure.is_not_found() => Ok(Reading::Absent),
            Err(failure) if failure.is_of_one_object() => Ok(Reading::Unreadable(failure.to_string())),
            Err(failure) => Err(failure.into_unavailable()),
        }
    }

    async fn turn(&self) -> Result<(), StoreError> {
        match &self.conditions {
            Conditions::NotKept(why) => Err(StoreError::ReadOnly(why.clone().into())),
            _ => Ok(()),
        }
    }

    async fn write(&self, key: &str, stored: &Stored, over: Option<&Version>) -> Result<Version, Denied> {
        let whole = self.key(key);
        let (name, value) = condition(over)?;
        let request =
            Request { method: Method::PUT, key: &whole, body: stored.value.clone(), ..Request::default() }
                .header(name, value)
                .header(HeaderName::from_static(media::TYPE), &*stored.value_type)
                .header(CONTENT_TYPE, media::content_of(&stored.value_type));
        let answer = self.change(request).await?;
        let e_tag = text(&answer.headers, &ETAG);
        Ok(Version { e_tag, modified: None, bytes: stored.value.len() as u64 })
    }

    async fn remove(&self, key: &str, over: &Version) -> Result<(), Denied> {
        if let Conditions::KeptExceptDeletes(why) = &self.conditions {
            return Err(StoreError::ReadOnly(why.clone().into()).into());
        }
        let whole = self.key(key);
        let (name, value) = condition(Some(over))?;
        let request = Request { method: Method::DELETE, key: &whole, ..Request::default() };
        self.change(request.header(name, value)).await.map(drop)
    }

    fn reserves(&self, key: &str) -> bool {
        key.starts_with(OWN)
    }

    async fn is_seeded(&self) -> Result<bool, StoreError> {
        Ok(!matches!(self.read(SEEDED).await?, Reading::Absent))
    }

    async fn mark_seeded(&self) -> Result<(), StoreError> {
        let whole = self.key(SEEDED);
        let request = Request { method: Method::PUT, key: &whole, body: Bytes::new(), ..Request::default() };
        self.client.ask(&request, 0).await.map(drop).map_err(Failure::into_store_error)
    }

    async fn rung(&self) {
        std::future::pending().await
    }

    fn kind(&self) -> &'static str {
        match self.conditions {
            Conditions::NotKept(_) => "s3 (read-only)",
            _ => "s3",
        }
    }
}

/// That the object is `over`, or that there is none.
fn condition(over: Option<&Version>) -> Result<(HeaderName, String), Denied> {
    match over.map(|over| over.e_tag.clone()) {
        None => Ok((IF_NONE_MATCH, "*".to_owned())),
        Some(Some(e_tag)) => Ok((IF_MATCH, e_tag)),
        Some(None) => Err(StoreError::ReadOnly("the object has no ETag to name it by".into()).into()),
    }
}

fn object(key: &str, Answer { headers, body }: Answer) -> Object<Version> {
    let length = text(&headers, &http::header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let bytes = body.as_ref().map_or(length.unwrap_or(u64::MAX), |body| body.len() as u64);
    let modified = text(&headers, &LAST_MODIFIED).and_then(|time| httpdate::parse_http_date(&time).ok());
    let stored = body.map(|value| Stored { value_type: media::type_of(&headers, key, &value), value });
    let time = modified.unwrap_or(SystemTime::UNIX_EPOCH);
    Object { version: Version { e_tag: text(&headers, &ETAG), modified, bytes }, stored, bytes, time }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
