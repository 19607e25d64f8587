//! The doorbell: `LISTEN`, on a connection of its own.
//!
//! What it says is only that somebody has committed; the log says what. It is tried out when it is hung up, and now and
//! then: a pooler that hands each transaction another session takes `LISTEN` and never rings. Where it does not ring, the
//! log is looked at every second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use super::connect::{Dialler, Session};
use crate::retry::{Link, Pauses};
use crate::store::StoreError;

/// How often the log is looked at where nobody rings.
const POLL: Duration = Duration::from_secs(1);
/// How often the bell is tried out.
const TRIAL: Duration = Duration::from_secs(30);
/// How long a ring may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before it is hung up again.
const REHANG: Pauses = Pauses::between(Duration::from_millis(100), Duration::from_secs(5));

/// Rings when somebody may have committed.
#[derive(Debug, Default)]
pub(super) struct Bell {
    notify: Notify,
    is_hung: AtomicBool,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.notify.notify_one();
    }

    /// Waits for a ring, or for as long as one may wait where nobody rings.
    pub(super) async fn rung(&self) {
        let patience = if self.is_hung.load(Ordering::Relaxed) { Duration::MAX } else { POLL };
        // Either way it is time to look.
        let _ = timeout(patience, self.notify.notified()).await;
    }

    /// Keeps the bell hung up, until dropped.
    pub(super) async fn keep(self: Arc<Self>, dialler: Arc<Dialler>, others: Arc<Link<Session>>) {
        let mut pauses = REHANG;
        let mut is_told = false;
        loop {
            if let Err(why) = self.hang(&dialler, &others, &mut pauses).await
                && !std::mem::replace(&mut is_told, true)
            {
                tracing::warn!(%why, "the database does not ring when it changes: looking every second");
            }
            if self.is_hung.swap(false, Ordering::Relaxed) {
                is_told = false;
                // What was committed meanwhile has rung for nobody.
                self.ring();
            }
            sleep(pauses.next()).await;
        }
    }

    /// Listens until that ends, and says why.
    async fn hang(
        self: &Arc<Self>,
        dialler: &Dialler,
        others: &Link<Session>,
        pauses: &mut Pauses,
    ) -> Result<(), String> {
        let trial = Arc::new(Notify::new());
        let channel = format!("datastream_{:016x}", fastrand::u64(..));
        // Goes with the connection.
        let (living, mut ended) = oneshot::channel::<()>();
        let heard = {
            let (bell, trial, channel) = (self.clone(), trial.clone(), channel.clone());
            move |message| {
                let _living = &living;
                match message {
                    AsyncMessage::Notification(rung) if rung.channel() == channel => trial.notify_one(),
                    AsyncMessage::Notification(_) => bell.ring(),
                    _ => {}
                }
            }
        };
        let listener = dialler.connect(Box::new(heard)).await.map_err(|error| error.to_string())?;
        listen(&listener, &channel).await?;
        loop {
            try_out(others, &channel, &trial).await?;
            if !self.is_hung.swap(true, Ordering::Relaxed) {
                tracing::debug!("the database rings when it changes");
                pauses.reset();
                self.ring();
            }
            if timeout(TRIAL, &mut ended).await.is_ok() {
                return Err("the connection that listens has ended".to_owned());
            }
        }
    }
}

async fn listen(listener: &Client, channel: &str) -> Result<(), String> {
    let listening = async {
        listener.batch_execute(&format!("LISTEN datastream; LISTEN {channel}")).await?;
        let rings = "SELECT current_setting('max_prepared_transactions') = '0'";
        listener.query_typed_one(rings, &[]).await?.try_get(0)
    };
    match timeout(PATIENCE, listening).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("it allows two-phase commits, whose transactions must not notify".to_owned()),
        Ok(Err(error)) => Err(super::error::said(&error)),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// Rings from another connection, as others do, on a channel that nobody else hears.
async fn try_out(others: &Link<Session>, channel: &str, trial: &Notify) -> Result<(), String> {
    let ring = format!("NOTIFY {channel}");
    let rung: Result<(), StoreError> =
        others.run(PATIENCE, |client| async move { Ok(client.batch_execute(&ring).await?) }.boxed()).await;
    rung.map_err(|error| crate::error_chain(&error))?;
    let heard = timeout(PATIENCE, trial.notified()).await;
    heard.map_err(|_| "a ring was not heard; is there a pooler between?".to_owned())
}
