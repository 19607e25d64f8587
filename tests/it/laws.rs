//! Every store keeps the laws that it claims; the output shows which, as a table.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datastream_server::store::{Abilities, Store};
use datastream_server::stores::git::{Address, GitStore};
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::stores::{MemoryStore, directory, s3};
use datastream_server::testing::conformance::{
    self, ForeignWrite, ForeignWriter, LAWS, Open, Outcome, Subject,
};
use futures_util::FutureExt as _;
use rusqlite::{Connection, TransactionBehavior};

use crate::git::{Person, Repository};
use crate::postgres::Cluster;
use crate::store_postgres;

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
        ("sqlite", sqlite(), all, true),
        ("directory", directory(), Abilities { batches: false, nesting: false, ..all }, true),
        ("s3", s3(), Abilities { batches: false, ..all }, true),
        ("postgres", postgres(&cluster), all, true),
        ("git", git(Repository::local), kept, true),
        ("git remote", git(|repository| repository.remote("mirror.git")), kept, true),
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

fn sqlite() -> Open {
    Arc::new(|| {
        async {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("settings.db");
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path).expect("a new file"));
            Subject { store, foreign: Some(Box::new(Stranger(path))), kept: Box::new(folder) }
        }
        .boxed()
    })
}

fn directory() -> Open {
    Arc::new(|| {
        async {
            let folder = tempfile::tempdir().expect("a folder");
            let store =
                directory::open(folder.path(), directory::Options::default()).await.expect("it opens");
            let editor = Editor(folder.path().to_owned());
            Subject { store, foreign: Some(Box::new(editor)), kept: Box::new(folder) }
        }
        .boxed()
    })
}

fn s3() -> Open {
    Arc::new(|| {
        async {
            let server = crate::s3::Server::start().await;
            let store = s3::open(&server.store("")).await.expect("an empty bucket");
            let foreign = Some(Box::new(Uploader(server.tool())) as Box<dyn ForeignWriter>);
            Subject { store, foreign, kept: Box::new(server) }
        }
        .boxed()
    })
}

fn postgres(cluster: &Cluster) -> Open {
    let cluster = cluster.clone();
    Arc::new(move || {
        let cluster = cluster.clone();
        async move {
            let database = cluster.database();
            let store = store_postgres::on(&database).await;
            let foreign = Some(Box::new(Other(database.connect().await.into())) as Box<dyn ForeignWriter>);
            Subject { store, foreign, kept: Box::new(database) }
        }
        .boxed()
    })
}

fn git(store: fn(&Repository) -> String) -> Open {
    Arc::new(move || {
        async move {
            let repository = Repository::empty();
            let address = Address::parse(&store(&repository)).expect("an address");
            let store: Arc<dyn Store> =
                Arc::new(GitStore::open(&address).await.expect("an empty repository"));
            let foreign = Some(Box::new(Pusher(Arc::new(repository.person()))) as Box<dyn ForeignWriter>);
            Subject { store, foreign, kept: Box::new(repository) }
        }
        .boxed()
    })
}

/// A tool that writes objects.
struct Uploader(crate::s3::Tool);

#[async_trait]
impl ForeignWriter for Uploader {
    async fn write(&self, writes: &[ForeignWrite]) {
        for ForeignWrite { key, value } in writes {
            match value {
                Some((value_type, text)) => self.0.put(key, Some(value_type), text).await,
                None => self.0.delete(key).await,
            }
        }
    }
}

/// Somebody with a clone.
struct Pusher(Arc<Person>);

#[async_trait]
impl ForeignWriter for Pusher {
    async fn write(&self, transaction: &[ForeignWrite]) {
        let (person, writes) = (self.0.clone(), transaction.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let files =
                writes.iter().map(|write| (&*write.key, write.value.as_ref().map(|(_, text)| &**text)));
            person.change(&files.collect::<Vec<_>>());
        });
        written.await.expect("it is pushed");
    }
}

/// A program that writes files, each for itself.
struct Editor(PathBuf);

#[async_trait]
impl ForeignWriter for Editor {
    async fn write(&self, writes: &[ForeignWrite]) {
        for ForeignWrite { key, value } in writes {
            let path = self.0.join(key);
            match value {
                Some((_, text)) => std::fs::write(path, text).expect("it can be written"),
                None if path.exists() => std::fs::remove_file(path).expect("it can be removed"),
                None => {}
            }
        }
    }
}

/// A program with a connection of its own.
struct Other(tokio::sync::Mutex<tokio_postgres::Client>);

#[async_trait]
impl ForeignWriter for Other {
    async fn write(&self, transaction: &[ForeignWrite]) {
        let mut client = self.0.lock().await;
        let writing = client.transaction().await.expect("a transaction");
        for ForeignWrite { key, value } in transaction {
            let written = match value {
                Some((value_type, text)) => {
                    let put = "INSERT INTO data (key, value, value_type) VALUES ($1, $2, $3)
                      ON CONFLICT (key) DO UPDATE SET value = excluded.value, value_type = excluded.value_type";
                    writing.execute(put, &[key, &text.as_bytes(), value_type]).await
                }
                None => writing.execute("DELETE FROM data WHERE key = $1", &[key]).await,
            };
            written.expect("the table can be written");
        }
        writing.commit().await.expect("it is committed");
    }
}

/// A program that opens the file for each of its transactions.
struct Stranger(PathBuf);

#[async_trait]
impl ForeignWriter for Stranger {
    async fn write(&self, transaction: &[ForeignWrite]) {
        let (path, writes) = (self.0.clone(), transaction.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(std::time::Duration::from_secs(10))?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for ForeignWrite { key, value } in writes {
                match value {
                    Some((value_type, text)) => transaction.execute(
                        "INSERT INTO data (key, value, value_type) VALUES (?1, ?2, ?3)
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value, value_type = excluded.value_type",
                        [key, text, value_type],
                    )?,
                    None => transaction.execute("DELETE FROM data WHERE key = ?1", [key])?,
                };
            }
            transaction.commit()
        });
        written.await.expect("it does not panic").expect("the file can be written");
    }
}
