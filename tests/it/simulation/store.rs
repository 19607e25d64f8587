//! The store of the model, some way off: what it is asked takes time, and an answer may be lost. Of its own commits it
//! tells half.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use datastream::position::Position;
use datastream_server::store::{Commit, CommitError, News, Retention, Since, Snapshot, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::counts::Happening;
use super::stage::Stage;
use crate::model::store::{ModelStore, Role};

pub(super) struct DistantStore {
    store: ModelStore,
    stage: Arc<Stage>,
    bell: Arc<Notify>,
    told: Mutex<Told>,
}

/// What the bell is said to ring for.
#[derive(Default)]
struct Told {
    news: Option<News>,
    /// How often it had rung when somebody last heard what for.
    heard: u64,
}

impl DistantStore {
    pub(super) fn new(stage: &Arc<Stage>, role: Role) -> Self {
        let store = ModelStore { world: stage.world.clone(), role };
        Self { store, stage: stage.clone(), bell: stage.bell(), told: Mutex::default() }
    }

    /// Where the store stands, if it can be asked.
    async fn position(&self) -> Option<Position> {
        self.store.load().await.ok().map(|snapshot| snapshot.position)
    }

    /// Keeps what came after a position. Nothing comes between this and the commit: neither of them waits.
    async fn tell(&self, after: Option<Position>) {
        let Some(after) = after.filter(|_| fastrand::bool()) else { return };
        if let Ok(Since::Changes(batch)) = self.store.changes(&after).await {
            self.told().news = Some(News { after, batch });
        }
    }

    async fn travel(&self) {
        let millis = fastrand::u64(..=self.stage.slowness.load(Ordering::Relaxed));
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
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
        let before = self.position().await;
        let made = self.store.commit(commit).await;
        let moved = before.filter(|before| made.as_ref().is_ok_and(|made| made.revision > before.revision));
        self.tell(moved).await;
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

    /// Of one ring alone: of two, the other was for something else.
    fn news(&self) -> Option<News> {
        let (rings, mut told) = (self.stage.rings.load(Ordering::Relaxed), self.told());
        let is_one = rings == std::mem::replace(&mut told.heard, rings) + 1;
        let news = told.news.take().filter(|_| is_one);
        news.inspect(|_| self.stage.count(Happening::Told))
    }

    fn authoritative(&self) -> bool {
        self.store.authoritative()
    }
}
