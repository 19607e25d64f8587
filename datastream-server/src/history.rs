//! The words in which a store speaks of what was.

use datastream::key::Selector;
use datastream::position::Position;

use crate::state::Place;
use crate::store::Change;

/// Which part of a history is asked for.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// The key or the prefix; `None`: all keys.
    pub of: Option<Selector>,
    /// Only what stands before this place, if it is given: where the page before ended. Ordered by revision and, where a
    /// commit has one revision for all its keys, by key.
    pub before: Option<Place>,
    /// How many changes at most; at least 1.
    pub limit: usize,
    /// How many bytes of keys, values, authors and messages, about; one change is always given.
    pub bytes: usize,
}

/// A part of a history.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// Newest first.
    pub changes: Vec<Logged>,
    /// Whether there is more behind them.
    pub more: bool,
}

/// A change, as a history keeps it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// What was written, or the deletion.
    pub change: Change,
    /// Where its commit ended, without its token if that is no longer kept.
    pub position: Position,
    /// Who; empty where nobody said so.
    pub author: String,
    /// Why.
    pub message: String,
}

impl Logged {
    pub(crate) fn bytes(&self) -> usize {
        let value =
            self.change.value.as_ref().map_or(0, |stored| stored.value.len() + stored.value_type.len());
        self.change.key.len() + value + self.author.len() + self.message.len()
    }
}

/// What a store keeps beside the settings themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// How many changes the history holds.
    pub changes: u64,
    /// How many bytes all of it takes.
    pub bytes: u64,
}

impl HistoryQuery {
    /// Whether `key` is asked for.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        self.of.as_ref().is_none_or(|of| of.matches(key))
    }

    /// Takes changes, newest first, as many as are asked for.
    ///
    /// # Errors
    ///
    /// The first error among the changes.
    pub fn page<E>(&self, changes: impl IntoIterator<Item = Result<Logged, E>>) -> Result<HistoryPage, E> {
        let (mut page, mut bytes) = (HistoryPage::default(), 0);
        for logged in changes {
            let logged = logged?;
            bytes += logged.bytes();
            let is_full = page.changes.len() >= self.limit || bytes > self.bytes;
            if is_full && !page.changes.is_empty() {
                page.more = true;
                break;
            }
            page.changes.push(logged);
        }
        Ok(page)
    }
}
