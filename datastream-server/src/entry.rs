//! The latest change of one key, encoded once.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use datastream::proto;
use prost::Message as _;

use crate::store::Change;

/// The latest change of one key: a value, or the tombstone of a deletion.
///
/// It holds its own encoding as an entry of `DataResponse.data`, made when the change was read from the store.
/// A message for any subscriber is a join of such entries.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The revision of the change.
    pub revision: u64,
    /// The name of the type, as it was written; `None` for a tombstone.
    pub value_type: Option<Arc<str>>,
    /// One encoded entry of the map `DataResponse.data`.
    pub encoded: Bytes,
}

impl Entry {
    /// Encodes a change.
    #[must_use]
    pub fn new(change: Change) -> Self {
        let Change { key, revision, time, value, .. } = change;
        let deleted = value.is_none();
        let value_type = value.as_ref().map(|stored| stored.value_type.clone());
        let (value, name) =
            value.map_or_else(Default::default, |stored| (stored.value, stored.value_type.to_string()));
        let data = proto::Data {
            key: key.to_string(),
            value,
            value_type: name,
            updated_at: Some(time.into()),
            revision,
            deleted,
        };
        let map = HashMap::from([(key.to_string(), data)]);
        let message = proto::DataResponse { data: map, ..Default::default() };
        Self { key, revision, value_type, encoded: message.encode_to_vec().into() }
    }

    /// Whether the key was deleted.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.value_type.is_none()
    }
}
