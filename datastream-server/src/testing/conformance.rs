//! The store conformance suite: what [`Store`] promises, as laws that every store keeps.
//!
//! Each law gets fresh stores and panics where it does not hold. [`run`] tries them all and says what became of each; a
//! store is tried by what it claims: one that keeps no history is not asked for one, and one that nobody else can write
//! to has no foreign writer. What only one store can do (survive a restart) is tested beside that store.

mod changes;
mod commits;
mod compaction;
mod faults;
mod foreign;
mod past;
mod words;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::store::{Abilities, HistoryQuery, Store};

/// How long a law may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A fresh, empty store to try a law on.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Another program that writes where the store keeps its settings; `None` if there can be none.
    pub foreign: Option<Box<dyn ForeignWriter>>,
    /// What has to live as long as the store, such as its folder.
    pub kept: Box<dyn Any + Send + Sync>,
}

/// Makes a subject.
pub type Open = Arc<dyn Fn() -> BoxFuture<'static, Subject> + Send + Sync>;

/// Another program, which knows nothing of the store.
#[async_trait]
pub trait ForeignWriter: Send + Sync {
    /// Writes all of this in one transaction, and returns when it is committed.
    ///
    /// # Panics
    ///
    /// If it cannot.
    async fn write(&self, transaction: &[ForeignWrite]);
}

/// One write of another program.
#[derive(Clone, Debug)]
pub struct ForeignWrite {
    /// The key.
    pub key: String,
    /// The type and the text; `None` to delete the key.
    pub value: Option<(String, String)>,
}

/// A law of the suite.
#[derive(Clone, Copy)]
pub struct Law {
    /// What it says.
    pub name: &'static str,
    claim: Claim,
    run: fn(Open) -> BoxFuture<'static, ()>,
}

impl Law {
    /// Whether it is about another program that writes, and asked only of a store that has such.
    #[must_use]
    pub fn needs_foreign_writer(&self) -> bool {
        matches!(self.claim, Claim::Foreign | Claim::ForeignBatches)
    }

    /// Whether it is asked of a store with these abilities that keeps a history, and that others write to.
    #[must_use]
    pub fn is_asked_of(&self, abilities: Abilities) -> bool {
        match self.claim {
            Claim::Store | Claim::History | Claim::Foreign => true,
            Claim::Batches | Claim::ForeignBatches => abilities.batches,
            Claim::OneKey => !abilities.batches,
            Claim::Files => !abilities.nesting,
            Claim::Forgetting => abilities.forgets_history,
        }
    }
}

/// What a store has to claim for a law to be asked of it.
#[derive(Clone, Copy)]
enum Claim {
    Store,
    Batches,
    OneKey,
    Files,
    History,
    Forgetting,
    Foreign,
    ForeignBatches,
}

/// What became of a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Kept,
    /// It does not; why.
    Broken(String),
    /// The store does not claim it.
    NotClaimed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Broken(_) => "BROKEN",
            Self::NotClaimed => "-",
        })
    }
}

/// The laws of a module, by name.
macro_rules! laws {
    ($($claim:ident $module:ident { $($name:ident)* })*) => {
        &[$($(Law {
            name: stringify!($name),
            claim: Claim::$claim,
            run: |open| Box::pin($module::$name(open)),
        },)*)*]
    };
}

/// All laws.
pub const LAWS: &[Law] = laws! {
    Store changes {
        an_empty_store_stands_at_genesis
        a_change_says_what_was_written
        revisions_rise_and_are_never_reused
        changes_after_a_position_lead_to_the_head
        load_is_the_fold_of_changes
        a_foreign_position_is_replaced
        a_commit_rings_the_bell
    }
    Batches changes {
        changes_never_split_a_commit
    }
    Batches commits {
        a_refused_operation_leaves_no_trace
        a_dropped_commit_is_whole_or_absent
    }
    OneKey commits {
        several_keys_are_refused
    }
    Files commits {
        a_file_and_a_folder_of_one_name_are_refused
    }
    Store commits {
        a_refusal_names_its_key
        what_is_always_wrong_is_told_first
        a_put_of_what_stands_makes_no_revision
        a_type_changes_only_when_it_is_meant
        preconditions_hold_or_nothing_happens
        concurrent_commits_all_arrive_in_order
        of_concurrent_creations_one_succeeds
        a_request_is_applied_once
        a_request_that_changed_nothing_is_remembered
        a_request_that_was_refused_is_not_remembered
        a_name_that_was_used_is_refused_to_others
        concurrent_requests_of_one_name_are_applied_once
        a_seed_fills_gaps_once
    }
    Store compaction {
        compaction_by_age_forgets_tombstones_and_positions
        compaction_by_age_counts_from_when_the_next_position_came
        compaction_by_count_keeps_the_newest_positions
        compaction_forgets_requests
    }
    History past {
        a_history_tells_who_and_why_newest_first
        a_history_of_a_prefix_holds_what_is_below_it
        a_history_comes_in_pages
        a_page_holds_no_more_bytes_than_it_may
        the_usage_counts_what_is_kept
    }
    Forgetting past {
        a_history_keeps_so_many_versions_and_the_latest_always
        a_superseded_value_stays_as_long_as_the_history
    }
    ForeignBatches foreign {
        a_foreign_transaction_is_never_split
    }
    Foreign foreign {
        a_foreign_write_arrives
        a_foreign_write_of_what_stands_is_no_change
        a_commit_is_decided_by_what_others_wrote
        a_foreign_write_is_in_the_history
    }
    Store faults {
        a_server_follows_whichever_call_fails
        a_server_follows_without_its_bell
        a_server_follows_a_bell_that_rings_too_often
        a_server_follows_a_slow_store
    }
};

/// Tries every law on stores that `open` makes, and says what became of each. A law that takes longer than two minutes
/// is broken.
///
/// # Panics
///
/// If the history of an empty store cannot be read.
pub async fn run(open: Open) -> Vec<(&'static str, Outcome)> {
    let subject = open().await;
    let everything = HistoryQuery { of: None, before: None, limit: 1, bytes: 1 };
    let has_history = subject.store.history(everything).await.expect("an empty store can be read").is_some();
    let has_foreign = subject.foreign.is_some();
    let abilities = subject.store.abilities();
    drop(subject);
    let mut outcomes = Vec::new();
    for law in LAWS {
        let is_there = match law.claim {
            Claim::Store | Claim::Batches | Claim::OneKey | Claim::Files => true,
            Claim::History | Claim::Forgetting => has_history,
            Claim::Foreign | Claim::ForeignBatches => has_foreign,
        };
        let is_claimed = is_there && law.is_asked_of(abilities);
        let outcome = if is_claimed { attempt(law, open.clone()).await } else { Outcome::NotClaimed };
        outcomes.push((law.name, outcome));
    }
    outcomes
}

async fn attempt(law: &Law, open: Open) -> Outcome {
    match tokio::time::timeout(LIMIT, tokio::spawn((law.run)(open))).await {
        Ok(Ok(())) => Outcome::Kept,
        Err(_) => Outcome::Broken(format!("it takes longer than {LIMIT:?}")),
        Ok(Err(error)) => {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Outcome::Broken(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
        }
    }
}
