//! One commit: of one key, which is brought up to date, decided upon, and written on the condition that it still is so.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use tokio::time::{Instant, sleep};

use super::{Denied, Place, Reading, Shared, Versions};
use crate::retry::Pauses;
use crate::store::{Action, Commit, CommitError, Effect, Operation, Refused, RequestId, StoreError, Stored};

/// How many times a commit that lost its race is decided anew.
const ATTEMPTS: usize = 8;
/// Between two attempts.
const PAUSES: Pauses = Pauses::between(Duration::from_millis(10), Duration::from_millis(640));
/// How long a place that is busy is asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests that were given up are remembered: their authors ask again within a minute, or not at all.
const DOUBTS: usize = 1000;

/// What a request may have done that was given up.
#[derive(Clone)]
pub(super) struct Doubt {
    digest: u64,
    key: Arc<str>,
    /// The revision of the head when it was given up.
    after: u64,
    /// What its key was to hold; `None` for a deletion.
    value: Option<Stored>,
}

impl<P: Place> Shared<P> {
    /// Makes the commit, for who has the line.
    pub(super) async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        let operation = match &commit.operations[..] {
            [] => return self.record(&commit).await,
            [operation] => operation,
            _ => return Err(CommitError::SeveralKeys),
        };
        if let Some(position) = self.log.applied(commit.request.as_ref())? {
            return Ok(position);
        }
        if self.place.reserves(&operation.key) {
            return Err(CommitError::from(Refused::Rules).of(&operation.key));
        }
        let _turn = self.place.turn().await?;
        self.keep().await?;
        if let Some(position) = self.done_since(&commit).await? {
            return Ok(position);
        }
        self.apply(operation, commit.request.as_ref()).await?;
        self.record(&commit).await
    }

    /// Has the place keep what it may not have kept: who asks for that again finds it there, and would take it for durable.
    async fn keep(&self) -> Result<(), StoreError> {
        let unkept = super::lock(&self.unkept).clone();
        if let Some(key) = unkept {
            self.place.keep(&key).await?;
            *super::lock(&self.unkept) = None;
        }
        Ok(())
    }

    /// Where this commit ended, if an attempt that was given up has made it after all.
    async fn done_since(&self, commit: &Commit) -> Result<Option<Position>, StoreError> {
        let Some(request) = &commit.request else { return Ok(None) };
        let doubt = super::lock(&self.doubts).get(&request.id).cloned();
        let Some(doubt) = doubt.filter(|doubt| doubt.digest == request.digest) else { return Ok(None) };
        self.update(&doubt.key).await?;
        Ok(self.log.find(request, &doubt.key, doubt.after, doubt.value.as_ref()))
    }

    /// Notes what a request that is given up may have done, or may do yet.
    fn doubt(&self, request: &RequestId, key: &Arc<str>, effect: &Effect) {
        let value = match effect {
            Effect::Write(stored) => Some(stored.clone()),
            Effect::Remove | Effect::Stands => None,
        };
        let doubt = Doubt { digest: request.digest, key: key.clone(), after: self.log.head(), value };
        let mut doubts = super::lock(&self.doubts);
        if doubts.len() >= DOUBTS {
            doubts.clear();
        }
        doubts.insert(request.id.clone(), doubt);
    }

    /// Writes those puts whose key is not there, for who has the line; the mark comes last, so that a seed which was cut short is made whole.
    pub(super) async fn seed(&self, seed: Commit) -> Result<bool, CommitError> {
        if self.place.is_seeded().await? {
            return Ok(false);
        }
        let puts =
            seed.operations.into_iter().filter(|operation| matches!(operation.action, Action::Put { .. }));
        for operation in puts {
            let commit = Commit {
                operations: vec![operation.expecting(0)],
                author: seed.author.clone(),
                message: seed.message.clone(),
                request: None,
            };
            match self.commit(commit).await {
                Ok(_) | Err(CommitError::Refused { why: Refused::Exists { .. }, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.place.mark_seeded().await?;
        Ok(true)
    }

    /// Has the place hold what `operation` asks for. The log is as it was before.
    async fn apply(&self, operation: &Operation, request: Option<&RequestId>) -> Result<(), CommitError> {
        let key = &operation.key;
        let (mut pauses, began, mut busy) = (PAUSES, Instant::now(), None);
        for _ in 0..ATTEMPTS {
            self.update(key).await?;
            let effect = self.log.decide(operation)?;
            match self.change(key, &effect).await {
                Ok(()) => return Ok(()),
                Err(Denied::Lost) => busy = None,
                Err(Denied::Busy(cause)) => {
                    busy = Some(cause);
                    if began.elapsed() > PATIENCE {
                        break;
                    }
                }
                Err(Denied::Unknown(cause)) if self.stands(key, &effect).await => {
                    tracing::debug!(%cause, "a write that was not answered was done");
                    return Ok(());
                }
                Err(Denied::Unknown(cause)) => return Err(self.given_up(request, key, &effect, cause)),
                Err(Denied::Unkept(cause)) => {
                    *super::lock(&self.unkept) = Some(key.clone());
                    return Err(self.given_up(request, key, &effect, cause));
                }
                Err(Denied::Refused(why)) => return Err(CommitError::from(why).of(key)),
                Err(Denied::Store(error)) => return Err(error.into()),
            }
            sleep(pauses.next_jittered()).await;
        }
        // Nobody else wrote, so there is nothing that the caller should read first.
        if let Some(cause) = busy {
            return Err(StoreError::Unavailable(cause).into());
        }
        let revision = self.log.revision_of(key);
        Err(CommitError::from(Refused::Conflict { revision }).of(key))
    }

    /// For a caller who does not get to know whether it was done, and may ask again.
    fn given_up(
        &self,
        request: Option<&RequestId>,
        key: &Arc<str>,
        effect: &Effect,
        cause: Box<dyn StdError + Send + Sync>,
    ) -> CommitError {
        request.inspect(|request| self.doubt(request, key, effect));
        StoreError::Unavailable(cause).into()
    }

    /// Brings the log up to date with what the place holds of `key`: a change of others comes before ours.
    async fn update(&self, key: &Arc<str>) -> Result<(), StoreError> {
        let reading = self.place.read(key).await?;
        if let Reading::Unreadable(why) = reading {
            return Err(StoreError::Unavailable(why.into()));
        }
        let changed = {
            let mut known = self.known();
            known.touched.insert(key.clone());
            // What was not listed may be written again without another version: the next look reads it.
            known.take(key.clone(), None, reading)
        };
        self.log.absorb(changed.into_iter().collect());
        Ok(())
    }

    async fn change(&self, key: &Arc<str>, effect: &Effect) -> Result<(), Denied> {
        let over = self.known().objects.get(key).map(|versions| versions.held.clone());
        match (effect, over) {
            (Effect::Stands, _) | (Effect::Remove, None) => {}
            (Effect::Write(stored), over) => {
                let written = self.place.write(key, stored, over.as_ref()).await;
                self.known().touched.insert(key.clone());
                let version = written?;
                // The next look reads it: somebody may have written in the moment before this version was taken.
                let versions = Versions { listed: None, held: version };
                self.known().objects.insert(key.clone(), versions);
            }
            (Effect::Remove, Some(over)) => {
                let removed = self.place.remove(key, &over).await;
                self.known().touched.insert(key.clone());
                removed?;
                self.known().objects.remove(key);
            }
        }
        Ok(())
    }

    /// Whether the place holds what was to be written, after all.
    async fn stands(&self, key: &Arc<str>, effect: &Effect) -> bool {
        let reading = match self.place.read(key).await {
            Ok(reading) => reading,
            Err(_) => return false,
        };
        let mut known = self.known();
        match (effect, reading) {
            (Effect::Remove, Reading::Absent) => {
                known.objects.remove(key);
                true
            }
            (Effect::Write(stored), Reading::There(object)) if object.stored.as_ref() == Some(stored) => {
                known.objects.insert(key.clone(), Versions { listed: None, held: object.version });
                true
            }
            _ => false,
        }
    }

    /// Notes in the log what was done; it decides as it did before.
    async fn record(&self, commit: &Commit) -> Result<Position, CommitError> {
        crate::store::Store::commit(&self.log, commit.clone()).await
    }
}
