//! Whether a bucket keeps its conditions: tried at the start, on an object of our own, before anything is written.

use bytes::Bytes;
use http::Method;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};

use super::client::{Client, Request};
use super::error::Failure;

/// An ETag that no object has.
const STALE: &str = "\"00000000000000000000000000000000\"";

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

/// Tries them on an object with this key, which is removed in the end.
pub(super) async fn probe(client: &Client, key: &str) -> Result<Conditions, Failure> {
    let found = try_puts(client, key).await;
    let found = match found {
        Ok(None) => try_delete(client, key).await,
        Ok(Some(why)) => Ok(Conditions::NotKept(why)),
        Err(failure) => Err(failure),
    };
    // What is left does no harm: it is below a name of ours.
    let _ = client.once(&Request { method: Method::DELETE, key, ..Request::default() }, 0).await;
    found
}

/// Why a put is not safe, if it is not.
async fn try_puts(client: &Client, key: &str) -> Result<Option<String>, Failure> {
    let create = || put(key, "1").header(IF_NONE_MATCH, "*");
    let e_tag = match client.ask(&create(), 0).await {
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
    match client.ask(&create(), 0).await {
        Ok(_) => return Ok(Some("If-None-Match is ignored: what is there was overwritten".to_owned())),
        Err(failure) if failure.is_lost() => {}
        Err(failure) => return Err(failure),
    }
    match client.ask(&put(key, "2").header(IF_MATCH, STALE), 0).await {
        Ok(_) => return Ok(Some("If-Match is ignored: another version was overwritten".to_owned())),
        Err(failure) if failure.is_lost() => {}
        Err(failure) if failure.is_unknown_to_server() => {
            return Ok(Some(format!("If-Match is not known to it: {failure}")));
        }
        Err(failure) => return Err(failure),
    }
    match client.ask(&put(key, "3").header(IF_MATCH, e_tag), 0).await {
        Ok(_) => Ok(None),
        Err(failure) if failure.is_lost() => {
            Ok(Some("If-Match is refused for the version that is there".to_owned()))
        }
        Err(failure) => Err(failure),
    }
}

async fn try_delete(client: &Client, key: &str) -> Result<Conditions, Failure> {
    let stale = Request { method: Method::DELETE, key, ..Request::default() }.header(IF_MATCH, STALE);
    match client.ask(&stale, 0).await {
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
