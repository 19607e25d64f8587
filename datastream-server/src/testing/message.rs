//! What a server says in a [`Script`](super::Script): whole deliveries of one message, of the history `here`.
//!
//! They are plain messages: change what is to be wrong.

use bytes::Bytes;
use datastream::proto::{Data, DataResponse, Phase, Position};

/// An entry: a key, the revision of its value, the name of its type and the text.
pub type Entry<'a> = (&'a str, u64, &'a str, &'a str);

/// A message of this phase, at the position of this revision.
#[must_use]
pub fn message<const N: usize>(phase: Phase, revision: u64, entries: [Entry<'_>; N]) -> DataResponse {
    let entry = |(key, revision, value_type, text): Entry<'_>| {
        let value = Bytes::copy_from_slice(text.as_bytes());
        let value_type = value_type.to_owned();
        (key.to_owned(), Data { key: key.to_owned(), value, value_type, revision, ..Data::default() })
    };
    DataResponse {
        data: entries.into_iter().map(entry).collect(),
        position: Some(Position { revision, token: Bytes::from_static(b"here") }),
        phase: phase.into(),
        ..DataResponse::default()
    }
}

/// The whole state: the first that is said to a client which has nothing.
#[must_use]
pub fn state<const N: usize>(revision: u64, entries: [Entry<'_>; N]) -> DataResponse {
    message(Phase::State, revision, entries)
}

/// The whole state, because what the client has does not count.
#[must_use]
pub fn reset<const N: usize>(revision: u64, entries: [Entry<'_>; N]) -> DataResponse {
    message(Phase::Reset, revision, entries)
}

/// What has changed since the client left: the first that is said to one that comes back.
#[must_use]
pub fn resume<const N: usize>(revision: u64, entries: [Entry<'_>; N]) -> DataResponse {
    message(Phase::Resume, revision, entries)
}

/// What has changed since the delivery before.
#[must_use]
pub fn change<const N: usize>(revision: u64, entries: [Entry<'_>; N]) -> DataResponse {
    message(Phase::Change, revision, entries)
}

/// That nothing has changed up to this revision.
#[must_use]
pub fn heartbeat(revision: u64) -> DataResponse {
    message(Phase::Heartbeat, revision, [])
}

/// A change that deletes a key.
#[must_use]
pub fn deletion(revision: u64, key: &str) -> DataResponse {
    let tombstone = Data { key: key.to_owned(), revision, deleted: true, ..Data::default() };
    DataResponse { data: [(key.to_owned(), tombstone)].into(), ..change(revision, []) }
}
