//! The protocol of the client, as a pure machine.
//!
//! A [`Session`] is told what happened and when, and answers what to do: which calls to make, which state to
//! show, when to look again. It does no IO, reads no clock and draws no random number, so that millions of
//! histories can be tested in a minute; the worker beside it does what it says.
//!
//! The rules it keeps: a position moves only together with what it covers; a position speaks of one set of
//! keys, so a key that joins later is asked for in full (`fresh`); a half-received delivery is never visible; a
//! stream that ended, with whatever status, is a disconnect; what was known stays until something newer is.
//!
//! Two kinds of server are followed in two ways, and it is known which one it is before anything is subscribed:
//! `contact.rs` finds out, `current.rs` follows one of this project, `original.rs` one of the Go project that the
//! contract is from. Here is what they share.

mod contact;
mod current;
mod event;
mod original;
mod servers;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream::limit;

use crate::config::Limits;
use crate::error::Disconnect;
use crate::snapshot::Snapshot;
use contact::{Probing, Syncing};
pub use event::{Answer, Changed, Event, Input, Link, Opening, Output, Step, StreamId};
use original::Original;
use servers::Servers;
use stream::Stream;

/// How long keys that are watched one after the other are collected into one request.
const COLLECT: Duration = Duration::from_millis(10);

/// The state of the protocol.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    client_name: String,
    wanted: KeySet,
    wanted_bytes: usize,
    applied: Arc<Snapshot>,
    /// What was kept of an earlier run; `None` once a server has said something.
    file: Option<Arc<Snapshot>>,
    /// What `applied` took over from the file since it was shown.
    unshown: Option<Changed>,
    /// The stream whose deliveries are applied.
    live: Option<Stream>,
    /// A stream that will take its place.
    joining: Option<Stream>,
    /// A server of the original, while one is followed: then there is neither of the two above.
    original: Option<Original>,
    syncing: Option<Syncing>,
    probing: Option<Probing>,
    has_synced: bool,
    /// Whether the next stream asks for a whole state, because what is followed lacks a write of our own.
    in_doubt: bool,
    /// Before when no further doubt is heard: a server that lags is not asked for everything again and again.
    believed_until: Duration,
    /// When to make contact, or to open a stream beside the live one.
    open_at: Option<Duration>,
    /// Before when no call is made, whatever is watched and left: what failed last is not asked in a loop.
    not_before: Duration,
    servers: Servers,
    /// When the server last confirmed what is shown, and how long it could not ask its store then.
    confirmed: Option<(Duration, Duration)>,
    last_id: StreamId,
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
            file: None,
            unshown: None,
            live: None,
            joining: None,
            original: None,
            syncing: None,
            probing: None,
            has_synced: false,
            in_doubt: false,
            believed_until: Duration::ZERO,
            open_at: None,
            not_before: Duration::ZERO,
            servers: Servers::new(1),
            confirmed: None,
            last_id: 0,
        }
    }

    /// Says that there are so many servers of the same settings, one of which is followed.
    pub fn set_servers(&mut self, count: usize) {
        self.servers = Servers::new(count);
    }

    /// Begins with what was kept of an earlier run, until a server has said something.
    ///
    /// What is watched is shown as the file has it, and its position is the first that is resumed. With the first
    /// complete state all of it is replaced at once: what only the file knows is not known then.
    pub fn begin_with(&mut self, file: Arc<Snapshot>) {
        self.file = Some(file);
    }

    /// Whether no server has said anything yet, and what is shown is from a file, if anything is.
    #[must_use]
    pub fn awaits_server(&self) -> bool {
        self.file.is_some() || !self.applied.knows_anything()
    }

    /// Whether this very key or prefix is asked for.
    #[must_use]
    pub fn wants(&self, key: &Arc<str>) -> bool {
        self.wanted.contains_selector(&Selector::Key(key.clone()))
    }

    /// Whether `key` is asked for, by itself or by a prefix.
    #[must_use]
    pub fn follows(&self, key: &str) -> bool {
        self.wanted.matches(key)
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

    /// When the server last confirmed what is shown, and how long it could not ask its store then. A server of
    /// the original never does.
    #[must_use]
    pub fn confirmed(&self) -> Option<(Duration, Duration)> {
        self.confirmed
    }

    /// Until when what is followed passes for alive; `None` if nothing is followed, or nothing that has to say so.
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
        if let Some(changed) = self.unshown.take_if(|_| !matches!(event, Event::Watched(_))) {
            out.push(Output::Apply(self.applied.clone(), changed));
        }
        // First: a word that lay unread until after the limit revives nothing.
        self.drop_silent(now, random, out);
        match event {
            Event::Watched(entry) => self.watched(now, entry, out),
            Event::Unwatched(entries) => self.unwatched(now, &entries, out),
            Event::Synced(id, answer) => self.synced(now, random, id, answer, out),
            Event::Probed(id, answer) => self.probed(now, random, id, answer, out),
            Event::Opened(id, opening) if self.original.is_some() => {
                self.original_opened(now, random, id, opening, out);
            }
            Event::Opened(id, opening) => self.opened(now, id, opening),
            Event::Received(id, message) if self.original.is_some() => {
                self.original_received(now, random, id, message, out);
            }
            Event::Received(id, message) => self.received(now, random, id, message, out),
            Event::Ended(id, why) if self.original.is_some() => {
                self.original_ended(now, random, id, why, out);
            }
            Event::Ended(id, why) => self.ended(now, random, id, why, out),
            Event::Lost => self.lost(now, random, out),
            Event::Doubted => self.doubted(now),
            Event::Woken => {}
        }
        self.keep_time(now, random, out);
        step.wake_at = if self.unshown.is_some() { Some(now) } else { self.wake_at() };
        step
    }

    /// What a wider entry covers is known, and stays so when the wider one leaves.
    fn watched(&mut self, now: Duration, entry: Selector, out: &mut Vec<Output>) {
        if self.wanted.insert(entry.clone()) {
            self.wanted_bytes += entry.as_str().len();
        }
        if self.original.is_some() {
            return self.original_watched(now, &entry, out);
        }
        self.take_from_file(&entry);
        Arc::make_mut(&mut self.applied).cover_included(&entry);
        for stream in [&mut self.live, &mut self.joining].into_iter().flatten() {
            stream.cover_included(&entry);
        }
        if let Some(syncing) = self.syncing.as_mut().filter(|syncing| syncing.keys.includes(&entry)) {
            syncing.keys.insert(entry);
        }
        self.plan_join(now + COLLECT);
    }

    /// Many keys are watched one after the other: what the file has of them is shown in the step after.
    fn take_from_file(&mut self, entry: &Selector) {
        let Some(file) = &self.file else { return };
        let applied = Arc::make_mut(&mut self.applied);
        applied.take_from_file(file, entry);
        if !applied.covered().includes(entry) {
            return;
        }
        match (&mut self.unshown, entry) {
            (None, Selector::Key(key)) => self.unshown = Some(Changed::Keys(vec![key.clone()])),
            (Some(Changed::Keys(keys)), Selector::Key(key)) => keys.push(key.clone()),
            // Keys that the prefix covers from now on may be watched already.
            (unshown, Selector::Prefix(_)) => *unshown = Some(Changed::All),
            (Some(Changed::All), Selector::Key(_)) => {}
        }
    }

    /// A key that nobody watches leaves what is shown at once. Only the next request leaves it out.
    fn unwatched(&mut self, now: Duration, entries: &[Selector], out: &mut Vec<Output>) {
        for entry in entries {
            if self.wanted.remove(entry) {
                self.wanted_bytes -= entry.as_str().len();
            }
        }
        if self.wanted.is_empty() {
            return self.rest(now, out);
        }
        if self.original.is_some() {
            return self.original_unwatched(entries, out);
        }
        let mut applied = Snapshot::clone(&self.applied);
        for entry in entries {
            for stream in [&mut self.live, &mut self.joining].into_iter().flatten() {
                stream.uncover(entry);
            }
            if let Some(syncing) = &mut self.syncing {
                syncing.keys.remove(entry);
            }
            applied.uncover(entry);
        }
        self.apply(applied, Changed::Keys(Vec::new()), out);
    }

    /// A client that watches nothing knows nothing, and has no stream, but for those to a server of the original:
    /// there each one left costs for ever. Only a connection that has just been seen to work is good for first contact again.
    fn rest(&mut self, now: Duration, out: &mut Vec<Output>) {
        if let Some(live) = self.live.take() {
            self.credit(now, &live);
            out.push(Output::Close(live.id));
            self.has_synced = false;
        }
        let joining = self.joining.take().map(|stream| stream.id);
        // It was opened after an answer, or beside a live one.
        self.has_synced &= joining.is_none();
        let syncing = self.syncing.take().map(|syncing| syncing.id);
        let probing = self.probing.take().map(|probing| probing.id);
        out.extend(joining.into_iter().chain(syncing).chain(probing).map(Output::Close));
        self.open_at = None;
        self.in_doubt = false;
        self.confirmed = None;
        self.apply(Snapshot::default(), Changed::All, out);
        out.push(Output::Link(Link::Idle));
    }

    /// All calls are lost, whoever they were to.
    fn lost(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        self.syncing = None;
        self.probing = None;
        let streams = [self.live.as_ref(), self.joining.as_ref()].into_iter().flatten();
        let ids: Vec<_> = streams.map(|stream| stream.id).collect();
        ids.into_iter().for_each(|id| self.ended(now, random, id, Disconnect::Interrupted, out));
        if self.original.is_some() {
            self.leave_original(now, random, Disconnect::Interrupted, out);
        }
        if !self.wanted.is_empty() && self.open_at.is_none() {
            self.open_at = Some(now.max(self.not_before));
        }
    }

    /// Nothing is followed any more, or could be: the next attempt is made after a wait.
    fn retreat(&mut self, now: Duration, random: f64, why: Disconnect, out: &mut Vec<Output>) {
        self.not_before = self.servers.lost(now, &why, random);
        out.push(Output::Link(Link::Lost(Arc::new(why))));
        self.open_at = Some(self.not_before);
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        self.drop_late(now, random, out);
        self.drop_behind(now, random, out);
        self.ask_again(now, out);
        if self.open_at.take_if(|at| now >= *at).is_some() {
            self.open(now, out);
        }
    }

    fn wake_at(&self) -> Option<Duration> {
        let streams = [&self.live, &self.joining].into_iter().flatten();
        let silent = streams.map(|stream| stream.silent_at(&self.limits));
        let syncing = self.syncing.as_ref().map(|syncing| syncing.until);
        let probing = self.probing.as_ref().map(|probing| probing.until);
        let again = self.original.as_ref().and_then(Original::next_due);
        silent.chain(syncing).chain(probing).chain(again).chain(self.open_at).min()
    }

    /// Opens a stream beside the live one; without one it makes contact, because the server may be another. A file
    /// with a position makes it a reconnect.
    fn open(&mut self, now: Duration, out: &mut Vec<Output>) {
        if !self.has_synced && self.applied.position().is_some() {
            self.has_synced = true;
            out.push(Output::Link(Link::Connecting));
        }
        if !self.has_synced {
            self.sync(now, out);
        } else if self.live.is_some() {
            self.subscribe(now, out);
        } else {
            self.probe(now, true, out);
        }
    }

    fn apply(&mut self, snapshot: Snapshot, changed: Changed, out: &mut Vec<Output>) {
        self.applied = Arc::new(snapshot);
        out.push(Output::Apply(self.applied.clone(), changed));
    }

    fn next_id(&mut self) -> StreamId {
        self.last_id += 1;
        self.last_id
    }
}

fn texts(entries: &KeySet) -> Vec<String> {
    entries.iter().map(|entry| entry.as_str().to_owned()).collect()
}
