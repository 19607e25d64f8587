//! The store of the model, some way off: what it is asked takes time, and an answer may be lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use datastream::position::Position;
use datastream_server::store::{Commit, CommitError, Retention, Since, Snapshot, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::counts::Happening;
use super::stage::Stage;
use crate::model::store::{ModelStore, Role};

pub(super) struct DistantStore {
    store: ModelStore,
    stage: Arc<Stage>,
    bell: Arc<Notify>,
}

impl DistantStore {
    pub(super) fn new(stage: &Arc<Stage>, role: Role) -> Self {
        let store = ModelStore { world: stage.world.clone(), role };
        Self { store, stage: stage.clone(), bell: stage.bell() }
    }

    async fn travel(&self) {
        let millis = fastrand::u64(..=self.stage.slowness.load(Ordering::Relaxed));
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
    }

    fn is_answer_lost(&self) -> bool {
        let of = self.stage.forgetfulness.load(Ordering::Relaxed);
        of > 0 && fastrand::u64(..of) == 0
    }
}

#[async_trait]
impl Store for DistantStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.travel().await;
        self.store.load().await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.travel().await;
        self.store.changes(after).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        self.travel().await;
        let made = self.store.commit(commit).await;
        self.stage
            .note(|| format!("the store commits {:?}", made.as_ref().map(|position| position.revision)));
        let made = made?;
        self.stage.ring();
        self.travel().await;
        if self.is_answer_lost() {
            self.stage.count(Happening::AnswerLost);
            return Err(StoreError::Unavailable("the answer was lost".into()).into());
        }
        Ok(made)
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.store.seed(commit).await
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.store.compact(retention).await
    }

    async fn rung(&self) {
        self.bell.notified().await;
    }

    fn authoritative(&self) -> bool {
        self.store.authoritative()
    }
}
