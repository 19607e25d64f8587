//! Making a commit: decided on the newest state of the branch, written beside it, and there once the branch has moved to it.

mod import;
mod plan;

use std::time::{Duration, SystemTime};

use datastream::position::Position;
use tokio::time::Instant;

pub(super) use self::import::NOBODY;
use self::plan::{Plan, check_room, check_values, plan, unless_it_stands};
use super::branch::Branch;
use super::command::Failure;
use super::error::writing;
use super::object::Oid;
use super::origin::Pushed;
use super::request;
use crate::operation::{Commit, Effect, Refused};
use crate::retry::Pauses;
use crate::store::{CommitError, StoreError};

/// How long a commit is tried before it gives way to those who are always quicker.
const LONGEST: Duration = Duration::from_secs(60);
/// How long it waits before the next attempt: not much longer each time, or who lost once would lose ever after.
const PAUSES: Pauses = Pauses::between(Duration::from_millis(10), Duration::from_millis(80));

impl Branch {
    /// Makes the commit, in the turn of who has `writing`. Not to be dropped half-way.
    pub(super) async fn commit(&self, commit: &Commit) -> Result<Position, CommitError> {
        if self.unheard_since().is_some() {
            // Whoever waits for the next turn is told sooner than by a push.
            self.look().await.map_err(StoreError::from)?;
        }
        let mut pauses = PAUSES;
        // The revision that stood when this looked first. Until then what is known may be old, and only a commit that the
        // branch takes all the same is one.
        let mut first = None;
        let began = Instant::now();
        while began.elapsed() < LONGEST {
            match self.decide(commit, first) {
                Ok(Decided::Write(plan)) => {
                    let new = self.write(&plan, commit).await.map_err(writing)?;
                    match self.push(new, plan.base).await? {
                        Pushed::Done => return self.arrived(new).await,
                        Pushed::Refused(why) => return Err(StoreError::ReadOnly(why.into()).into()),
                        Pushed::Lost => {}
                    }
                }
                Ok(Decided::Stands(position)) if first.is_some() => return Ok(position),
                Err(error) if first.is_some() => return Err(error),
                _ => {}
            }
            if first.is_some() {
                tokio::time::sleep(pauses.next_jittered()).await;
            }
            self.look().await.map_err(StoreError::from)?;
            first.get_or_insert_with(|| self.known().chain.revision());
        }
        Err(Refused::Conflict { revision: self.known().chain.revision() }.into())
    }

    /// Moves the branch. Where it is not known whether that was done, finds out.
    async fn push(&self, new: Oid, base: Option<Oid>) -> Result<Pushed, CommitError> {
        let failure = match self.origin.push(new, base).await {
            Ok(pushed) => return Ok(pushed),
            Err(failure) => failure,
        };
        if self.origin.remote.is_none() {
            return Err(writing(failure).into());
        }
        self.look()
            .await
            .map_err(|_| writing(Failure::Said { command: "push".to_owned(), said: failure.to_string() }))?;
        let (is_there, head) = {
            let known = self.known();
            (known.chain.revision_of(new).is_some(), known.chain.head())
        };
        match is_there {
            true => Ok(Pushed::Done),
            // It may still arrive.
            false if head == base => Err(writing(failure).into()),
            false => Ok(Pushed::Lost),
        }
    }

    /// Where the commit stands, once it is known.
    async fn arrived(&self, new: Oid) -> Result<Position, CommitError> {
        self.take_in(new).await.map_err(StoreError::from)?;
        let known = self.known();
        let revision = known.chain.revision_of(new);
        let gone = || StoreError::Unavailable("the branch was set to another history meanwhile".into());
        Ok(known.chain.position(revision.ok_or_else(gone)?))
    }

    /// What is to be done, by what is known now. `first` is the revision that stood when the call looked first: what came
    /// since to the same keys is another's.
    fn decide(&self, commit: &Commit, first: Option<u64>) -> Result<Decided, CommitError> {
        let mut known = self.known();
        if let Some(request) = &commit.request
            && let Some(revision) = known.requests.applied(request)?
        {
            return Ok(Decided::Stands(known.chain.position(revision)));
        }
        let mut changes = Vec::new();
        for operation in &commit.operations {
            let refused = |why| CommitError::from(why).of(&operation.key);
            let held = known.held(&operation.key);
            let effect = operation.decide(held.as_ref()).map_err(refused)?;
            let effect = unless_it_stands(&known, &operation.key, held, effect);
            let revision = known.revision_of(&operation.key);
            if effect != Effect::Stands && first.is_some_and(|first| revision > first) {
                return Err(refused(Refused::Conflict { revision }));
            }
            changes.push((operation, effect));
        }
        let is_seed = commit.request.as_ref().is_some_and(|request| *request == request::seed());
        if changes.iter().all(|(_, effect)| *effect == Effect::Stands) && !is_seed {
            let position = known.standing(&commit.operations);
            if let Some(request) =
                commit.request.as_ref().filter(|_| first.is_some() && !commit.operations.is_empty())
            {
                known.requests.remember(request.clone(), position.revision, SystemTime::now());
            }
            return Ok(Decided::Stands(position));
        }
        check_values(&changes)?;
        check_room(&known, &changes)?;
        plan(&known, changes).map(Decided::Write)
    }
}

enum Decided {
    /// Nothing is to be done; where it stands.
    Stands(Position),
    Write(Plan),
}
