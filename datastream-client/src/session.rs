//! The protocol of the client, as a pure machine.
//!
//! A [`Session`] is told what happened and when, and answers what to do: which calls to make, which state to
//! show, when to look again. It does no IO, reads no clock and draws no random number, so that millions of
//! histories can be tested in a minute; the worker beside it does what it says.
//!
//! The rules it keeps: a position moves only together with what it covers; a position speaks of one set of
//! keys, so a key that joins later is asked for in full (`fresh`); a half-received delivery is never visible; a
//! stream that ended, with whatever status, is a disconnect; what was known stays until something newer is.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream::position::Position;
use datastream::proto::{self, DataRequest, DataResponse, Phase};

use crate::config::Limits;
use crate::error::Disconnect;
use crate::retry::{HEALTHY, Retry};
use crate::snapshot::Snapshot;
use stream::{Heard, Stream};

/// How long keys that are watched one after the other are collected into one request.
const COLLECT: Duration = Duration::from_millis(10);
/// How long a server may keep a client away when it drains.
const LONGEST_DRAIN: Duration = Duration::from_secs(60);

/// Names one call of a session: a `Sync`, or a stream.
pub type StreamId = u64;

/// What a session is told.
#[derive(Debug)]
pub struct Input {
    /// Time since the client began.
    pub now: Duration,
    /// A random number from 0 to 1.
    pub random: f64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A key or prefix got its first handle.
    Watched(Selector),
    /// A key or prefix lost its last handle.
    Unwatched(Selector),
    /// `Sync` was answered.
    Synced(StreamId, Result<DataResponse, Disconnect>),
    /// The headers of a stream came.
    Opened(StreamId, Opening),
    /// A message of a stream came.
    Received(StreamId, DataResponse),
    /// A stream ended, or was never opened.
    Ended(StreamId, Disconnect),
    /// All calls were lost together with the runtime that they ran on.
    Lost,
    /// The time asked for has come.
    Woken,
}

/// What the headers of a stream say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// The interval of heartbeats, if the server names one.
    pub heartbeat: Option<Duration>,
}

/// What a session answers.
#[derive(Debug, Default)]
pub struct Step {
    /// What to do, in this order.
    pub outputs: Vec<Output>,
    /// When to look again, at the latest.
    pub wake_at: Option<Duration>,
}

/// What to do.
#[derive(Debug)]
pub enum Output {
    /// Call `Sync`.
    Sync(StreamId, DataRequest),
    /// Call `Subscribe`.
    Open {
        /// What it is named from now on.
        id: StreamId,
        /// The request.
        request: DataRequest,
        /// On a new connection, because the old one failed, and may be dead without knowing it.
        reconnect: bool,
    },
    /// Drop a call.
    Close(StreamId),
    /// Show this state.
    Apply(Arc<Snapshot>, Changed),
    /// Show this.
    Link(Link),
}

/// What is different in a state that is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// At most these keys.
    Keys(Vec<Arc<str>>),
    /// Anything.
    All,
}

/// Whether the client is connected.
#[derive(Clone, Debug)]
pub enum Link {
    /// Nothing is watched.
    Idle,
    /// On the way to the first state.
    Connecting,
    /// Following the server.
    Live,
    /// Not following the server; the last state stays.
    Lost(Arc<Disconnect>),
}

/// The state of the protocol.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    client_name: String,
    wanted: KeySet,
    applied: Arc<Snapshot>,
    /// The stream whose deliveries are applied.
    live: Option<Stream>,
    /// A stream that will take its place.
    joining: Option<Stream>,
    syncing: Option<Syncing>,
    has_synced: bool,
    /// Whether a call failed since a stream last took over.
    has_failed: bool,
    /// When to open a stream.
    open_at: Option<Duration>,
    retry: Retry,
    last_id: StreamId,
}

/// A `Sync` that is under way.
#[derive(Debug)]
struct Syncing {
    id: StreamId,
    until: Duration,
    /// What it asked for, less what nobody watches any more.
    keys: KeySet,
}

impl Session {
    /// A session that watches nothing.
    #[must_use]
    pub fn new(limits: Limits, client_name: String) -> Self {
        Self {
            limits,
            client_name,
            wanted: KeySet::default(),
            applied: Arc::default(),
            live: None,
            joining: None,
            syncing: None,
            has_synced: false,
            has_failed: false,
            open_at: None,
            retry: Retry::default(),
            last_id: 0,
        }
    }

    /// Whether this very key is asked for.
    #[must_use]
    pub fn wants(&self, key: &Arc<str>) -> bool {
        self.wanted.contains_selector(&Selector::Key(key.clone()))
    }

    /// How many keys and prefixes are asked for.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// What is shown.
    #[must_use]
    pub fn applied(&self) -> &Arc<Snapshot> {
        &self.applied
    }

    /// When the live stream last said something, and how old its source was then.
    #[must_use]
    pub fn heard(&self) -> Option<(Duration, Duration)> {
        let live = self.live.as_ref()?;
        Some((live.heard, live.source_age))
    }

    /// What to do about what happened.
    pub fn step(&mut self, input: Input) -> Step {
        let mut step = Step::default();
        let Input { now, random, event } = input;
        let out = &mut step.outputs;
        match event {
            Event::Watched(entry) => self.watched(now, entry),
            Event::Unwatched(entry) => self.unwatched(&entry, out),
            Event::Synced(id, answer) => self.synced(now, id, answer, out),
            Event::Opened(id, opening) => self.opened(now, id, opening),
            Event::Received(id, message) => self.received(now, random, id, message, out),
            Event::Ended(id, why) => self.ended(now, random, id, why, out),
            Event::Lost => self.lost(now, random, out),
            Event::Woken => {}
        }
        self.keep_time(now, random, out);
        step.wake_at = self.wake_at();
        step
    }

    /// What a wider entry covers is known, and stays so when the wider one leaves.
    fn watched(&mut self, now: Duration, entry: Selector) {
        Arc::make_mut(&mut self.applied).cover(&entry);
        for stream in [&mut self.live, &mut self.joining].into_iter().flatten() {
            stream.cover(&entry);
        }
        self.wanted.insert(entry);
        self.plan_join(now + COLLECT);
    }

    /// A key that nobody watches leaves what is shown at once. Only the next request leaves it out.
    fn unwatched(&mut self, entry: &Selector, out: &mut Vec<Output>) {
        self.wanted.remove(entry);
        if self.wanted.is_empty() {
            return self.rest(out);
        }
        for stream in [&mut self.live, &mut self.joining].into_iter().flatten() {
            stream.uncover(entry);
        }
        if let Some(syncing) = &mut self.syncing {
            syncing.keys.remove(entry);
        }
        let mut applied = Snapshot::clone(&self.applied);
        applied.uncover(entry);
        self.apply(applied, Changed::Keys(Vec::new()), out);
    }

    /// A client that watches nothing has no stream, and knows nothing.
    fn rest(&mut self, out: &mut Vec<Output>) {
        self.close_all(out);
        self.open_at = None;
        self.has_synced = false;
        self.apply(Snapshot::default(), Changed::All, out);
        out.push(Output::Link(Link::Idle));
    }

    /// The answer to `Sync` is a first state. A failure is no obstacle: the stream brings the state.
    fn synced(
        &mut self,
        now: Duration,
        id: StreamId,
        answer: Result<DataResponse, Disconnect>,
        out: &mut Vec<Output>,
    ) {
        let Some(syncing) = self.syncing.take_if(|syncing| syncing.id == id) else { return };
        let read = |answer: DataResponse| {
            let position = Position::from_proto(answer.position.clone()?).ok()??;
            Some((answer, position))
        };
        self.has_failed |= answer.is_err();
        if let Some((answer, position)) = answer.ok().and_then(read) {
            let mut state = Snapshot::default();
            state.set_covered(syncing.keys);
            state.merge(answer.data, &mut Vec::new());
            state.set_denied(answer.denied);
            state.set_position(position);
            self.apply(state, Changed::All, out);
        }
        self.open(now, out);
    }

    fn opened(&mut self, now: Duration, id: StreamId, opening: Opening) {
        let limit = self.limits.idle.or(opening.heartbeat.map(|heartbeat| heartbeat * 3));
        if let Some(stream) = self.stream(id) {
            stream.heard = now;
            stream.idle_limit = limit;
        }
    }

    fn received(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        message: DataResponse,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.stream(id) else { return };
        match stream.receive(now, message) {
            Ok(Heard::Part) => {}
            Ok(Heard::Heartbeat) => self.moved(now, id, None, Vec::new(), out),
            Ok(Heard::Delivery(phase, changed)) => self.moved(now, id, Some(phase), changed, out),
            Ok(Heard::Drain(delay)) => {
                out.push(Output::Close(id));
                self.ended(now, random, id, Disconnect::Draining, out);
                self.open_at = self.open_at.map(|at| at.max(now + delay.min(LONGEST_DRAIN)));
            }
            Err(rule) => {
                out.push(Output::Close(id));
                self.ended(now, random, id, Disconnect::Violation(rule), out);
            }
        }
    }

    /// The draft of a stream has moved: it is shown if the stream is the live one, or takes its place.
    fn moved(
        &mut self,
        now: Duration,
        id: StreamId,
        phase: Option<Phase>,
        changed: Vec<Arc<str>>,
        out: &mut Vec<Output>,
    ) {
        if self.joining.as_ref().is_some_and(|joining| joining.id == id) {
            return self.try_take_over(now, phase, out);
        }
        let Some(live) = &self.live else { return };
        let draft = live.draft().clone();
        if phase == Some(Phase::Reset) {
            // Another history: a stream that joins from the old one would mix the two.
            if let Some(joining) = self.joining.take() {
                out.push(Output::Close(joining.id));
            }
            self.apply(draft, Changed::All, out);
            return self.plan_join(now);
        }
        self.apply(draft, Changed::Keys(changed), out);
    }

    /// A stream that joins takes over once it is not behind what is shown; a reset starts a new count.
    fn try_take_over(&mut self, now: Duration, phase: Option<Phase>, out: &mut Vec<Output>) {
        let shown = self.applied.revision();
        let is_reset = phase == Some(Phase::Reset);
        let Some(joined) = self.joining.take_if(|joining| is_reset || joining.draft().revision() >= shown)
        else {
            return;
        };
        self.has_failed = false;
        let draft = joined.draft().clone();
        if let Some(old) = self.live.replace(joined) {
            out.push(Output::Close(old.id));
        }
        self.apply(draft, Changed::All, out);
        out.push(Output::Link(Link::Live));
        self.plan_join(now + COLLECT);
    }

    fn ended(&mut self, now: Duration, random: f64, id: StreamId, why: Disconnect, out: &mut Vec<Output>) {
        let is = |stream: &mut Stream| stream.id == id;
        let Some(ended) = self.live.take_if(is).or_else(|| self.joining.take_if(is)) else { return };
        if ended.complete.is_some_and(|complete| now >= complete + HEALTHY) {
            self.retry.reset();
        }
        self.has_failed = true;
        if self.live.is_none() {
            out.push(Output::Link(Link::Lost(Arc::new(why))));
        }
        if self.joining.is_none() {
            self.open_at = Some(now + self.retry.next(random));
        }
    }

    fn lost(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        self.syncing = None;
        let streams = [self.live.as_ref(), self.joining.as_ref()].into_iter().flatten();
        let ids: Vec<_> = streams.map(|stream| stream.id).collect();
        ids.into_iter().for_each(|id| self.ended(now, random, id, Disconnect::Ended, out));
        if !self.wanted.is_empty() && self.open_at.is_none() {
            self.open_at = Some(now);
        }
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        if let Some(syncing) = self.syncing.take_if(|syncing| now >= syncing.until) {
            out.push(Output::Close(syncing.id));
            self.has_failed = true;
            self.open(now, out);
        }
        let limits = &self.limits;
        let streams = [&self.live, &self.joining].into_iter().flatten();
        let silent: Vec<_> =
            streams.filter(|stream| silent_at(limits, stream) <= now).map(|stream| stream.id).collect();
        for id in silent {
            out.push(Output::Close(id));
            self.ended(now, random, id, Disconnect::Silent, out);
        }
        // One that is behind what is shown may follow another history, and never get there. With no live stream
        // beside it, the next one asks from what is shown, and the server judges.
        let is_alone = self.live.is_none();
        let behind = self.joining.as_ref().filter(|joining| is_alone && joining.complete.is_some());
        if let Some(id) = behind.map(|joining| joining.id) {
            out.push(Output::Close(id));
            self.ended(now, random, id, Disconnect::Behind, out);
        }
        if self.open_at.is_some_and(|at| now >= at) {
            self.open(now, out);
        }
    }

    fn wake_at(&self) -> Option<Duration> {
        let streams = [&self.live, &self.joining].into_iter().flatten();
        let silent = streams.map(|stream| silent_at(&self.limits, stream));
        let syncing = self.syncing.as_ref().map(|syncing| syncing.until);
        silent.chain(syncing).chain(self.open_at).min()
    }

    /// Opens the stream that follows everything wanted from what is shown. The first time it asks for a state.
    fn open(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.open_at = None;
        self.last_id += 1;
        let id = self.last_id;
        if !self.has_synced {
            self.has_synced = true;
            let until = now + self.limits.sync;
            self.syncing = Some(Syncing { id, until, keys: self.wanted.clone() });
            out.push(Output::Link(Link::Connecting));
            return out.push(Output::Sync(id, self.request(Vec::new(), None)));
        }
        let is_fresh = |entry: &&Selector| !self.applied.covered().includes(entry);
        let fresh: KeySet = self.wanted.iter().filter(is_fresh).cloned().collect();
        let mut draft = Snapshot::clone(&self.applied);
        draft.forget_all(&fresh);
        draft.set_covered(self.wanted.clone());
        let resume = draft.position().cloned();
        let fresh = if resume.is_some() { texts(&fresh) } else { Vec::new() };
        let request = self.request(fresh, resume);
        self.joining = Some(Stream::new(id, draft, now));
        out.push(Output::Open { id, request, reconnect: self.has_failed });
    }

    fn request(&self, fresh: Vec<String>, resume: Option<Position>) -> DataRequest {
        DataRequest {
            keys: texts(&self.wanted),
            // Its presence, even empty, announces the client.
            resume: Some(resume.map_or_else(proto::Position::default, |position| position.to_proto())),
            fresh,
            client_name: self.client_name.clone(),
        }
    }

    /// Plans a stream for what is wanted and not covered, unless one is on its way: its end plans the next.
    fn plan_join(&mut self, at: Duration) {
        if self.open_at.is_some() || self.joining.is_some() || self.syncing.is_some() {
            return;
        }
        if !self.wanted.iter().all(|entry| self.applied.covered().includes(entry)) {
            self.open_at = Some(at);
        }
    }

    fn apply(&mut self, snapshot: Snapshot, changed: Changed, out: &mut Vec<Output>) {
        self.applied = Arc::new(snapshot);
        out.push(Output::Apply(self.applied.clone(), changed));
    }

    fn close_all(&mut self, out: &mut Vec<Output>) {
        let streams = [self.live.take(), self.joining.take()].into_iter().flatten().map(|stream| stream.id);
        let syncing = self.syncing.take().map(|syncing| syncing.id);
        out.extend(streams.chain(syncing).map(Output::Close));
    }

    fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        [&mut self.live, &mut self.joining].into_iter().flatten().find(|stream| stream.id == id)
    }
}

/// When a stream is dead, if it says nothing until then.
fn silent_at(limits: &Limits, stream: &Stream) -> Duration {
    let limit = match (stream.idle_limit, stream.complete) {
        (Some(idle), Some(_)) => idle,
        // The headers, or the first delivery, are still to come.
        (idle, _) => idle.unwrap_or_default().max(limits.first_message),
    };
    stream.heard + limit
}

fn texts(entries: &KeySet) -> Vec<String> {
    entries.iter().map(|entry| entry.as_str().to_owned()).collect()
}
