//! The calls that an application waits for. A write waits until it is seen as well.

use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream::proto::{CommitRequest, Data};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;

use crate::commit::changed_key;
use crate::error::CallError;
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::transport::{self, Transport};
use crate::written::{Seen, Written};

/// Where the answer to a call goes.
pub(crate) type Reply<A> = oneshot::Sender<Result<A, CallError>>;
/// Where the result of a write goes.
pub(crate) type WriteReply = Reply<Written>;

/// The calls that are under way, and the writes that were acknowledged and not yet seen.
pub(crate) struct Calls {
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    unseen: Vec<Unseen>,
    patience: Duration,
    last_id: u64,
}

/// A write that this client waits to see. It is taken out when it is, or when its time is over.
struct Unseen {
    id: u64,
    /// Those of its keys that are watched.
    keys: Vec<Arc<str>>,
    written: Written,
    reply: WriteReply,
}

/// What has ended.
pub(crate) enum Done {
    Wrote(Vec<Arc<str>>, Result<Option<Position>, CallError>, WriteReply),
    /// Whoever waited for it has it.
    Answered,
    TimeOver(u64),
}

impl Calls {
    /// No calls. `patience` is how long a write waits to be seen.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { running: FuturesUnordered::new(), unseen: Vec::new(), patience, last_id: 0 }
    }

    pub(crate) fn push<T: Transport>(&mut self, transport: &mut T, data: Data, reply: WriteReply) {
        let keys = vec![Arc::from(data.key.as_str())];
        self.write(keys, transport.push(data), reply);
    }

    pub(crate) fn commit<T: Transport>(
        &mut self,
        transport: &mut T,
        request: CommitRequest,
        reply: WriteReply,
    ) {
        let keys = request.operations.iter().map(|operation| changed_key(operation).into()).collect();
        self.write(keys, transport.commit(request), reply);
    }

    fn write(&mut self, keys: Vec<Arc<str>>, answer: transport::Reply<Option<Position>>, reply: WriteReply) {
        self.running.push(answer.map(|answer| Done::Wrote(keys, answer, reply)).boxed());
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
            Done::Wrote(keys, Ok(position), reply) => self.wrote(keys, position, reply, session),
            Done::Wrote(_, Err(error), reply) => drop(reply.send(Err(error))),
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
        mut keys: Vec<Arc<str>>,
        position: Option<Position>,
        reply: WriteReply,
        session: &Session,
    ) {
        keys.retain(|key| session.follows(key));
        let written = Written { position, seen: Seen::NotWatched };
        self.last_id += 1;
        let unseen = Unseen { id: self.last_id, keys, written, reply };
        if unseen.keys.is_empty() {
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
            unseen.keys.retain(|key| session.follows(key));
            unseen.keys.is_empty()
        };
        self.unseen.extract_if(.., is_left).for_each(|unseen| unseen.answer(Seen::NotWatched));
        self.seen(session.applied());
    }

    /// Answers the writes that `snapshot` holds.
    pub(crate) fn seen(&mut self, snapshot: &Snapshot) {
        let is_seen = |unseen: &mut Unseen| {
            let position = unseen.written.position.as_ref();
            let is_reached = position.is_some_and(|position| position.revision <= snapshot.revision());
            is_reached && unseen.keys.iter().all(|key| snapshot.covers(key))
        };
        self.unseen.extract_if(.., is_seen).for_each(|unseen| unseen.answer(Seen::Applied));
    }

    /// Ends all calls, since their runtime is gone: whoever waits for one hears that it was interrupted. What was
    /// written may still be seen.
    pub(crate) fn abandon(&mut self) {
        let patience = self.patience;
        self.running = self.unseen.iter().map(|unseen| time_over(unseen.id, patience)).collect();
    }
}

fn time_over(id: u64, patience: Duration) -> BoxFuture<'static, Done> {
    tokio::time::sleep(patience).map(move |()| Done::TimeOver(id)).boxed()
}

impl Unseen {
    fn answer(self, seen: Seen) {
        let _ = self.reply.send(Ok(Written { seen, ..self.written }));
    }
}
