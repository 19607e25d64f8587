//! What is looked after while a table is served: that it is there, that our triggers are on it, and that it holds what
//! the log says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::LONG_ANSWER;
use super::commit;
use super::connect::{Dialler, Session};
use super::error::OpenError;
use super::install::{self, Served};
use super::table::Table;
use crate::retry::Link;
use crate::store::StoreError;

/// How often it is looked whether the triggers are there, at least.
const LOOK: Duration = Duration::from_secs(30);

/// The table that is served, as it was last seen.
pub(super) struct Upkeep {
    dialler: Arc<Dialler>,
    table: ArcSwap<Table>,
    /// The table is gone, or is another by now that cannot be served.
    is_unfit: AtomicBool,
}

impl Upkeep {
    pub(super) fn new(dialler: Arc<Dialler>, table: Table) -> Self {
        Self { dialler, table: ArcSwap::from_pointee(table), is_unfit: AtomicBool::new(false) }
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// An error while the table cannot be served. What was read last stays then.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.is_unfit.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the table cannot be served as it is now".into()));
        }
        Ok(())
    }

    /// Looks after it until dropped, the first time at once: what was written while no server ran may have passed the
    /// triggers.
    pub(super) async fn keep(self: Arc<Self>, link: Link<Session>) {
        let reconcile = self.dialler.address.reconcile;
        let (mut compare_at, mut is_told) = (Instant::now(), false);
        loop {
            let (upkeep, is_due) = (self.clone(), Instant::now() >= compare_at);
            let looked = link
                .run(LONG_ANSWER, |client| async move { upkeep.look(client, is_due).await }.boxed())
                .await;
            let was_told = std::mem::replace(&mut is_told, looked.is_err());
            match looked {
                Ok(()) if is_due => compare_at = Instant::now() + reconcile,
                Ok(()) => {}
                Err(error) if !was_told => {
                    tracing::warn!(error = %crate::error_chain(&error), "the table cannot be looked after now");
                }
                Err(_) => {}
            }
            sleep(reconcile.min(LOOK)).await;
        }
    }

    async fn look(&self, client: &mut Client, is_due: bool) -> Result<(), StoreError> {
        // A replica is looked after where it comes from.
        let is_replica: bool = client.query_typed_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)?;
        if is_replica {
            return Ok(());
        }
        let known = self.table();
        let was_followed = known.is_followed(client).await.unwrap_or(false);
        let served = install::install(client, &self.dialler.address, Some(&known)).await;
        let Some(table) = self.judge(served)? else { return Ok(()) };
        if !was_followed {
            tracing::warn!(table = table.name, "the triggers were missing, and are there again");
        }
        let is_owner = table.is_owner;
        let must_compare = is_due || !was_followed || table != *known || self.check().is_err();
        self.table.store(Arc::new(table));
        if is_owner && (must_compare || is_noted(client).await?) {
            commit::compare(client).await?;
        }
        self.is_unfit.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The table, if it can be followed. One that was taken out of the database is not added again.
    fn judge(&self, served: Result<Served, OpenError>) -> Result<Option<Table>, StoreError> {
        let why = match served {
            Ok(Served::Followed(table)) => return Ok(Some(table)),
            Ok(Served::Polled(_, missing)) => missing,
            Err(error @ (OpenError::Unfit { .. } | OpenError::Incomplete | OpenError::Rights { .. })) => {
                error.to_string()
            }
            Err(OpenError::NotAdopted { .. }) => {
                "it was taken out of the database; restart to add it again".to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        if !self.is_unfit.swap(true, Ordering::Relaxed) {
            tracing::error!(why, "the table cannot be followed; the last state stays");
        }
        Ok(None)
    }
}

/// Whether a truncation was committed since, which may have seen an earlier moment.
async fn is_noted(client: &Client) -> Result<bool, StoreError> {
    let noted = "SELECT EXISTS (SELECT FROM datastream.pending WHERE key IS NULL)";
    Ok(client.query_typed_one(noted, &[]).await?.try_get(0)?)
}
