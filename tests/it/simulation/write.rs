//! A write of a client, and what became of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datastream_client::{CallError, Client, Seen, Snapshot, Written};
use fastrand::Rng;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::counts::Happening;
use super::stage::Stage;
use crate::model::oracle::{Key, Text};
use crate::model::store::World;

type Outcome = Arc<Mutex<Option<Result<Written, CallError>>>>;

pub(super) struct Write {
    changes: Vec<(Key, Option<Text>)>,
    /// The revisions at which keys were to be.
    expected: Vec<(Key, u64)>,
    outcome: Outcome,
    /// `None` once it is over.
    task: Option<JoinHandle<()>>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is in every later state.
    Made,
    /// It is in none.
    NotMade,
    /// It is there whole, or not at all.
    Unknown,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text: &Text| text.0.chars().take(24).collect::<String>();
        let changes = self.changes.iter().map(|(key, text)| (key, text.as_ref().map(cut)));
        f.debug_map().entries(changes).finish()?;
        write!(f, " at {:?}", self.expected)
    }
}

impl Write {
    /// Begins one: a commit, sometimes with conditions, or a `set` if it is one number.
    pub(super) fn begin(
        rng: &mut Rng,
        client: &Client,
        runtime: &Handle,
        changes: Vec<(Key, Option<Text>)>,
    ) -> Self {
        let outcome = Outcome::default();
        let (done, client) = (outcome.clone(), client.clone());
        let mut expected = Vec::new();
        let task = match &changes[..] {
            [(key, Some((value, "int")))] if rng.bool() => {
                let (key, value): (_, i64) = (*key, value.parse().expect("it is a number"));
                runtime.spawn(async move { end(&done, client.set(key, value).await) })
            }
            _ => {
                let mut commit = client.commit();
                for (key, text) in &changes {
                    commit = match text {
                        Some((value, value_type)) => {
                            commit.put_text(key, value_type, value.clone()).retype(key)
                        }
                        None => commit.delete(key),
                    };
                }
                let shown = client.snapshot();
                if let Some((key, _)) = changes.iter().find(|(key, _)| shown.covers(key) && rng.bool()) {
                    let revision = shown.held(key).map_or(0, |held| held.revision);
                    expected.push((*key, revision));
                    commit = commit.expect_revision(key, revision);
                }
                runtime.spawn(async move { end(&done, commit.send().await) })
            }
        };
        Self { changes, expected, outcome, task: Some(task), verdict: Verdict::Unknown }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.task.is_some()
    }

    /// Its application is gone.
    pub(super) fn abandon(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Law 10, when the answer comes: a write that is acknowledged is where it says, and one that was refused is not.
    pub(super) fn judge(&mut self, stage: &Stage, shown: &Snapshot) {
        if self.task.is_none() {
            return;
        }
        let Some(outcome) = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        self.task = None;
        stage.note(|| format!("{self:?}: {outcome:?}"));
        let world = stage.world();
        self.verdict = match outcome {
            Ok(written) => {
                let position = written.position.as_ref().expect("our server says where a write stands");
                if !position.token.is_empty() {
                    let made = world.oracle.find(position).expect("what is acknowledged was committed");
                    self.is_at(&world, made);
                    if written.seen == Seen::Applied {
                        is_shown(&world, made, shown);
                    }
                }
                let is_shown = written.seen == Seen::NotYet;
                stage.count(if is_shown { Happening::NotYetSeen } else { Happening::Acknowledged });
                Verdict::Made
            }
            Err(CallError::TimedOut | CallError::Failed(_) | CallError::Interrupted) => {
                stage.count(Happening::Unknown);
                Verdict::Unknown
            }
            Err(CallError::Conflict { .. } | CallError::Exists { .. } | CallError::TypeChange(_)) => {
                stage.count(Happening::Refused);
                Verdict::NotMade
            }
            Err(_) => Verdict::NotMade,
        };
        let made = self.made(&world);
        let made = made.iter().filter(|made| world.oracle.descends(world.primary.head, **made)).count();
        assert!(self.verdict != Verdict::NotMade || made == 0, "it was refused, and is there: {self:?}");
    }

    /// Every change of it is in this state, and its conditions held in the one before.
    fn is_at(&self, world: &World, made: usize) {
        let commit = world.oracle.get(made);
        for (key, text) in &self.changes {
            let latest = commit.latest.get(key).and_then(|latest| latest.text.as_ref());
            assert_eq!(latest, text.as_ref(), "{self:?} was acknowledged, and {key} is not in its state");
        }
        let before = commit.parent.map(|parent| &world.oracle.get(parent).latest);
        for (key, revision) in &self.expected {
            let latest = before.and_then(|latest| latest.get(key));
            let was = latest.filter(|latest| latest.text.is_some()).map_or(0, |latest| latest.revision);
            // One that changed nothing is where the change was made; of a deletion, that is where the key went.
            let stood = commit.latest.get(key).filter(|latest| latest.text.is_some());
            let stood = stood.map_or(0, |latest| latest.revision);
            assert!(was == *revision || stood == *revision, "{self:?}: {key} was at {was}");
        }
    }

    /// The commits that brought something of it. Each value is written once; a deletion cannot be told from another one.
    fn made(&self, world: &World) -> Vec<usize> {
        let brings = |id: &usize| {
            let commit = world.oracle.get(*id);
            let before = commit.parent.map_or(0, |parent| world.oracle.get(parent).position.revision);
            self.changes.iter().filter(|(_, text)| text.is_some()).any(|(key, text)| {
                let latest = commit.latest.get(key).filter(|latest| latest.revision > before);
                latest.is_some_and(|latest| latest.text == *text)
            })
        };
        (1..world.oracle.len()).filter(brings).collect()
    }

    /// Law 10, at the end: whole or not at all, and once in each history.
    pub(super) fn is_whole_and_once(&self, world: &World) {
        let made = self.made(world);
        made.iter().for_each(|made| self.is_at(world, *made));
        for (i, earlier) in made.iter().enumerate() {
            let twice = made[i + 1..].iter().any(|later| world.oracle.descends(*later, *earlier));
            assert!(!twice, "{self:?} was made twice in one history");
        }
        let puts = self.changes.iter().any(|(_, text)| text.is_some());
        assert!(
            self.verdict != Verdict::Made || !puts || !made.is_empty(),
            "{self:?} was acknowledged, and is not there"
        );
    }
}

fn end(outcome: &Outcome, result: Result<Written, CallError>) {
    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
}

/// A read after an acknowledged write sees it, unless the store went back meanwhile.
fn is_shown(world: &World, made: usize, shown: &Snapshot) {
    // Whoever watches nothing any more shows nothing.
    let Some(position) = shown.position() else { return };
    let shown = world.oracle.find(position).expect("it was checked before");
    let forks = !world.oracle.descends(made, shown);
    let gone = !world.oracle.descends(world.primary.head, made);
    assert!(
        world.oracle.descends(shown, made) || forks || gone,
        "a write was acknowledged as seen, and is not shown"
    );
}
