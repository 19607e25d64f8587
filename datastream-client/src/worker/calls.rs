//! The calls that an application waits for: writes, and lists of keys.

use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream::proto::{Data, ListCapabilitiesRequest, ListCapabilitiesResponse};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;

use crate::client::{Seen, Written};
use crate::error::CallError;
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::transport::Transport;

/// Where the result of a write goes.
pub(crate) type PushReply = oneshot::Sender<Result<Written, CallError>>;
/// Where a list of keys goes.
pub(crate) type ListReply = oneshot::Sender<Result<ListCapabilitiesResponse, CallError>>;

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
    key: Arc<str>,
    written: Written,
    reply: PushReply,
}

/// What has ended.
pub(crate) enum Done {
    Pushed(Arc<str>, Result<Option<Position>, CallError>, PushReply),
    Listed(Result<ListCapabilitiesResponse, CallError>, ListReply),
    TimeOver(u64),
}

impl Calls {
    /// No calls. `patience` is how long a write waits to be seen.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { running: FuturesUnordered::new(), unseen: Vec::new(), patience, last_id: 0 }
    }

    pub(crate) fn push<T: Transport>(&mut self, transport: &mut T, data: Data, reply: PushReply) {
        let key: Arc<str> = Arc::from(data.key.as_str());
        let answer = transport.push(data, false);
        self.running.push(answer.map(|answer| Done::Pushed(key, answer, reply)).boxed());
    }

    pub(crate) fn list<T: Transport>(
        &mut self,
        transport: &mut T,
        request: ListCapabilitiesRequest,
        reply: ListReply,
    ) {
        let answer = transport.list(request);
        self.running.push(answer.map(|answer| Done::Listed(answer, reply)).boxed());
    }

    /// The next call that ends. `None` while there is none.
    pub(crate) async fn next(&mut self) -> Option<Done> {
        self.running.next().await
    }

    /// Answers whoever waits for what has ended. One that no longer waits is no failure. Returns whether a write
    /// was not seen in its time.
    pub(crate) fn finish<T: Transport>(&mut self, done: Done, session: &Session, transport: &mut T) -> bool {
        match done {
            Done::Pushed(key, Ok(position), reply) => self.pushed(key, position, reply, session),
            Done::Pushed(_, Err(error), reply) => {
                renew(transport, &error);
                let _ = reply.send(Err(error));
            }
            Done::Listed(answer, reply) => {
                answer.as_ref().err().inspect(|error| renew(transport, error));
                let _ = reply.send(answer);
            }
            Done::TimeOver(id) => {
                let Some(at) = self.unseen.iter().position(|unseen| unseen.id == id) else { return false };
                self.unseen.swap_remove(at).answer(Seen::NotYet);
                return true;
            }
        }
        false
    }

    fn pushed(&mut self, key: Arc<str>, position: Option<Position>, reply: PushReply, session: &Session) {
        let written = Written { position, seen: Seen::NotWatched };
        self.last_id += 1;
        let unseen = Unseen { id: self.last_id, key, written, reply };
        if !session.follows(&unseen.key) {
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
        let is_left = |unseen: &mut Unseen| !session.follows(&unseen.key);
        self.unseen.extract_if(.., is_left).for_each(|unseen| unseen.answer(Seen::NotWatched));
    }

    /// Answers the writes that `snapshot` holds.
    pub(crate) fn seen(&mut self, snapshot: &Snapshot) {
        let is_seen = |unseen: &mut Unseen| {
            let position = unseen.written.position.as_ref();
            let is_reached = position.is_some_and(|position| position.revision <= snapshot.revision());
            is_reached && snapshot.covers(&unseen.key)
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

/// A connection on which a call failed is not trusted again.
fn renew<T: Transport>(transport: &mut T, error: &CallError) {
    if matches!(error, CallError::Failed(_) | CallError::TimedOut | CallError::Unreachable(_)) {
        transport.renew();
    }
}
