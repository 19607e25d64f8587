//! Messages, made by joining entries that are already encoded.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use datastream::position::Position;
use datastream::proto::{DataResponse, Phase};
use prost::Message as _;

use crate::entry::Entry;

/// The size up to which entries are joined into one message. A larger entry travels alone.
pub const JOIN_BYTES: usize = 1 << 20;

/// One message to a subscriber, encoded.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The bytes of a `DataResponse`.
    pub bytes: Bytes,
    /// What it is.
    pub phase: Phase,
    /// Whether more messages of the same delivery follow.
    pub more: bool,
    /// Whether it has no entry.
    pub is_empty: bool,
}

/// A heartbeat at `position`.
#[must_use]
pub fn heartbeat(position: &Position, source_age: Option<Duration>) -> Frame {
    let tail = DataResponse {
        position: Some(position.to_proto()),
        phase: Phase::Heartbeat.into(),
        source_age: source_age.map(proto_duration),
        ..DataResponse::default()
    };
    join(&[], &tail)
}

/// The word that the server is going away, and when to come back.
#[must_use]
pub fn drain(delay: Duration) -> Frame {
    let tail = DataResponse {
        phase: Phase::Drain.into(),
        delay: Some(proto_duration(delay)),
        ..DataResponse::default()
    };
    join(&[], &tail)
}

/// Joins `entries`, followed by the fields of `tail`, whose own `data` must be empty.
#[must_use]
pub fn join(entries: &[Arc<Entry>], tail: &DataResponse) -> Frame {
    let length: usize = entries.iter().map(|entry| entry.encoded.len()).sum();
    let mut bytes = BytesMut::with_capacity(length + tail.encoded_len());
    entries.iter().for_each(|entry| bytes.put_slice(&entry.encoded));
    tail.encode_raw(&mut bytes);
    Frame { bytes: bytes.freeze(), phase: tail.phase(), more: tail.more, is_empty: entries.is_empty() }
}

pub(crate) fn proto_duration(duration: Duration) -> prost_types::Duration {
    // Only centuries do not fit, and a server that waited for one may say so.
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
