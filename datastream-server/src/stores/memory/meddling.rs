//! What another program could do to a store in memory, if one could reach it: for tests.

use super::MemoryStore;
use crate::store::Stored;

impl MemoryStore {
    /// Writes `value` as it is, right or wrong; `None` removes the key. Returns what stood there.
    pub(crate) fn overwrite(&self, key: &str, value: Option<Stored>) -> Option<Stored> {
        let before = self.history().overwrite(key, value);
        self.bell.notify_one();
        before
    }

    /// What stands at `key`.
    pub(crate) fn standing_at(&self, key: &str) -> Option<Stored> {
        self.history().standing_at(key)
    }

    /// The same values in another history, as after a restored backup: its revisions begin at the first.
    pub(crate) fn begin_anew(&self) {
        self.history().begin_anew();
        self.bell.notify_one();
    }
}
