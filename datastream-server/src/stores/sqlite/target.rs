//! What the threads of a store have in common: the table, the file, the doorbell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::bell::Bell;
use super::error::Failed;
use super::file::Place;

/// What the threads of a store have in common.
#[derive(Debug)]
pub(super) struct Target {
    /// The name of the user's table.
    pub(super) table: Arc<str>,
    pub(super) place: Arc<Place>,
    pub(super) bell: Arc<Bell>,
    /// How often the table is compared with the log.
    pub(super) compare: Duration,
    /// How many transactions became durable.
    pub(super) transactions: Arc<AtomicU64>,
    is_unfit: AtomicBool,
    must_compare: AtomicBool,
}

impl Target {
    pub(super) fn new(
        table: Arc<str>,
        place: Arc<Place>,
        bell: Arc<Bell>,
        compare: Duration,
        transactions: Arc<AtomicU64>,
    ) -> Self {
        let (is_unfit, must_compare) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { table, place, bell, compare, transactions, is_unfit, must_compare }
    }

    /// Notes whether the table can be served as it is now. A table that is gone holds no news: that all of its keys are
    /// deleted is for its owner to say.
    pub(super) fn show_fit(&self, rule: Option<&str>) {
        let was_unfit = self.is_unfit.swap(rule.is_some(), Ordering::AcqRel);
        match rule {
            Some(rule) if !was_unfit => {
                tracing::error!(table = %self.table, rule, "the table cannot be served now")
            }
            None if was_unfit => tracing::info!(table = %self.table, "the table can be served again"),
            _ => {}
        }
    }

    /// Whether the table cannot be served as it is now.
    pub(super) fn is_unfit(&self) -> bool {
        self.is_unfit.load(Ordering::Acquire)
    }

    /// Another file, or another history, is in the place of ours: the next call opens it.
    pub(super) fn leave(&self) -> Failed {
        self.place.leave();
        self.bell.ring();
        Failed::Left
    }

    /// Asks for a comparison soon, whatever the interval is: the last one failed.
    pub(super) fn ask_to_compare(&self) {
        self.must_compare.store(true, Ordering::Release);
    }

    /// Whether that was asked for since the last call.
    pub(super) fn must_compare(&self) -> bool {
        self.must_compare.swap(false, Ordering::AcqRel)
    }
}
