//! The names of commits, by which a retry is known: each stands in the message of its commit.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use super::known::is_older;
use crate::store::{CommitError, RequestId, Retention};

/// Begins the line of a message that names the request.
const TRAILER: &str = "Datastream-Request: ";

/// The requests that are remembered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The digest, and the revision of the commit.
    applied: HashMap<Arc<str>, (u64, u64)>,
    /// Oldest first.
    named: VecDeque<(Arc<str>, SystemTime)>,
}

impl Requests {
    /// Remembers the request that a message names, if it does.
    pub(super) fn note(&mut self, message: &str, revision: u64, time: SystemTime) {
        if let Some(request) = split(message).1 {
            self.remember(request, revision, time);
        }
    }

    pub(super) fn remember(&mut self, request: RequestId, revision: u64, time: SystemTime) {
        if self.applied.insert(request.id.clone(), (request.digest, revision)).is_none() {
            self.named.push_back((request.id, time));
        }
    }

    /// The revision at which this request was applied, if it was.
    pub(super) fn applied(&self, request: &RequestId) -> Result<Option<u64>, CommitError> {
        match self.applied.get(&request.id) {
            Some((digest, _)) if *digest != request.digest => Err(CommitError::Reused),
            found => Ok(found.map(|(_, revision)| *revision)),
        }
    }

    pub(super) fn compact(&mut self, retention: &Retention, now: SystemTime) {
        let most = usize::try_from(retention.max_requests).unwrap_or(usize::MAX);
        while let Some((name, time)) = self.named.front() {
            if self.named.len() <= most && !is_older(*time, retention.requests, now) {
                break;
            }
            self.applied.remove(name);
            self.named.pop_front();
        }
    }
}

/// The request of the sample settings, which are written once in the life of a repository.
pub(super) fn seed() -> RequestId {
    RequestId { id: "datastream-seed".into(), digest: 0 }
}

/// The line that names a request. Its name may hold anything, so it is written in hexadecimal digits.
pub(super) fn trailer(request: &RequestId) -> String {
    let mut line = TRAILER.to_owned();
    for byte in request.id.bytes() {
        // Writing into a String cannot fail.
        let _ = write!(line, "{byte:02x}");
    }
    format!("{line} {:016x}\n", request.digest)
}

/// What a message says to people, and the request that it names.
pub(super) fn split(message: &str) -> (&str, Option<RequestId>) {
    let message = message.trim_end();
    let (before, last) = message.rsplit_once('\n').unwrap_or(("", message));
    match last.strip_prefix(TRAILER).and_then(read) {
        Some(request) => (before.trim_end(), Some(request)),
        None => (message, None),
    }
}

fn read(line: &str) -> Option<RequestId> {
    let (name, digest) = line.split_once(' ')?;
    let digits =
        name.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let name = String::from_utf8(digits.collect::<Option<Vec<u8>>>()?).ok()?;
    Some(RequestId { id: name.into(), digest: u64::from_str_radix(digest, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gives_back_the_request_that_it_names() {
        for id in ["one", "ü\n\0: x", ""] {
            let request = RequestId { id: id.into(), digest: u64::MAX - 1 };
            let message = format!("why\n\nDatastream-Note: x\n{}", trailer(&request));
            assert_eq!(split(&message), ("why\n\nDatastream-Note: x", Some(request)));
        }
        for message in ["", "why", "why\n\nDatastream-Request: x", "Datastream-Request: 61 1\n\nwhy"] {
            assert_eq!(split(message).1, None, "{message:?}");
        }
    }
}
