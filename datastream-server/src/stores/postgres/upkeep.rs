//! What is looked after while a table is served: that it is there, that our triggers are on it, and that it holds what
//! the log says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::commit;
use super::connect::Dialler;
use super::error::OpenError;
use super::install::{self, Served};
use super::table::Table;
use crate::retry::Link;
use crate::store::StoreError;

/// How often it is looked whether the triggers are there, at least.
const LOOK: Duration = Duration::from_secs(30);
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(600);

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

    /// Looks after it until dropped, the first time at once: what was written while no server ran may have passed the triggers.
    pub(super) async fn keep(self: Arc<Self>, link: Link<Client>) {
        let reconcile = self.dialler.address.reconcile;
        let mut compare_at = Instant::now();
        loop {
            let (upkeep, is_due) = (self.clone(), Instant::now() >= compare_at);
            let looked =
                link.run(LIMIT, |client| async move { upkeep.look(client, is_due).await }.boxed()).await;
            // What fails here fails for who reads, too, and is told there.
            if looked.is_ok() && is_due {
                compare_at = Instant::now() + reconcile;
            }
            sleep(reconcile.min(LOOK)).await;
        }
    }

    async fn look(&self, client: &mut Client, compare: bool) -> Result<(), StoreError> {
        // A replica is looked after where it comes from.
        let is_replica: bool = client.query_typed_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)?;
        if is_replica {
            return Ok(());
        }
        let is_fit = !self.is_unfit.load(Ordering::Relaxed);
        if !is_fit || !self.table().is_followed(client).await? {
            self.repair(client).await
        } else if compare && self.table().is_owner {
            commit::compare(client).await?;
            Ok(())
        } else {
            Ok(())
        }
    }

    /// A table that was dropped and made again, or restored, has lost the triggers.
    async fn repair(&self, client: &mut Client) -> Result<(), StoreError> {
        match install::install(client, &self.dialler.address).await {
            Ok(Served::Followed(table)) => {
                tracing::warn!(table = table.name, "the triggers were missing, and are there again");
                self.table.store(Arc::new(table));
                self.is_unfit.store(false, Ordering::Relaxed);
                Ok(())
            }
            Ok(Served::Polled(_, missing)) => {
                self.suspend(&missing);
                Err(StoreError::Unavailable(missing.into()))
            }
            Err(error) => {
                if matches!(error, OpenError::Unfit { .. } | OpenError::Incomplete | OpenError::Rights { .. })
                {
                    self.suspend(&error.to_string());
                }
                Err(error.into())
            }
        }
    }

    fn suspend(&self, why: &str) {
        if !self.is_unfit.swap(true, Ordering::Relaxed) {
            tracing::error!(why, "the table cannot be followed; the last state stays");
        }
    }
}
