//! One value, as a client holds it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use datastream::key::shown;
use datastream::proto;
use datastream::value::ValueType;

use crate::status::Origin;

/// What a key costs beside its text, its value and the name of its type: its nodes and counters, rather more than less.
const KEY_BYTES: usize = 256;

/// A value, as it was received.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// The text.
    pub value: Bytes,
    /// The name of its type, as it was written.
    pub value_type: Cow<'static, str>,
    /// The revision of the change that wrote it; 0 from a server of the original, which has none, and of an override.
    pub revision: u64,
    /// Where it comes from: the server, a file, or an override.
    pub(crate) origin: Origin,
    /// What a handle shows that cannot use this one: the live value below an override, and in a file the last value
    /// that every handle accepted.
    pub(crate) below: Option<Arc<Held>>,
}

impl std::fmt::Debug for Held {
    /// Shows type, length and revision; a value never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]@{}", shown(&self.value_type), self.value.len(), self.revision)
    }
}

impl Held {
    /// Copies the value out of its message: twenty bytes would otherwise keep a megabyte alive.
    pub(crate) fn new(data: &proto::Data) -> Self {
        Self {
            value: Bytes::copy_from_slice(&data.value),
            value_type: type_name(&data.value_type),
            revision: data.revision,
            origin: Origin::Live,
            below: None,
        }
    }

    /// A value of a server of the original: nothing but its arrival orders it.
    pub(crate) fn unordered(data: proto::Data) -> Self {
        Self { revision: 0, ..Self::new(&data) }
    }

    /// Its revision, if the server has such.
    pub(crate) fn known_revision(&self) -> Option<u64> {
        Some(self.revision).filter(|revision| *revision > 0)
    }

    /// Whether it is the same value, at whatever revision.
    pub(crate) fn has_text_of(&self, other: &Self) -> bool {
        self.value_type == other.value_type && self.value == other.value
    }
}

/// How many bytes of memory a key takes with its value, about.
pub(crate) fn size(key: &str, held: &Held) -> usize {
    KEY_BYTES + key.len() + held.value.len() + held.value_type.len()
}

/// The name of a type, which is not allocated anew for each value: nearly all are the same few.
pub(crate) fn type_name(name: &str) -> Cow<'static, str> {
    match ValueType::named(name) {
        Some(known) if known.name() == name => Cow::Borrowed(known.name()),
        _ => Cow::Owned(name.to_owned()),
    }
}
