//! The protocol of the client, as a pure machine.
//!
//! A [`Session`] is told what happened and when, and answers what to do: which calls to make, which state to
//! show, when to look again. It does no IO, reads no clock and draws no random number, so that millions of
//! histories can be tested in a minute; the worker beside it does what it says.
//!
//! The rules it keeps: a position moves only together with what it covers; a position speaks of one set of
//! keys, so a key that joins later is asked for in full (`fresh`); a half-received delivery is never visible; a
//! stream that ended, with whatever status, is a disconnect; what was known stays until something newer is.

mod event;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream::limit;
use datastream::position::Position;
use datastream::proto::{self, DataRequest, DataResponse, Phase};

use crate::config::Limits;
use crate::error::Disconnect;
use crate::retry::{HEALTHY, Retry};
use crate::snapshot::Snapshot;
pub use event::{Changed, Event, Input, Link, Opening, Output, Step, StreamId};
use stream::{Heard, Stream};

/// How long keys that are watched one after the other are collected into one request.
const COLLECT: Duration = Duration::from_millis(10);
/// How long a server may keep a client away when it drains.
const LONGEST_DRAIN: Duration = Duration::from_secs(60);

/// The state of the protocol.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    client_name: String,
    wanted: KeySet,
    wanted_bytes: usize,
    applied: Arc<Snapshot>,
    /// The stream whose deliveries are applied.
    live: Option<Stream>,
    /// A stream that will take its place.
    joining: Option<Stream>,
    syncing: Option<Syncing>,
    has_synced: bool,
    /// Whether the next stream asks for a whole state, because what is followed lacks a write of our own.
    in_doubt: bool,
    /// Before when no further doubt is heard: a server that lags is not asked for everything again and again.
    believed_until: Duration,
    /// When to open a stream.
    open_at: Option<Duration>,
    /// Before when no call is made, whatever is watched and left: what failed last is not asked in a loop.
    not_before: Duration,
    retry: Retry,
    /// When the server last confirmed what is shown, and how long it could not ask its store then.
    confirmed: Option<(Duration, Duration)>,
    last_id: StreamId,
}

/// A `Sync` that is under way.
#[derive(Debug)]
struct Syncing {
    id: StreamId,
    asked: Duration,
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
            wanted_bytes: 0,
            applied: Arc::default(),
            live: None,
            joining: None,
            syncing: None,
            has_synced: false,
            in_doubt: false,
            believed_until: Duration::ZERO,
            open_at: None,
            not_before: Duration::ZERO,
            retry: Retry::default(),
            confirmed: None,
            last_id: 0,
        }
    }

    /// Whether this very key is asked for.
    #[must_use]
    pub fn wants(&self, key: &Arc<str>) -> bool {
        self.wanted.contains_selector(&Selector::Key(key.clone()))
    }

    /// Whether one more key of this length can be asked for: a request has its limits.
    #[must_use]
    pub fn has_room(&self, key: &str) -> bool {
        self.wanted.len() < limit::KEYS && self.wanted_bytes + key.len() <= limit::KEYS_BYTES
    }

    /// What is shown.
    #[must_use]
    pub fn applied(&self) -> &Arc<Snapshot> {
        &self.applied
    }

    /// When the server last confirmed what is shown, and how long it could not ask its store then.
    #[must_use]
    pub fn confirmed(&self) -> Option<(Duration, Duration)> {
        self.confirmed
    }

    /// Until when what is followed passes for alive; `None` if nothing is followed.
    #[must_use]
    pub fn alive_until(&self) -> Option<Duration> {
        let followed = self.live.as_ref().or(self.joining.as_ref());
        followed.map(|stream| stream.silent_at(&self.limits))
    }

    /// What to do about what happened.
    pub fn step(&mut self, input: Input) -> Step {
        let mut step = Step::default();
        let Input { now, random, event } = input;
        let out = &mut step.outputs;
        // First: a word that lay unread until after the limit revives nothing.
        self.drop_silent(now, random, out);
        match event {
            Event::Watched(entry) => self.watched(now, entry),
            Event::Unwatched(entry) => self.unwatched(now, &entry, out),
            Event::Synced(id, answer) => self.synced(now, id, answer, out),
            Event::Opened(id, opening) => self.opened(now, id, opening),
            Event::Received(id, message) => self.received(now, random, id, message, out),
            Event::Ended(id, why) => self.ended(now, random, id, why, out),
            Event::Lost => self.lost(now, random, out),
            Event::Doubted => self.doubted(now),
            Event::Woken => {}
        }
        self.keep_time(now, random, out);
        step.wake_at = self.wake_at();
        step
    }

    /// What a wider entry covers is known, and stays so when the wider one leaves.
    fn watched(&mut self, now: Duration, entry: Selector) {
        if self.wanted.insert(entry.clone()) {
            self.wanted_bytes += entry.as_str().len();
        }
        Arc::make_mut(&mut self.applied).cover_included(&entry);
        for stream in [&mut self.live, &mut self.joining].into_iter().flatten() {
            stream.cover_included(&entry);
        }
        if let Some(syncing) = self.syncing.as_mut().filter(|syncing| syncing.keys.includes(&entry)) {
            syncing.keys.insert(entry);
        }
        self.plan_join(now + COLLECT);
    }

    /// A key that nobody watches leaves what is shown at once. Only the next request leaves it out.
    fn unwatched(&mut self, now: Duration, entry: &Selector, out: &mut Vec<Output>) {
        if self.wanted.remove(entry) {
            self.wanted_bytes -= entry.as_str().len();
        }
        if self.wanted.is_empty() {
            return self.rest(now, out);
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
    fn rest(&mut self, now: Duration, out: &mut Vec<Output>) {
        if let Some(live) = self.live.take() {
            self.credit(now, &live);
            out.push(Output::Close(live.id));
        }
        self.close_all(out);
        self.open_at = None;
        self.has_synced = false;
        self.in_doubt = false;
        self.confirmed = None;
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
        let state = match answer {
            Ok(answer) => stream::first_state(syncing.keys, answer),
            // A refused one may have been too large.
            Err(Disconnect::Refused { .. }) => None,
            // The connection itself failed: say so already now, not when the stream has failed as well.
            Err(why) => return self.open_after(why, now, out),
        };
        let reconnect = state.is_none();
        if let Some((state, source_age)) = state {
            self.confirmed = Some((syncing.asked, source_age));
            self.apply(state, Changed::All, out);
            out.push(Output::Link(Link::Live));
        }
        self.open(now, reconnect, out);
    }

    fn open_after(&mut self, why: Disconnect, now: Duration, out: &mut Vec<Output>) {
        out.push(Output::Link(Link::Lost(Arc::new(why))));
        self.open(now, true, out);
    }

    fn opened(&mut self, now: Duration, id: StreamId, opening: Opening) {
        let idle_limit = self.limits.idle.or(opening.heartbeat.map(|heartbeat| heartbeat.saturating_mul(3)));
        if let Some(stream) = self.stream(id) {
            stream.open(now, idle_limit);
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
                self.drop_stream(now, random, id, Disconnect::Draining, out);
                self.not_before = self.not_before.max(now + delay.min(LONGEST_DRAIN));
                self.open_at = self.open_at.map(|at| at.max(self.not_before));
            }
            Err(rule) => {
                self.drop_stream(now, random, id, Disconnect::Violation(rule), out);
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
        self.confirmed = Some(live.confirmed());
        let draft = live.draft().clone();
        if phase == Some(Phase::Reset) {
            // Another history: a stream that joins from the old one would mix the two.
            if let Some(joining) = self.joining.take() {
                out.push(Output::Close(joining.id));
            }
            self.apply(draft, Changed::All, out);
            return self.plan_join(now + COLLECT);
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
        let draft = joined.draft().clone();
        self.confirmed = Some(joined.confirmed());
        if let Some(old) = self.live.replace(joined) {
            self.credit(now, &old);
            out.push(Output::Close(old.id));
        }
        self.apply(draft, Changed::All, out);
        out.push(Output::Link(Link::Live));
        self.plan_join(now + COLLECT);
    }

    fn ended(&mut self, now: Duration, random: f64, id: StreamId, why: Disconnect, out: &mut Vec<Output>) {
        let is = |stream: &mut Stream| stream.id == id;
        let Some(ended) = self.live.take_if(is).or_else(|| self.joining.take_if(is)) else { return };
        self.credit(now, &ended);
        let why = Arc::new(why);
        out.push(if self.live.is_none() { Output::Link(Link::Lost(why)) } else { Output::Trouble(why) });
        if self.joining.is_none() {
            self.not_before = now + self.retry.next(random);
            self.open_at = Some(self.not_before);
        }
    }

    /// Ends a stream from this side.
    fn drop_stream(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        why: Disconnect,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Close(id));
        self.ended(now, random, id, why, out);
    }

    /// A stream that was healthy for long clears the record of failures.
    fn credit(&mut self, now: Duration, stream: &Stream) {
        if stream.complete.is_some_and(|complete| now >= complete + HEALTHY) {
            self.retry.reset();
        }
    }

    fn lost(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        self.syncing = None;
        let streams = [self.live.as_ref(), self.joining.as_ref()].into_iter().flatten();
        let ids: Vec<_> = streams.map(|stream| stream.id).collect();
        ids.into_iter().for_each(|id| self.ended(now, random, id, Disconnect::Interrupted, out));
        if !self.wanted.is_empty() && self.open_at.is_none() {
            self.open_at = Some(now.max(self.not_before));
        }
    }

    /// What is followed should have brought a write of this client, and did not: the next stream asks anew.
    fn doubted(&mut self, now: Duration) {
        let is_busy = self.live.is_none() || self.joining.is_some() || self.open_at.is_some();
        if !is_busy && now >= self.believed_until {
            self.in_doubt = true;
            self.believed_until = now + HEALTHY;
            self.open_at = Some(now.max(self.not_before));
        }
    }

    fn drop_silent(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        let limits = &self.limits;
        let streams = [&self.live, &self.joining].into_iter().flatten();
        let silent: Vec<_> =
            streams.filter(|stream| stream.silent_at(limits) <= now).map(|stream| stream.id).collect();
        for id in silent {
            self.drop_stream(now, random, id, Disconnect::Silent, out);
        }
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        if let Some(syncing) = self.syncing.take_if(|syncing| now >= syncing.until) {
            out.push(Output::Close(syncing.id));
            self.open_after(Disconnect::Silent, now, out);
        }
        // One that is behind what is shown may follow another history, and never get there. With no live stream
        // beside it, the next one asks from what is shown, and the server judges.
        let is_alone = self.live.is_none();
        let behind = self.joining.as_ref().filter(|joining| is_alone && joining.complete.is_some());
        if let Some(id) = behind.map(|joining| joining.id) {
            self.drop_stream(now, random, id, Disconnect::Behind, out);
        }
        if self.open_at.is_some_and(|at| now >= at) {
            self.open(now, self.live.is_none(), out);
        }
    }

    fn wake_at(&self) -> Option<Duration> {
        let streams = [&self.live, &self.joining].into_iter().flatten();
        let silent = streams.map(|stream| stream.silent_at(&self.limits));
        let syncing = self.syncing.as_ref().map(|syncing| syncing.until);
        silent.chain(syncing).chain(self.open_at).min()
    }

    /// Opens the stream that follows everything wanted from what is shown. The first time it asks for a state.
    fn open(&mut self, now: Duration, reconnect: bool, out: &mut Vec<Output>) {
        self.open_at = None;
        self.last_id += 1;
        let id = self.last_id;
        if !self.has_synced {
            self.has_synced = true;
            let until = now.saturating_add(self.limits.sync);
            self.syncing = Some(Syncing { id, asked: now, until, keys: self.wanted.clone() });
            out.push(Output::Link(Link::Connecting));
            return out.push(Output::Sync(id, self.request(Vec::new(), None)));
        }
        let mut draft = Snapshot::clone(&self.applied);
        if std::mem::take(&mut self.in_doubt) {
            draft = Snapshot::default();
        }
        let fresh: KeySet =
            self.wanted.iter().filter(|entry| !draft.covered().includes(entry)).cloned().collect();
        draft.forget_all(&fresh);
        draft.set_covered(self.wanted.clone());
        let resume = draft.position().cloned();
        let fresh = if resume.is_some() { texts(&fresh) } else { Vec::new() };
        let request = self.request(fresh, resume);
        self.joining = Some(Stream::new(id, draft, now));
        out.push(Output::Open { id, request, reconnect });
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
            self.open_at = Some(at.max(self.not_before));
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

fn texts(entries: &KeySet) -> Vec<String> {
    entries.iter().map(|entry| entry.as_str().to_owned()).collect()
}
