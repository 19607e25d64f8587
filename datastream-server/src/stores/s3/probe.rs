//! Whether a bucket keeps its conditions: tried at the start, on objects of our own, before anything is written.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use tokio::time::{Instant, sleep};

use super::client::{Answer, Client, PAUSES, Request};
use super::error::Failure;

/// An ETag that no object has.
const STALE: &str = "\"00000000000000000000000000000000\"";
/// How long it is tried anew: longer than one request that is not answered.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a bucket does with conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Conditions {
    /// It keeps them.
    Kept,
    /// It keeps them, but not those of a delete; how that was seen.
    KeptExceptDeletes(String),
    /// It does not; how that was seen. Two who write would lose an update, and not know it.
    NotKept(String),
}

/// Tries them on an object below `folder`, which is removed in the end. A step may have been done whose answer is lost, and
/// would look refused when it is asked again: so all is tried anew then, on another object.
pub(super) async fn probe(client: &Client, folder: &str) -> Result<Conditions, Failure> {
    let (mut pauses, began) = (PAUSES, Instant::now());
    loop {
        let key = format!("{folder}probe-{:016x}", fastrand::u64(..));
        let found = try_all(client, &key).await;
        let is_over = began.elapsed() > PATIENCE;
        // What is left does no harm: it is below a name of ours.
        let _ = client.ask(&delete(&key), 0).await;
        match found {
            Err(failure) if failure.may_pass() && !is_over => {
                tracing::debug!(%failure, "trying the conditions anew");
                sleep(pauses.next_jittered()).await;
            }
            found => return found,
        }
    }
}

async fn try_all(client: &Client, key: &str) -> Result<Conditions, Failure> {
    match try_puts(client, key).await? {
        None => try_delete(client, key).await,
        Some(why) => Ok(Conditions::NotKept(why)),
    }
}

/// Asks once, and tells apart what says nothing of the bucket: it was busy, or out of reach.
async fn once(client: &Client, request: Request<'_>) -> Result<Result<Answer, Failure>, Failure> {
    match client.once(&request, 0).await {
        Err(failure) if failure.may_pass() => Err(failure),
        answer => Ok(answer),
    }
}

/// Why a put is not safe, if it is not.
async fn try_puts(client: &Client, key: &str) -> Result<Option<String>, Failure> {
    let create = || put(key, "1").header(IF_NONE_MATCH, "*");
    let e_tag = match once(client, create()).await? {
        Ok(answer) => answer.headers.get(ETAG).and_then(|e_tag| e_tag.to_str().ok()).map(str::to_owned),
        Err(failure) if failure.is_forbidden() => {
            return Ok(Some(format!("the user may not write there: {failure}")));
        }
        Err(failure) if failure.is_unknown_to_server() => {
            return Ok(Some(format!("If-None-Match is not known to it: {failure}")));
        }
        Err(failure) => return Err(failure),
    };
    let Some(e_tag) = e_tag else { return Ok(Some("a put is answered without an ETag".to_owned())) };
    match once(client, create()).await? {
        Ok(_) => return Ok(Some("If-None-Match is ignored: what is there was overwritten".to_owned())),
        Err(failure) if failure.is_lost() => {}
        Err(failure) => return Err(failure),
    }
    match once(client, put(key, "2").header(IF_MATCH, STALE)).await? {
        Ok(_) => return Ok(Some("If-Match is ignored: another version was overwritten".to_owned())),
        Err(failure) if failure.is_lost() => {}
        Err(failure) if failure.is_unknown_to_server() => {
            return Ok(Some(format!("If-Match is not known to it: {failure}")));
        }
        Err(failure) => return Err(failure),
    }
    match once(client, put(key, "3").header(IF_MATCH, e_tag)).await? {
        Ok(_) => Ok(None),
        Err(failure) if failure.is_lost() => {
            Ok(Some("If-Match is refused for the version that is there".to_owned()))
        }
        Err(failure) => Err(failure),
    }
}

async fn try_delete(client: &Client, key: &str) -> Result<Conditions, Failure> {
    match once(client, delete(key).header(IF_MATCH, STALE)).await? {
        Ok(_) => Ok(Conditions::KeptExceptDeletes("If-Match is ignored by a delete".to_owned())),
        Err(failure) if failure.is_lost() => Ok(Conditions::Kept),
        Err(failure) if failure.is_forbidden() => {
            Ok(Conditions::KeptExceptDeletes(format!("the user may not delete there: {failure}")))
        }
        Err(failure) if failure.is_unknown_to_server() => {
            Ok(Conditions::KeptExceptDeletes(format!("If-Match of a delete is not known to it: {failure}")))
        }
        Err(failure) => Err(failure),
    }
}

fn put<'a>(key: &'a str, text: &'static str) -> Request<'a> {
    Request { method: Method::PUT, key, body: Bytes::from_static(text.as_bytes()), ..Request::default() }
}

fn delete(key: &str) -> Request<'_> {
    Request { method: Method::DELETE, key, ..Request::default() }
}
