//! Messages, made by joining entries that are already encoded.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use datastream::position::Position;
use datastream::proto::{DataResponse, Phase};
use prost::Message as _;

/// The size up to which entries are joined into one message. A larger entry travels alone. For a client of the original
/// every message stands by itself, so that what is committed together reaches it together up to this size.
pub const JOIN_BYTES: usize = 1 << 20;
/// The same for a client that waits for the last message of a delivery. Another message costs it little, and
/// the first of a long state is there the sooner.
pub const PART_BYTES: usize = 64 << 10;

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
    join::<&[u8]>(&[], &tail)
}

/// The word that the server is going away, and when to come back.
#[must_use]
pub fn drain(delay: Duration) -> Frame {
    let tail = DataResponse {
        phase: Phase::Drain.into(),
        delay: Some(proto_duration(delay)),
        ..DataResponse::default()
    };
    join::<&[u8]>(&[], &tail)
}

/// Joins `parts`, which are encoded entries, followed by the fields of `tail`, whose own `data` must be empty.
#[must_use]
pub fn join<T: AsRef<[u8]>>(parts: &[T], tail: &DataResponse) -> Frame {
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    let mut bytes = BytesMut::with_capacity(length + tail.encoded_len());
    parts.iter().for_each(|part| bytes.put_slice(part.as_ref()));
    tail.encode_raw(&mut bytes);
    Frame { bytes: bytes.freeze(), phase: tail.phase(), more: tail.more, is_empty: parts.is_empty() }
}

pub(crate) fn proto_duration(duration: Duration) -> prost_types::Duration {
    // Only centuries do not fit, and a server that waited for one may say so.
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
