//! Every object below a prefix, page after page; half a list is none.

use std::time::{Duration, SystemTime};

use datastream::value;
use http::header::DATE;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::client::{Client, Request};
use super::error::Failure;

/// The most bytes of a page: a thousand keys of a kilobyte, each byte encoded as three.
const PAGE_BYTES: usize = 16 << 20;
/// How long after a change of an object another may have the same time: it is told in whole seconds.
const STEP: Duration = Duration::from_secs(2);

/// An object, as a page has it.
#[derive(Debug)]
pub(super) struct Entry {
    /// What its key has behind the prefix; `None` if that is not UTF-8.
    pub(super) name: Option<String>,
    pub(super) e_tag: Option<String>,
    pub(super) modified: SystemTime,
    /// Whether a later change is sure to show: one of the metadata alone leaves the ETag as it is.
    pub(super) is_settled: bool,
    pub(super) bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    is_truncated: bool,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    encoding_type: Option<String>,
    #[serde(default)]
    contents: Vec<Contents>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    last_modified: String,
    #[serde(rename = "ETag", default)]
    e_tag: Option<String>,
    size: u64,
}

impl Client {
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Entry>, Failure> {
        let (mut entries, mut token) = (Vec::new(), None);
        loop {
            let (page, now) = self.page(prefix, token.as_deref()).await?;
            let is_encoded = page.encoding_type.as_deref() == Some("url");
            for contents in page.contents {
                entries.extend(entry(contents, prefix, is_encoded, now)?);
            }
            let next = page.next_continuation_token.filter(|token| !token.is_empty());
            match (page.is_truncated, next) {
                (false, _) => return Ok(entries),
                (true, next @ Some(_)) if next != token => token = next,
                (true, _) => {
                    return Err(Failure::Malformed("the list goes on, and nothing says where".to_owned()));
                }
            }
        }
    }

    /// A page, and when it was made, by the clock that tells when an object was written.
    async fn page(&self, prefix: &str, token: Option<&str>) -> Result<(Page, Option<SystemTime>), Failure> {
        // XML cannot hold every character of a key.
        let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)];
        query.extend(token.map(|token| ("continuation-token", token)));
        query.sort_unstable();
        let answer =
            self.ask(&Request { method: Method::GET, query, ..Request::default() }, PAGE_BYTES).await?;
        let text = answer.body.ok_or_else(|| Failure::Malformed("the page is too large".to_owned()))?;
        let page = quick_xml::de::from_reader(&text[..])
            .map_err(|error| Failure::Malformed(format!("no page of a list: {error}")))?;
        Ok((page, date(&answer.headers)))
    }
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// Where nothing says what time it is there, an object would be read again for ever.
fn is_settled(modified: SystemTime, now: Option<SystemTime>) -> bool {
    now.is_none_or(|now| {
        let apart = now.duration_since(modified).unwrap_or_else(|ahead| ahead.duration());
        apart > STEP
    })
}

fn entry(
    contents: Contents,
    prefix: &str,
    is_encoded: bool,
    now: Option<SystemTime>,
) -> Result<Option<Entry>, Failure> {
    let key = if is_encoded { decoded(&contents.key) } else { Some(contents.key) };
    let name = match key {
        Some(key) => match key.strip_prefix(prefix) {
            Some(name) => Some(name.to_owned()),
            // Some servers leave out the slash of a prefix.
            None => return Ok(None),
        },
        None => None,
    };
    let modified = value::decode("timestamp", &contents.last_modified.into());
    let modified = modified.map_err(|error| Failure::Malformed(format!("LastModified: {error}")))?;
    let is_settled = is_settled(modified, now);
    Ok(Some(Entry { name, e_tag: contents.e_tag, modified, is_settled, bytes: contents.size }))
}

/// As in a form: a blank is a `+`.
fn decoded(key: &str) -> Option<String> {
    let key = key.replace('+', " ");
    percent_decode_str(&key).decode_utf8().ok().map(|key| key.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_settled_when_its_time_is_past_or_nothing_tells_the_time() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        for (now, expected) in [(100, false), (102, false), (103, true), (98, false), (97, true)] {
            assert_eq!(is_settled(at(100), Some(at(now))), expected, "{now}");
        }
        assert!(is_settled(at(100), None));
    }
}
