//! Following a server of the original: one stream for each entry.
//!
//! The Go project that the contract is from answers a `Subscribe` of one entry only, sends no headers before the
//! first message, and knows neither positions nor deletions nor heartbeats. Each stream that it was asked for goes on
//! to cost it a busy loop after it was left. So a stream is opened once for each entry, waited for without a limit,
//! and kept while its handles come and go; each message is a delivery of its own. What was not answered is not
//! covered: such a server cannot say that a key does not exist.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream::limit;
use datastream::proto::{Data, DataRequest, DataResponse};

use super::{Changed, Link, Opening, Output, Session, StreamId};
use crate::error::Disconnect;
use crate::retry::{HEALTHY, Pace};
use crate::snapshot::{Held, Snapshot, size};
use crate::status::Peer;

/// What is followed of one life of a server. It is over when no stream is left.
#[derive(Debug, Default)]
pub(super) struct Original {
    /// What was asked for, whether or not somebody still wants it.
    entries: BTreeMap<Selector, Entry>,
    streams: HashMap<StreamId, Selector>,
    /// When the entries whose stream ended are asked for again.
    waiting: BTreeMap<Selector, Duration>,
    /// When the first message of all came.
    answered: Option<Duration>,
    /// What the values of the entries take.
    bytes: usize,
}

/// Values, by their keys.
type Values = Vec<(Arc<str>, Arc<Held>)>;

/// One entry that was asked for.
#[derive(Debug, Default)]
struct Entry {
    /// What was said of its keys last: to show when it is watched again.
    values: BTreeMap<Arc<str>, Arc<Held>>,
    /// What these take.
    bytes: usize,
    /// When its stream said something first; `None` while it did not, and when it ended.
    answered: Option<Duration>,
    pace: Pace,
}

impl Original {
    /// When the next entry is to be asked for again.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.values().min().copied()
    }

    fn take_due(&mut self, now: Duration) -> Vec<Selector> {
        let due = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(entry, _)| entry.clone()).collect();
        self.waiting.retain(|_, at| *at > now);
        due
    }

    /// Takes in what a stream said of the keys of its entry.
    fn receive(
        &mut self,
        now: Duration,
        id: StreamId,
        data: HashMap<String, Data>,
    ) -> Option<(Selector, Values)> {
        let selector = self.streams.get(&id)?.clone();
        let entry = self.entries.entry(selector.clone()).or_default();
        entry.answered.get_or_insert(now);
        self.answered.get_or_insert(now);
        let ours = data.into_iter().filter(|(key, _)| selector.matches(key));
        let values: Values =
            ours.map(|(key, data)| (Arc::from(key), Arc::new(Held::unordered(data)))).collect();
        let before = entry.bytes;
        values.iter().cloned().for_each(|(key, held)| entry.take_in(key, held));
        self.bytes = self.bytes + entry.bytes - before;
        Some((selector, values))
    }

    /// Waits before an entry whose stream ended is asked for again.
    fn wait(&mut self, now: Duration, random: f64, selector: &Selector, why: &Disconnect) {
        let entry = self.entries.entry(selector.clone()).or_default();
        if is_healthy(entry.answered.take(), now) {
            entry.pace.reset();
        }
        self.waiting.insert(selector.clone(), now + entry.pace.next(why, random));
    }

    /// Makes room for one more entry: only what nobody wants is given up. Returns the stream to close.
    fn make_room(&mut self, wanted: &KeySet) -> Option<StreamId> {
        if self.entries.len() < limit::KEYS {
            return None;
        }
        let unwanted = self.entries.keys().find(|entry| !wanted.contains_selector(entry))?.clone();
        self.forget(&unwanted);
        let id = *self.streams.iter().find(|(_, entry)| **entry == unwanted)?.0;
        self.streams.remove(&id);
        Some(id)
    }

    fn forget(&mut self, entry: &Selector) {
        self.bytes -= self.entries.remove(entry).map_or(0, |entry| entry.bytes);
        self.waiting.remove(entry);
    }
}

impl Entry {
    fn take_in(&mut self, key: Arc<str>, held: Arc<Held>) {
        self.bytes += size(&key, &held);
        let replaced = self.values.insert(key.clone(), held);
        self.bytes -= replaced.map_or(0, |held| size(&key, &held));
    }
}

impl Session {
    /// Asks for each entry that is wanted. What is shown stays until something else is said of it.
    pub(super) fn follow_original(&mut self, now: Duration, out: &mut Vec<Output>) {
        let mut applied = Snapshot::clone(&self.applied);
        // What was confirmed before is no younger for following another server.
        let confirmed = self.confirmed.map(|(at, source_age)| at.saturating_sub(source_age));
        applied.leave_history(confirmed.unwrap_or(now), &self.wanted);
        self.confirmed = None;
        self.original = Some(Original::default());
        self.file = None;
        self.apply(applied, Changed::Keys(Vec::new()), out);
        out.push(Output::Link(Link::Live(Peer::Original)));
        let wanted: Vec<_> = self.wanted.iter().cloned().collect();
        wanted.iter().for_each(|entry| self.ask(entry, out));
    }

    /// Asks for an entry, as a client of the original does: only of itself, and without our additions.
    fn ask(&mut self, entry: &Selector, out: &mut Vec<Output>) {
        let id = self.next_id();
        let Some(original) = &mut self.original else { return };
        original.entries.entry(entry.clone()).or_default();
        original.streams.insert(id, entry.clone());
        let request = DataRequest { keys: vec![entry.as_str().to_owned()], ..DataRequest::default() };
        out.push(Output::Open { id, request });
    }

    /// Asks again for the entries that have waited, if somebody still wants them.
    pub(super) fn ask_again(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(original) = &mut self.original else { return };
        for entry in original.take_due(now) {
            if self.wanted.contains_selector(&entry) {
                self.ask(&entry, out);
            } else if let Some(original) = &mut self.original {
                original.forget(&entry);
            }
        }
    }

    /// What was asked for before is not asked for again: its last values are shown.
    pub(super) fn original_watched(&mut self, now: Duration, entry: &Selector, out: &mut Vec<Output>) {
        let Some(original) = &mut self.original else { return };
        if self.wanted.len() == 1 {
            out.push(Output::Link(Link::Live(Peer::Original)));
        }
        let Some(known) = original.entries.get(entry) else {
            out.extend(original.make_room(&self.wanted).map(Output::Close));
            return self.ask(entry, out);
        };
        let mut applied = Snapshot::clone(&self.applied);
        for (key, held) in known.values.iter().filter(|(key, _)| !self.applied.covers(key)) {
            applied.take_in(key, held);
        }
        if known.answered.is_none() {
            applied.interrupt(now, entry);
        }
        let changed = known.values.keys().cloned().collect();
        self.apply(applied, Changed::Keys(changed), out);
    }

    /// Hides what nobody wants any more. Its stream goes on.
    pub(super) fn original_unwatched(&mut self, entries: &[Selector], out: &mut Vec<Output>) {
        let mut applied = Snapshot::clone(&self.applied);
        entries.iter().for_each(|entry| _ = applied.continue_with(entry));
        let hidden = applied.covered().iter().filter(|key| !self.wanted.includes(key));
        for key in hidden.cloned().collect::<Vec<_>>() {
            applied.uncover(&key);
        }
        self.apply(applied, Changed::Keys(Vec::new()), out);
    }

    /// Headers that name our protocol: the connection was made anew, and somebody else answers.
    pub(super) fn original_opened(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        opening: Opening,
        out: &mut Vec<Output>,
    ) {
        let is_open = self.original.as_ref().is_some_and(|original| original.streams.contains_key(&id));
        if is_open && opening.is_current {
            let why = "another server answers than the one that was recognised";
            self.leave_original(now, random, Disconnect::Violation(why), out);
        }
    }

    pub(super) fn original_received(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        message: DataResponse,
        out: &mut Vec<Output>,
    ) {
        let limit = self.limits.state_bytes;
        let Some(original) = &mut self.original else { return };
        let Some((entry, values)) = original.receive(now, id, message.data) else { return };
        if original.bytes > limit {
            return self.leave_original(now, random, Disconnect::TooLarge { limit }, out);
        }
        let mut applied = Snapshot::clone(&self.applied);
        let mut changed = Vec::new();
        for (key, held) in values.into_iter().filter(|(key, _)| self.wanted.matches(key)) {
            applied.take_in(&key, &held);
            changed.push(key);
        }
        let was_last = applied.continue_with(&entry) && !applied.is_interrupted();
        self.apply(applied, Changed::Keys(changed), out);
        if was_last {
            out.push(Output::Link(Link::Live(Peer::Original)));
        }
    }

    /// Others of the same server live on: only this entry is asked for again.
    pub(super) fn original_ended(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        why: Disconnect,
        out: &mut Vec<Output>,
    ) {
        let Some(original) = &mut self.original else { return };
        let Some(entry) = original.streams.remove(&id) else { return };
        if original.streams.is_empty() {
            return self.leave_original(now, random, why, out);
        }
        if !self.wanted.contains_selector(&entry) {
            return original.forget(&entry);
        }
        original.wait(now, random, &entry, &why);
        let mut applied = Snapshot::clone(&self.applied);
        applied.interrupt(now, &entry);
        self.apply(applied, Changed::Keys(Vec::new()), out);
        out.push(Output::Trouble(Arc::new(why)));
    }

    /// Drops all streams. Who is there then is another question.
    pub(super) fn leave_original(
        &mut self,
        now: Duration,
        random: f64,
        why: Disconnect,
        out: &mut Vec<Output>,
    ) {
        let Some(original) = self.original.take() else { return };
        out.extend(original.streams.into_keys().map(Output::Close));
        if is_healthy(original.answered, now) {
            self.servers.credit();
        }
        if !self.wanted.is_empty() {
            self.retreat(now, random, why, out);
        }
    }
}

fn is_healthy(answered: Option<Duration>, now: Duration) -> bool {
    answered.is_some_and(|answered| now >= answered + HEALTHY)
}
