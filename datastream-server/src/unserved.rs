//! What a store holds and no client is served: counted, and named once.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use datastream::key::{self, shown};

use crate::config::{MAX_TYPE_BYTES, MAX_VALUE_BYTES};
use crate::store::Change;

/// How many are named in the log; more are counted only.
const NAMED: usize = 100;

/// The keys that foreign writers stored and that cannot be served: outside the grammar, or with a value or a type that
/// is too large for a message.
#[derive(Debug, Default)]
pub(crate) struct Unserved {
    /// By their hashes: a key of a foreign writer may be of any length.
    keys: HashSet<u64>,
    hasher: RandomState,
}

impl Unserved {
    /// How many keys are not served now.
    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    /// What can be served of `change`. Of a key that no message can carry, that is nothing; a key whose value is too
    /// large is absent.
    pub(crate) fn sift(&mut self, change: Change) -> Option<Change> {
        let hash = self.hasher.hash_one(&change.key);
        let reason = if is_gone(&change) { None } else { reason(&change) };
        match &reason {
            None => _ = self.keys.remove(&hash),
            Some(reason) if self.keys.insert(hash) && self.keys.len() <= NAMED => {
                tracing::warn!(key = %shown(&change.key), reason, "a key of the store is not served");
            }
            Some(_) => {}
        }
        match key::check(&change.key) {
            Err(_) => None,
            Ok(()) if reason.is_some() => Some(Change { value: None, ..change }),
            Ok(()) => Some(change),
        }
    }

    /// Says how many there are, where not all were named.
    pub(crate) fn summarize(&self) {
        if self.count() > NAMED {
            tracing::warn!(
                keys = self.count(),
                "keys of the store are not served; the first of them are named above"
            );
        }
    }
}

fn is_gone(change: &Change) -> bool {
    change.value.is_none() && change.too_large.is_none()
}

fn reason(change: &Change) -> Option<String> {
    if let Err(rule) = key::check(&change.key) {
        return Some(rule.to_string());
    }
    let stored = change.value.as_ref();
    let bytes = change.too_large.or(stored.map(|stored| stored.value.len() as u64)).unwrap_or(0);
    let type_bytes = stored.map_or(0, |stored| stored.value_type.len());
    if bytes > MAX_VALUE_BYTES as u64 {
        return Some(format!("its value has {bytes} bytes, and at most {MAX_VALUE_BYTES} are served"));
    }
    (type_bytes > MAX_TYPE_BYTES).then(|| format!("the name of its type has {type_bytes} bytes"))
}
