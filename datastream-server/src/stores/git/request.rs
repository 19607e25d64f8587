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

/// The request of the sample settings, which are written once in the life of a repository. No caller has an empty name.
pub(super) fn seed() -> RequestId {
    RequestId { id: "".into(), digest: 0 }
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

/// A message that names no request, whatever its author wrote.
pub(super) fn without(message: &str) -> String {
    message.replace(TRAILER, &TRAILER.replace(':', " :"))
}

/// What a message says to people, and the request that it names: in its last paragraph, to which others may have added lines.
pub(super) fn split(message: &str) -> (String, Option<RequestId>) {
    let message = message.trim_end();
    let last = message.rfind("\n\n").map_or(0, |end| end + 2);
    let mut lines: Vec<&str> = message[last..].lines().collect();
    let Some(at) = lines.iter().rposition(|line| line.strip_prefix(TRAILER).and_then(read).is_some()) else {
        return (message.to_owned(), None);
    };
    let request = lines.remove(at).strip_prefix(TRAILER).and_then(read);
    (format!("{}{}", &message[..last], lines.join("\n")).trim_end().to_owned(), request)
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
            let line = trailer(&request);
            for (message, said) in [
                (format!("why\n\nDatastream-Note: x\n{line}"), "why\n\nDatastream-Note: x"),
                (format!("why\n\n{line}Signed-off-by: a <b>\n"), "why\n\nSigned-off-by: a <b>"),
                (line.clone(), ""),
            ] {
                assert_eq!(split(&message), (said.to_owned(), Some(request.clone())));
            }
            assert_eq!(split(&without(&line)).1, None, "an author forges nothing");
        }
        for message in ["", "why", "why\n\nDatastream-Request: x", "Datastream-Request: 61 1\n\nwhy"] {
            assert_eq!(split(message).1, None, "{message:?}");
        }
    }
}
