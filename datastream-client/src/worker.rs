//! The one task of a client: it feeds the session with what happens, and does what the session says.

mod calls;
mod runtime;

use std::sync::{Arc, Weak};
use std::time::Duration;

use datastream::key::shown;
use datastream::proto::{Data, ListCapabilitiesRequest};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::sleep_until;
use tokio_stream::StreamMap;

pub(crate) use calls::{ListReply, PushReply};
pub(crate) use runtime::{Place, block_on, own, start};

use crate::cell::{AnyCell, not_ready, selector};
use crate::error::{Disconnect, Unavailable};
use crate::expiry::{Expiries, Expiry};
use crate::session::{Answer, Changed, Event, Input, Link, Output, Session, StreamId};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::status::Peer;
use crate::telemetry;
use crate::transport::{Signal, Transport};
use calls::{Calls, Done};

/// How many commands are taken at once, so that streams are heard between them.
const COMMANDS: usize = 1000;

/// What a handle or a client asks of the worker.
pub(crate) enum Command {
    /// Follow what this cell follows.
    Watch(Weak<dyn AnyCell>),
    /// A cell of this key or prefix is gone.
    Unwatch(Arc<str>),
    /// Call `PushUpdate`, then wait until it is seen here.
    Push(Data, PushReply),
    /// Call `ListCapabilities`.
    List(ListCapabilitiesRequest, ListReply),
    /// Say when what a handle reads is older than it allows.
    Expire(Weak<Expiry>),
    /// Show that the client is closed, and end.
    Close,
    /// Answer after this time.
    After(Duration, oneshot::Sender<()>),
}

/// What a call or a stream says.
enum Said {
    Signal(Signal),
    Synced(Answer),
    Probed(Result<Peer, Disconnect>),
}

/// The worker: all that it needs to go on, wherever it runs.
pub(crate) struct Worker<T> {
    session: Session,
    transport: T,
    shared: Arc<Shared>,
    commands: UnboundedReceiver<Command>,
    streams: StreamMap<StreamId, BoxStream<'static, Said>>,
    calls: Calls,
    timers: FuturesUnordered<BoxFuture<'static, ()>>,
    expiries: Expiries,
    /// What could not be asked for yet, because too much is watched.
    excess: Vec<Weak<dyn AnyCell>>,
    wake_at: Option<Duration>,
    is_closed: bool,
}

impl<T: Transport> Worker<T> {
    pub(crate) fn new(
        session: Session,
        transport: T,
        shared: Arc<Shared>,
        commands: UnboundedReceiver<Command>,
        patience: Duration,
    ) -> Self {
        let calls = Calls::new(patience);
        let (streams, timers) = (StreamMap::new(), FuturesUnordered::new());
        Self {
            session,
            transport,
            shared,
            commands,
            streams,
            calls,
            timers,
            expiries: Expiries::default(),
            excess: Vec::new(),
            wake_at: None,
            is_closed: false,
        }
    }

    /// Runs until the last handle and the last client are gone, or it is closed.
    async fn run(&mut self) {
        let mut commands = Vec::new();
        while !self.is_closed {
            let wake_at = self.wake_at.into_iter().chain(self.expiries.wake_at()).min();
            // A time too far away to be told is never.
            let wake_at = wake_at.and_then(|at| self.shared.started.checked_add(at));
            tokio::select! {
                read = self.commands.recv_many(&mut commands, COMMANDS) => match read {
                    0 => return,
                    _ => self.obey_all(&mut commands),
                },
                Some((id, said)) = self.streams.next() => self.hear(id, said),
                Some(done) = self.calls.next() => self.finish(done),
                Some(()) = self.timers.next() => {}
                () = async { sleep_until(wake_at.unwrap_or(self.shared.started)).await }, if wake_at.is_some() => {
                    self.step(Event::Woken);
                }
            }
        }
    }

    /// Farewells go first, which makes room for what is watched, and in one step: each such step copies the set of
    /// what is covered.
    fn obey_all(&mut self, commands: &mut Vec<Command>) {
        let (mut left, mut others) = (Vec::new(), Vec::new());
        for command in commands.drain(..) {
            match command {
                Command::Unwatch(key) => left.push(key),
                other => others.push(other),
            }
        }
        self.unwatch(left);
        others.into_iter().for_each(|command| self.obey(command));
    }

    /// A key that has got a handle again meanwhile stays.
    fn unwatch(&mut self, mut keys: Vec<Arc<str>>) {
        if keys.is_empty() {
            return;
        }
        keys.retain(|key| self.shared.sweep(key) && self.session.wants(key));
        if !keys.is_empty() {
            self.step(Event::Unwatched(keys.iter().map(selector).collect()));
            self.calls.unwatched(&self.session);
        }
        self.readmit();
    }

    /// Asks for what there is room for by now.
    fn readmit(&mut self) {
        for cell in std::mem::take(&mut self.excess).iter().filter_map(Weak::upgrade) {
            if self.session.wants(cell.key()) || self.session.has_room(cell.key()) {
                cell.fail(not_ready(cell.key()));
            }
            self.watch(&cell);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(cell) => {
                if let Some(cell) = cell.upgrade() {
                    self.watch(&cell);
                }
            }
            Command::Unwatch(key) => self.unwatch(vec![key]),
            Command::Push(data, reply) => self.calls.push(&mut self.transport, data, reply),
            Command::List(request, reply) => self.calls.list(&mut self.transport, request, reply),
            Command::Expire(expiry) => self.expiries.add(expiry, self.shared.started.elapsed()),
            Command::Close => self.close(),
            Command::After(delay, reply) => self.timers.push(remind(delay, reply).boxed()),
        }
    }

    /// The streams and calls end with the worker.
    fn close(&mut self) {
        self.is_closed = true;
        self.show(Link::Lost(Arc::new(Disconnect::Closed)));
        self.settle(self.shared.started.elapsed());
        self.expiries.end(self.shared.started.elapsed());
    }

    fn watch(&mut self, cell: &Arc<dyn AnyCell>) {
        let key = cell.key();
        // Parts have asked for their keys themselves, before.
        if cell.parts().is_empty() && !self.session.wants(key) {
            if !self.session.has_room(key) {
                self.excess.push(Arc::downgrade(cell));
                return cell.fail(Unavailable::TooMany { key: shown(key).to_string() });
            }
            self.step(Event::Watched(selector(key)));
        }
        cell.offer(self.session.applied(), &Changed::All);
    }

    fn hear(&mut self, id: StreamId, said: Said) {
        let event = match said {
            Said::Synced(answer) => Event::Synced(id, answer),
            Said::Probed(answer) => Event::Probed(id, answer),
            Said::Signal(Signal::Opened(opening)) => Event::Opened(id, opening),
            Said::Signal(Signal::Received(message)) => Event::Received(id, message),
            Said::Signal(Signal::Ended(why)) => {
                self.streams.remove(&id);
                Event::Ended(id, why)
            }
        };
        self.step(event);
    }

    fn step(&mut self, event: Event) {
        let now = self.shared.started.elapsed();
        let step = self.session.step(Input { now, random: fastrand::f64(), event });
        self.wake_at = step.wake_at;
        step.outputs.into_iter().for_each(|output| self.act(output));
        // Last: an age is never younger than the value that it is read beside.
        self.shared.confirm(self.session.confirmed(), self.session.alive_until());
        self.settle(now);
    }

    /// Shows what came of a step: the state of the client, and which handles are too old.
    fn settle(&mut self, now: Duration) {
        if let Some(before) = self.shared.settle() {
            telemetry::changed(before, self.shared.state().0);
        }
        telemetry::age(&self.shared);
        self.expiries.look(&self.shared, now);
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Sync(id, request) => {
                let answer = self.transport.sync(request).map(Said::Synced);
                self.streams.insert(id, answer.into_stream().boxed());
            }
            Output::Probe { id, reconnect } => {
                let answer = self.transport.probe(reconnect).map(Said::Probed);
                self.streams.insert(id, answer.into_stream().boxed());
            }
            Output::Open { id, request } => {
                let signals = self.transport.subscribe(request).map(Said::Signal);
                self.streams.insert(id, signals.boxed());
            }
            Output::Close(id) => drop(self.streams.remove(&id)),
            Output::Apply(snapshot, changed) => self.apply(snapshot, &changed),
            Output::Link(link) => self.show(link),
            Output::Trouble(why) => self.complain(why),
        }
    }

    /// The map first, then the cells: who is woken by a cell finds its value in the map.
    fn apply(&mut self, snapshot: Arc<Snapshot>, changed: &Changed) {
        self.shared.snapshot.store(snapshot.clone());
        self.shared.touched_by(changed).iter().for_each(|cell| cell.offer(&snapshot, changed));
        self.calls.seen(&snapshot);
    }

    fn show(&self, link: Link) {
        let before = self.shared.link.load();
        match (&before.link, &link) {
            (Link::Lost(before), Link::Lost(why)) if before == why => {}
            (_, Link::Lost(why)) if **why == Disconnect::Closed => {
                tracing::info!("the settings client is closed")
            }
            (_, Link::Lost(why)) if why.is_fatal() => {
                tracing::error!(%why, "the settings server cannot be followed; the last values stay");
            }
            (_, Link::Lost(why)) => tracing::warn!(%why, "the settings server is lost; the last values stay"),
            (Link::Live(before), Link::Live(peer)) if before == peer => {}
            (_, Link::Live(Peer::Current)) => tracing::info!("following the settings server"),
            (_, Link::Live(Peer::Original)) => {
                tracing::info!(
                    "following a settings server of the original: live, no heartbeats, no deletions"
                );
            }
            (_, Link::Idle | Link::Connecting) => {}
        }
        self.shared.trouble.store(None);
        self.shared.show(link);
    }

    /// What is followed goes on; what was to join does not.
    fn complain(&self, why: Arc<Disconnect>) {
        let before = self.shared.trouble.swap(Some(why.clone()));
        if before.as_ref() != Some(&why) {
            tracing::warn!(%why, "not all that is watched can be followed");
        }
    }

    fn finish(&mut self, done: Done) {
        let is_missed = self.calls.finish(done, &self.session, &mut self.transport);
        if is_missed {
            self.step(Event::Doubted);
        }
    }

    /// Whether nobody is left who could ask for anything.
    fn is_over(&self) -> bool {
        self.is_closed || self.commands.is_closed()
    }

    /// Goes on elsewhere, after the runtime took all calls with it.
    fn move_on(&mut self) {
        self.streams = StreamMap::new();
        self.timers = FuturesUnordered::new();
        self.transport.renew();
        self.calls.abandon();
        self.step(Event::Lost);
    }
}

/// Says so after a time, unless nobody waits any more.
async fn remind(delay: Duration, mut reply: oneshot::Sender<()>) {
    tokio::select! {
        () = tokio::time::sleep(delay) => drop(reply.send(())),
        () = reply.closed() => {}
    }
}
