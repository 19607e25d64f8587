//! Every store keeps the laws that it claims; the output shows which, as a table.

mod directory;
mod git;
mod postgres;
mod s3;
mod sqlite;

use std::io::Write as _;
use std::sync::Arc;

use datastream_server::store::{Abilities, Store as _};
use datastream_server::stores::MemoryStore;
use datastream_server::testing::conformance::{self, LAWS, Open, Outcome, Subject};
use futures_util::FutureExt as _;

use crate::git::Repository;
use crate::postgres::Cluster;

/// The page of the documentation that has the table.
const PAGE: &str = include_str!("../../docs/stores.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d34_every_store_that_is_offered_keeps_the_laws_that_it_claims() {
    let cluster = Cluster::shared();
    let all = Abilities::default();
    let kept = Abilities { nesting: false, forgets_history: false, ..all };
    // Each with what it can, and whether others write to it.
    let stores = [
        ("memory", memory(), all, false),
        ("sqlite", sqlite::open(), all, true),
        ("directory", directory::open(), Abilities { batches: false, nesting: false, ..all }, true),
        ("s3", s3::open(), Abilities { batches: false, ..all }, true),
        ("postgres", postgres::open(&cluster), all, true),
        ("git", git::open(Repository::local), kept, true),
        ("git remote", git::open(|repository| repository.remote("mirror.git")), kept, true),
    ];
    // Side by side: most of them wait.
    let tried = stores.iter().map(|(_, open, ..)| tokio::spawn(conformance::run(open.clone())));
    let tried = futures_util::future::try_join_all(tried).await.expect("a broken law is an outcome");
    let columns: Vec<_> = stores.iter().map(|(name, ..)| *name).zip(tried).collect();
    let table = table(&columns);
    // Past the capture of the test harness, and in one piece: tests/run shows it.
    std::io::stderr().write_all(format!("\n{table}\n").as_bytes()).expect("there is a stderr");
    for ((store, outcomes), (_, _, abilities, has_foreign)) in columns.iter().zip(&stores) {
        for (law, (name, outcome)) in LAWS.iter().zip(outcomes) {
            let is_claimed = law.is_asked_of(*abilities) && (*has_foreign || !law.needs_foreign_writer());
            let expected = if is_claimed { Outcome::Kept } else { Outcome::NotClaimed };
            assert_eq!(*outcome, expected, "{store}: {name}");
        }
    }
    assert!(PAGE.contains(&table), "docs/stores.md has another table");
}

/// A store that breaks a law is found out, and the others are tried all the same.
#[tokio::test]
async fn a_broken_law_is_told() {
    let open: Open = Arc::new(|| {
        let store = Arc::new(MemoryStore::new());
        async move {
            let put = datastream_server::store::Operation::put("not empty", "int", "1");
            store.commit(datastream_server::store::Commit::one(put)).await.expect("commit");
            Subject { store, foreign: None, kept: Box::new(()) }
        }
        .boxed()
    });
    let outcomes = conformance::run(open).await;
    let broken =
        |name| outcomes.iter().any(|(law, outcome)| *law == name && matches!(outcome, Outcome::Broken(_)));
    assert!(broken("an_empty_store_stands_at_genesis"));
    assert!(!broken("of_concurrent_creations_one_succeeds"));
}

/// A line for each law, a column for each store.
fn table(columns: &[(&str, Vec<(&str, Outcome)>)]) -> String {
    let names: String = columns.iter().map(|(name, _)| format!("{name:>12}")).collect();
    let mut table = format!("{:<64}{names}\n", "law");
    for (i, law) in LAWS.iter().enumerate() {
        let row: String =
            columns.iter().map(|(_, outcomes)| format!("{:>12}", outcomes[i].1.to_string())).collect();
        table += &format!("{:<64}{row}\n", law.name.replace('_', " "));
    }
    table
}

fn memory() -> Open {
    Arc::new(|| {
        async { Subject { store: Arc::new(MemoryStore::new()), foreign: None, kept: Box::new(()) } }.boxed()
    })
}
