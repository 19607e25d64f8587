//! The store `postgres`: settings in a table of a PostgreSQL database, open to every other program that writes it, and
//! served by as many servers as there are.
//!
//! The table is the user's, of the four columns that the original has. Triggers on it keep a log, which numbers every
//! transaction that changed something, whoever made it, in the order of commits, and a list of tokens, drawn in that
//! transaction (`postgres/schema.sql`). All keys that a transaction changed share its revision. Who may not add triggers
//! is served all the same, for reading: the table is then read again and again.
//!
//! The doorbell is LISTEN/NOTIFY; the log is the truth. A connection that was lost is made anew when it is next needed.

mod address;
mod attempt;
mod bell;
mod commit;
mod connect;
mod detach;
mod environment;
mod error;
mod forget;
mod history;
mod install;
mod known;
mod meta;
mod options;
mod passfile;
mod past;
mod poll;
mod request;
mod table;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datastream::position::Position;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_postgres::Client;

pub use self::address::Address;
use self::attempt::{Attempt, contended};
use self::bell::Bell;
use self::commit::Patience;
use self::connect::{Dialler, Session};
pub use self::error::OpenError;
use self::forget::Forgotten;
use self::history::Asked;
use self::install::Served;
use self::table::Table;
use self::upkeep::Upkeep;
use super::sweep::Sweep;
use crate::retry::{Link, Pauses};
use crate::store::{
    Commit, CommitError, HistoryPage, HistoryQuery, Retention, Since, Snapshot, Store, StoreError, Usage,
};

/// How long the question may take whether there is something new, and an attempt to make a commit.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a reading of everything may take, of the past, or a step of forgetting.
const LONG_ANSWER: Duration = Duration::from_secs(120);
/// For how long a commit is tried again that others get in the way of.
const CONTENTION: Duration = Duration::from_secs(5);
/// How long it waits each time.
const GIVE_WAY: Pauses = Pauses::between(Duration::from_millis(4), Duration::from_millis(200));

/// Opens the database at `address`: it is set up if it was not, and read only if this user may not set it up, which is
/// then told in the log.
///
/// # Errors
///
/// [`OpenError`] says in one line what to do.
pub async fn open(address: Address) -> Result<Arc<dyn Store>, OpenError> {
    let dialler = Arc::new(Dialler::new(address)?);
    let mut client = dialler.ask().await?;
    match install::install(&mut client, &dialler.address, None).await? {
        Served::Followed(table) => Ok(Arc::new(PostgresStore::start(dialler, table))),
        Served::Polled(table, missing) => poll::open(dialler, table, missing).await,
    }
}

/// Takes all that this store added out of the database at `address`, and leaves the user's table as it is. The history is
/// gone then. Returns the name of the table.
///
/// # Errors
///
/// [`OpenError`] says in one line what to do, [`OpenError::NotAdopted`] where there is nothing of ours. Then nothing is
/// changed.
pub async fn detach(address: Address) -> Result<String, OpenError> {
    let dialler = Dialler::new(address)?;
    let mut session = dialler.ask().await?;
    detach::remove(&mut session, &dialler.address).await
}

/// A store in a PostgreSQL database; made by [`open`].
///
/// A commit is durable when it returns, as far as the database's `synchronous_commit` says so. What another program
/// commits rings the bell within some milliseconds. A commit that needs a row which somebody else holds gives way and is
/// tried again for five seconds, so that no transaction of others is ever ended for a push.
struct PostgresStore {
    upkeep: Arc<Upkeep>,
    bell: Arc<Bell>,
    reader: Arc<Link<Session>>,
    writer: Link<Session>,
    /// For commits that others have got in the way of: these wait here, and hold up nobody else's.
    patient: Link<Session>,
    past: Link<Session>,
    sweep: Sweep,
    is_replica: AtomicBool,
    /// The tasks end with the store.
    _tasks: JoinSet<()>,
}

impl PostgresStore {
    fn start(dialler: Arc<Dialler>, table: Table) -> Self {
        let link = || Link::new(dial(dialler.clone()));
        let (reader, bell) = (Arc::new(link()), Arc::new(Bell::default()));
        let upkeep = Arc::new(Upkeep::new(dialler.clone(), table));
        let mut tasks = JoinSet::new();
        tasks.spawn(bell.clone().keep(dialler.clone(), reader.clone()));
        tasks.spawn(upkeep.clone().keep(link()));
        Self {
            upkeep,
            bell,
            reader,
            writer: link(),
            patient: link(),
            past: link(),
            sweep: Sweep::default(),
            is_replica: AtomicBool::new(false),
            _tasks: tasks,
        }
    }

    /// Makes a commit of what `attempt` does, as often as others get in its way.
    async fn insist<T>(
        &self,
        attempt: impl for<'c> Fn(&'c mut Client, Arc<Table>, Patience) -> BoxFuture<'c, Result<T, Attempt>>,
    ) -> Result<T, CommitError> {
        let (mut began, mut pauses, mut bypassed) = (Instant::now(), GIVE_WAY, 0);
        let (mut link, mut patience) = (&self.writer, Patience::Hurried);
        loop {
            let table = self.upkeep.table();
            match link.run(ANSWER, |client| attempt(client, table, patience)).await {
                Ok(made) => {
                    self.bell.ring();
                    return Ok(made);
                }
                Err(Attempt::Failed(error)) => return Err(error),
                Err(_) if began.elapsed() >= CONTENTION => return Err(contended(CONTENTION).into()),
                Err(Attempt::Bypassed) => {
                    bypassed += 1;
                    match bypassed {
                        // Somebody may have made the key between two looks; else it will be the same again.
                        1 => {}
                        2 => {
                            self.writer.run(LONG_ANSWER, |client| commit::compare(client).boxed()).await?;
                            began = Instant::now();
                        }
                        _ => {
                            let cause = "the table holds what the triggers that keep the log have not seen";
                            return Err(StoreError::Unavailable(cause.into()).into());
                        }
                    }
                }
                Err(Attempt::Contended) => {
                    (link, patience) = (&self.patient, Patience::Patient);
                    tokio::time::sleep(pauses.next_jittered()).await;
                }
            }
        }
    }
}

/// How a link makes its connections.
fn dial(
    dialler: Arc<Dialler>,
) -> Box<dyn Fn() -> BoxFuture<'static, Result<Session, StoreError>> + Send + Sync> {
    Box::new(move || {
        let dialler = dialler.clone();
        async move { Ok(dialler.ask().await?) }.boxed()
    })
}

#[async_trait]
impl Store for PostgresStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        let (snapshot, is_replica) =
            self.reader.run(LONG_ANSWER, |client| history::load(client).boxed()).await?;
        self.is_replica.store(is_replica, Ordering::Relaxed);
        Ok(snapshot)
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.upkeep.check()?;
        let (asked, after) = (after.clone(), after.clone());
        let (asked, is_replica) = self
            .reader
            .run(ANSWER, |client| async move { history::ask(client, &asked).await }.boxed())
            .await?;
        self.is_replica.store(is_replica, Ordering::Relaxed);
        match asked {
            Asked::Told(since) => Ok(since),
            Asked::Behind => {
                Err(StoreError::Unavailable("this replica is behind what was read before".into()))
            }
            Asked::More => {
                let more = self
                    .reader
                    .run(LONG_ANSWER, |client| async move { history::gone_on(client, &after).await }.boxed())
                    .await?;
                more.map(Since::Changes).ok_or_else(|| StoreError::Unavailable("it is another by now".into()))
            }
        }
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let commit = Arc::new(commit);
        self.insist(move |client, table, patience| {
            let commit = commit.clone();
            async move { commit::commit(client, &table, &commit, patience).await }.boxed()
        })
        .await
    }

    async fn seed(&self, seed: Commit) -> Result<bool, CommitError> {
        let seed = Arc::new(seed);
        self.insist(move |client, table, patience| {
            let seed = seed.clone();
            async move { commit::seed(client, &table, &seed, patience).await }.boxed()
        })
        .await
    }

    async fn history(&self, query: HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        let page = self
            .past
            .run(LONG_ANSWER, |client| async move { past::page(client, &query).await }.boxed())
            .await?;
        Ok(Some(page))
    }

    async fn usage(&self) -> Result<Option<Usage>, StoreError> {
        self.past.run(LONG_ANSWER, |client| past::usage(client).boxed()).await.map(Some)
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }

    /// In steps, between which others go on.
    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        let mut from = self.sweep.is_due(retention).then(|| (0, "".into()));
        loop {
            match self.past.run(LONG_ANSWER, |client| forget::step(client, retention, from).boxed()).await? {
                Forgotten { next: Some(next), .. } => from = next,
                Forgotten { compacted_to, next: None } => return Ok(compacted_to),
            }
        }
    }

    async fn rung(&self) {
        self.bell.rung().await;
    }

    fn authoritative(&self) -> bool {
        !self.is_replica.load(Ordering::Relaxed)
    }
}
