//! The store in memory as the log of another, whose history begins with the process.

use std::time::SystemTime;

use datastream::position::Position;

use super::MemoryStore;
use super::history::Written;
use crate::store::{CommitError, Effect, Operation, RequestId, Stored};

impl MemoryStore {
    /// An empty log. Its genesis is the number of microseconds since 1970: above what a log of an earlier run, or of another
    /// server, has given out, so that a revision of theirs is never met again.
    pub(in crate::stores) fn of_this_run() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::beginning_at(u64::try_from(since.as_micros()).unwrap_or_default().max(1))
    }

    /// Makes one commit of those of `rows` that differ from what is known.
    pub(in crate::stores) fn absorb(&self, rows: Vec<Written>) {
        if self.history().absorb(rows) {
            self.bell.notify_one();
        }
    }

    /// What an operation would do now.
    pub(in crate::stores) fn decide(&self, operation: &Operation) -> Result<Effect, CommitError> {
        self.history().decide(operation)
    }

    /// Where the commit of this request ended, if it was made before.
    pub(in crate::stores) fn applied(
        &self,
        request: Option<&RequestId>,
    ) -> Result<Option<Position>, CommitError> {
        self.history().applied(request)
    }

    /// Notes under the name of a request that `key` was changed to `value` after the revision `after`, if it was.
    pub(in crate::stores) fn find(
        &self,
        request: &RequestId,
        key: &str,
        after: u64,
        value: Option<&Stored>,
    ) -> Option<Position> {
        self.history().find(request, key, after, value)
    }

    /// The revision of the head.
    pub(in crate::stores) fn head(&self) -> u64 {
        self.history().revision()
    }

    /// The revision of a key that is there, 0 of one that is not.
    pub(in crate::stores) fn revision_of(&self, key: &str) -> u64 {
        self.history().revision_of(key)
    }
}
