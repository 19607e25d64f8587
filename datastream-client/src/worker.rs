//! The one task of a client: it feeds the session with what happens, and does what the session says.

mod calls;
mod news;
mod runtime;
mod watched;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use datastream::proto::{CommitRequest, Data, DataRequest, HistoryRequest, ListCapabilitiesRequest};
use datastream::proto::{DataResponse, HistoryResponse, ListCapabilitiesResponse, StatusResponse};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;
use tokio_stream::StreamMap;

pub(crate) use calls::{Reply, WriteReply};
pub(crate) use runtime::{Place, block_on, own, start};

use crate::cache::{Keeper, WriteError};
use crate::cell::AnyCell;
use crate::error::Disconnect;
use crate::expiry::{Expiries, Expiry};
use crate::local::{self, Local};
use crate::session::{Answer, Changed, Event, Input, Link, Output, Session, StreamId};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::status::Peer;
use crate::telemetry;
use crate::transport::{Signal, Transport};
use calls::{Calls, Done};
use news::News;

/// How many commands are taken at once, so that streams are heard between them.
const COMMANDS: usize = 1000;

/// What a handle or a client asks of the worker.
pub(crate) enum Command {
    /// Follow what this cell follows.
    Watch(Weak<dyn AnyCell>),
    /// A cell of this key or prefix is gone.
    Unwatch(Arc<str>),
    /// Call `PushUpdate`, then wait until it is seen here.
    Push(Data, WriteReply),
    /// Call `Commit`, then wait until it is seen here. The snapshot was shown when it was first asked for.
    Commit(CommitRequest, Arc<Snapshot>, WriteReply),
    /// Call `Sync`, for the application.
    Read(DataRequest, Reply<DataResponse>),
    /// Call `ListCapabilities`.
    List(ListCapabilitiesRequest, Reply<ListCapabilitiesResponse>),
    /// Call `History`.
    History(HistoryRequest, Reply<HistoryResponse>),
    /// Call `Status`.
    Status(Reply<StatusResponse>),
    /// Write a bootstrap file.
    WriteBootstrap(PathBuf, oneshot::Sender<Result<(), WriteError>>),
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
    news: News,
    local: Local,
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
        local: Local,
    ) -> Self {
        let (calls, mut news) = (Calls::new(patience), News::of(transport.servers()));
        shared.server.store(Arc::new(news.asked(0).to_owned()));
        let (streams, timers) = (StreamMap::new(), FuturesUnordered::new());
        Self {
            session,
            transport,
            shared,
            commands,
            streams,
            calls,
            news,
            local,
            timers,
            expiries: Expiries::default(),
            excess: Vec::new(),
            wake_at: None,
            is_closed: false,
        }
    }

    /// Runs until the last handle and the last client are gone, or it is closed.
    async fn run(&mut self) {
        self.local.begin(&mut self.session, &self.shared).await;
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
                keys = self.local.overlay.changed() => {
                    self.publish(&self.session.applied().clone(), &Changed::Keys(keys.into_iter().collect()));
                    self.settle(self.shared.started.elapsed());
                }
                never = Local::work(&mut self.local.keeper) => match never {},
                () = async { sleep_until(wake_at.unwrap_or(self.shared.started)).await }, if wake_at.is_some() => {
                    self.step(Event::Woken);
                }
            }
        }
    }

    /// Farewells go first, which makes room for what is watched, and in one step: each such step copies the set of
    /// what is covered. So does showing what a file has of keys that are watched.
    fn obey_all(&mut self, commands: &mut Vec<Command>) {
        let (mut left, mut joined, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for command in commands.drain(..) {
            match command {
                Command::Unwatch(key) => left.push(key),
                Command::Watch(cell) => joined.push(cell),
                other => others.push(other),
            }
        }
        self.unwatch(left);
        self.watch_all(&joined);
        others.into_iter().for_each(|command| self.obey(command));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(cell) => self.watch_all(&[cell]),
            Command::Unwatch(key) => self.unwatch(vec![key]),
            Command::Push(data, reply) => {
                self.calls.push(&mut self.transport, data, self.session.applied(), reply)
            }
            Command::Commit(request, shown, reply) => {
                self.calls.commit(&mut self.transport, request, &shown, reply)
            }
            Command::Read(request, reply) => self.calls.ask(self.transport.read(request), reply),
            Command::List(request, reply) => self.calls.ask(self.transport.list(request), reply),
            Command::History(request, reply) => self.calls.ask(self.transport.history(request), reply),
            Command::Status(reply) => self.calls.ask(self.transport.status(), reply),
            Command::WriteBootstrap(path, reply) => self.write_bootstrap(path, reply),
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

    /// A state with the overrides of what is watched.
    fn overlaid(&self, state: &Arc<Snapshot>) -> Arc<Snapshot> {
        self.local.overlay.over(state, |key| self.session.follows(key))
    }

    fn write_bootstrap(&self, path: PathBuf, reply: oneshot::Sender<Result<(), WriteError>>) {
        let kept = self.local.bootstrap(&self.session, self.shared.started.elapsed());
        let cells = self.shared.touched_by(&Changed::All);
        // Whoever waits for it hears of it; nobody else does.
        drop(spawn_blocking(move || reply.send(local::write_bootstrap(&path, kept, &cells))));
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
        if !self.session.awaits_server() && self.shared.kept.load().is_some() {
            self.shared.kept.store(None);
        }
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
                if let Some(server) = reconnect {
                    self.shared.server.store(Arc::new(self.news.asked(server).to_owned()));
                }
                let answer = self.transport.probe(reconnect).map(Said::Probed);
                self.streams.insert(id, answer.into_stream().boxed());
            }
            Output::Open { id, request } => {
                let signals = self.transport.subscribe(request).map(Said::Signal);
                self.streams.insert(id, signals.boxed());
            }
            Output::Close(id) => drop(self.streams.remove(&id)),
            Output::Apply(snapshot, changed) => self.apply(&snapshot, &changed),
            Output::Link(link) => self.show(link),
            Output::Trouble(why) => self.complain(why),
        }
    }

    fn apply(&mut self, snapshot: &Arc<Snapshot>, changed: &Changed) {
        match changed {
            Changed::All => self.local.overlay.meet_all(snapshot.entries().map(|(key, _)| key)),
            Changed::Keys(keys) => self.local.overlay.meet_all(keys),
        }
        let cells = self.publish(snapshot, changed);
        self.calls.applied(snapshot, changed);
        self.local.note(snapshot, changed, &cells, &self.session, self.shared.started.elapsed());
    }

    /// The map first, then the cells: who is woken by a cell finds its value in the map. Returns the cells.
    fn publish(&self, snapshot: &Arc<Snapshot>, changed: &Changed) -> Vec<Arc<dyn AnyCell>> {
        let shown = self.overlaid(snapshot);
        self.shared.snapshot.store(shown.clone());
        let cells = self.shared.touched_by(changed);
        cells.iter().for_each(|cell| cell.offer(&shown, changed));
        cells
    }

    fn show(&mut self, link: Link) {
        self.news.tell(&link);
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
        let is_missed = self.calls.finish(done, &self.session);
        if is_missed {
            self.step(Event::Doubted);
        }
    }

    /// What is left of a worker that has ended: what has still to be written, and who is told when that is over.
    fn into_last(self) -> (Option<Keeper>, UnboundedReceiver<Command>) {
        (self.local.keeper, self.commands)
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
