//! The calls that an application waits for. A write waits until it is seen as well.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream::proto::operation::Action;
use datastream::proto::{CommitRequest, Data, Operation};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;

use crate::commit::changed_key;
use crate::error::CallError;
use crate::session::{Changed, Session};
use crate::snapshot::{Held, Snapshot};
use crate::transport::{self, Transport};
use crate::written::{Seen, Written};

/// Where the answer to a call goes.
pub(crate) type Reply<A> = oneshot::Sender<Result<A, CallError>>;
/// Where the result of a write goes.
pub(crate) type WriteReply = Reply<Written>;

/// The calls that are under way, and the writes that were acknowledged and not yet seen.
pub(crate) struct Calls {
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    /// What is asked for by writes that are not acknowledged yet, by their ids.
    asked: HashMap<u64, Vec<Change>>,
    unseen: Vec<Unseen>,
    patience: Duration,
    last_id: u64,
}

/// A write that this client waits to see. It is taken out when it is, or when its time is over.
struct Unseen {
    id: u64,
    /// What it asked for, of those of its keys that are watched.
    changes: Vec<Change>,
    /// How many keys it changed, watched or not.
    size: u64,
    written: Written,
    reply: WriteReply,
}

/// What a write asked for of one key. The value is kept since a key that held it before keeps its old revision.
pub(crate) struct Change {
    key: Arc<str>,
    /// `None` for a deletion.
    put: Option<Held>,
    /// The revision of what was shown of the key when it was first asked for: that is not newer, in whatever history.
    was: Option<u64>,
    /// The revision of the state that last took the key away since it was asked for, if its history is still followed.
    deleted: Option<u64>,
}

/// What has ended.
pub(crate) enum Done {
    /// The write with this id.
    Wrote(u64, Result<Option<Position>, CallError>, WriteReply),
    /// Whoever waited for it has it.
    Answered,
    TimeOver(u64),
}

impl Calls {
    /// No calls. `patience` is how long a write waits to be seen.
    pub(crate) fn new(patience: Duration) -> Self {
        let (running, asked) = (FuturesUnordered::new(), HashMap::new());
        Self { running, asked, unseen: Vec::new(), patience, last_id: 0 }
    }

    pub(crate) fn push<T: Transport>(
        &mut self,
        transport: &mut T,
        data: Data,
        shown: &Snapshot,
        reply: WriteReply,
    ) {
        let changes = vec![Change::put(&data, shown)];
        self.write(changes, transport.push(data), reply);
    }

    pub(crate) fn commit<T: Transport>(
        &mut self,
        transport: &mut T,
        request: CommitRequest,
        shown: &Snapshot,
        reply: WriteReply,
    ) {
        let changes = request.operations.iter().map(|operation| Change::of(operation, shown)).collect();
        self.write(changes, transport.commit(request), reply);
    }

    fn write(&mut self, changes: Vec<Change>, answer: transport::Reply<Option<Position>>, reply: WriteReply) {
        self.last_id += 1;
        let id = self.last_id;
        self.asked.insert(id, changes);
        self.running.push(answer.map(move |answer| Done::Wrote(id, answer, reply)).boxed());
    }

    /// A call that is over with its answer. Whoever no longer waits for it is no failure.
    pub(crate) fn ask<A: Send + 'static>(&mut self, answer: transport::Reply<A>, reply: Reply<A>) {
        let answered = answer.map(|answer| {
            let _ = reply.send(answer);
            Done::Answered
        });
        self.running.push(answered.boxed());
    }

    /// The next call that ends. `None` while there is none.
    pub(crate) async fn next(&mut self) -> Option<Done> {
        self.running.next().await
    }

    /// Answers whoever waits for what has ended. One that no longer waits is no failure. Returns whether a write
    /// was not seen in its time.
    pub(crate) fn finish(&mut self, done: Done, session: &Session) -> bool {
        match done {
            Done::Wrote(id, answer, reply) => {
                let changes = self.asked.remove(&id).unwrap_or_default();
                match answer {
                    Ok(position) => self.wrote(id, changes, position, reply, session),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Done::Answered => {}
            Done::TimeOver(id) => {
                let Some(at) = self.unseen.iter().position(|unseen| unseen.id == id) else { return false };
                self.unseen.swap_remove(at).answer(Seen::NotYet);
                return true;
            }
        }
        false
    }

    fn wrote(
        &mut self,
        id: u64,
        mut changes: Vec<Change>,
        position: Option<Position>,
        reply: WriteReply,
        session: &Session,
    ) {
        let size = changes.len() as u64;
        changes.retain(|change| session.follows(&change.key));
        let written = Written { position, seen: Seen::NotWatched };
        let unseen = Unseen { id, changes, size, written, reply };
        if unseen.changes.is_empty() {
            return unseen.answer(Seen::NotWatched);
        }
        if unseen.written.position.is_none() {
            // A server of the original: nothing that comes could be told to be this write.
            return unseen.answer(Seen::NotYet);
        }
        self.running.push(time_over(unseen.id, self.patience));
        self.unseen.push(unseen);
        self.seen(session.applied());
    }

    /// Answers the writes of keys that nobody watches any more.
    pub(crate) fn unwatched(&mut self, session: &Session) {
        let is_left = |unseen: &mut Unseen| {
            unseen.changes.retain(|change| session.follows(&change.key));
            unseen.changes.is_empty()
        };
        self.unseen.extract_if(.., is_left).for_each(|unseen| unseen.answer(Seen::NotWatched));
        self.seen(session.applied());
    }

    /// Answers the writes that `snapshot` shows, of which `changed` is different from what was shown before.
    pub(crate) fn applied(&mut self, snapshot: &Snapshot, changed: &Changed) {
        if self.asked.is_empty() && self.unseen.is_empty() {
            return;
        }
        let unseen = self.unseen.iter_mut().flat_map(|unseen| &mut unseen.changes);
        let changes = self.asked.values_mut().flatten().chain(unseen);
        match changed {
            // This may be another history.
            Changed::All => changes.for_each(|change| change.deleted = None),
            Changed::Keys(keys) => {
                let gone: HashSet<_> = keys.iter().filter(|key| snapshot.held(key).is_none()).collect();
                let of_gone = changes.filter(|change| gone.contains(&change.key));
                of_gone.for_each(|change| change.deleted = Some(snapshot.revision()));
            }
        }
        self.seen(snapshot);
    }

    /// Answers the writes that `snapshot` shows.
    fn seen(&mut self, snapshot: &Snapshot) {
        let is_seen = |unseen: &mut Unseen| unseen.is_in(snapshot);
        self.unseen.extract_if(.., is_seen).for_each(|unseen| unseen.answer(Seen::Applied));
    }

    /// Ends all calls, since their runtime is gone: whoever waits for one hears that it was interrupted. What was
    /// written may still be seen.
    pub(crate) fn abandon(&mut self) {
        self.asked.clear();
        let patience = self.patience;
        self.running = self.unseen.iter().map(|unseen| time_over(unseen.id, patience)).collect();
    }
}

fn time_over(id: u64, patience: Duration) -> BoxFuture<'static, Done> {
    tokio::time::sleep(patience).map(move |()| Done::TimeOver(id)).boxed()
}

impl Unseen {
    /// Whether `snapshot` shows it, or something newer. That its position is reached does not suffice: the snapshot may be
    /// of another history, as while one server of several was restored from a copy, and no token tells.
    fn is_in(&self, snapshot: &Snapshot) -> bool {
        let position = self.written.position.as_ref().filter(|at| at.revision <= snapshot.revision());
        let Some(position) = position else { return false };
        // Where each key of a commit has a revision of its own, they follow each other, and its own is the last.
        let first = position.revision.saturating_sub(self.size.saturating_sub(1));
        self.changes.iter().all(|change| change.is_in(snapshot, first, position.revision))
    }

    fn answer(self, seen: Seen) {
        let _ = self.reply.send(Ok(Written { seen, ..self.written }));
    }
}

impl Change {
    fn of(operation: &Operation, shown: &Snapshot) -> Self {
        match &operation.action {
            Some(Action::Put(data)) => Self::put(data, shown),
            _ => Self::new(changed_key(operation), None, shown),
        }
    }

    fn put(data: &Data, shown: &Snapshot) -> Self {
        Self::new(&data.key, Some(Held::new(data)), shown)
    }

    fn new(key: &str, put: Option<Held>, shown: &Snapshot) -> Self {
        Self { key: key.into(), put, was: shown.held(key).map(|held| held.revision), deleted: None }
    }

    /// Whether `snapshot` holds what was asked for, or what was written since, as part of this commit from `first` to `last`
    /// or after it. One that may not be read is never held.
    fn is_in(&self, snapshot: &Snapshot, first: u64, last: u64) -> bool {
        // What was put may be stored in another form. What was deleted is there only if somebody wrote it since.
        let newer = if self.put.is_some() { first } else { last.saturating_add(1) };
        let is_shown = match (snapshot.held(&self.key), &self.put) {
            (Some(held), put) => {
                held.revision >= newer && Some(held.revision) != self.was
                    || put.as_ref().is_some_and(|put| is_as_put(held, put))
            }
            (None, put) => put.is_none() || snapshot.denies(&self.key) || self.deleted >= Some(last),
        };
        is_shown && snapshot.covers(&self.key)
    }
}

/// A put without a type keeps the one that the key has.
fn is_as_put(held: &Held, put: &Held) -> bool {
    held.value == put.value && (put.value_type.is_empty() || held.value_type == put.value_type)
}
