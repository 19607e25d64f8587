//! A session with a clock, and the words to speak with it.

use std::time::Duration;

use bytes::Bytes;
use datastream::key::Selector;
use datastream::proto::{Data, DataRequest, DataResponse, Phase, Position};

use crate::config::Limits;
use crate::error::Disconnect;
use crate::session::{Answer, Changed, Event, Input, Link, Opening, Output, Session, StreamId};
use crate::status::Peer;

/// A session, its clock, and when it wants to be woken. Its randomness is always the longest wait.
pub(super) struct Machine {
    pub(super) session: Session,
    pub(super) now: Duration,
    pub(super) wake_at: Option<Duration>,
    /// What each probe is answered at once; `None`: the test answers.
    pub(super) answers: Option<Peer>,
}

/// A call of `Subscribe`.
pub(super) struct Open {
    pub(super) id: StreamId,
    pub(super) request: DataRequest,
}

impl Machine {
    pub(super) fn new(limits: Limits) -> Self {
        let session = Session::new(limits, "test".to_owned());
        Self { session, now: Duration::ZERO, wake_at: None, answers: Some(Peer::Current) }
    }

    /// One that watches keys, and has made no call yet.
    pub(super) fn watching<const N: usize>(keys: [&str; N]) -> Self {
        let mut machine = Self::new(Limits::default());
        keys.into_iter().for_each(|key| drop(machine.watch(key)));
        machine
    }

    /// One that follows keys, of which `a` is `1`, at revision 5, with heartbeats each 5 s; and its stream.
    pub(super) fn live<const N: usize>(keys: [&str; N]) -> (Self, StreamId) {
        Self::live_with(keys, Limits::default())
    }

    pub(super) fn live_with<const N: usize>(keys: [&str; N], limits: Limits) -> (Self, StreamId) {
        let mut machine = Self::new(limits);
        keys.into_iter().for_each(|key| drop(machine.watch(key)));
        let (sync, _) = machine.wait(10).sync().expect("Sync is called");
        let id = machine.synced(sync, Ok(state(5, [("a", 3, "1")]))).open().expect("Subscribe is called").id;
        machine.step(Event::Opened(id, heartbeats(5_000)));
        machine.step(Event::Received(id, resume(5, [])));
        (machine, id)
    }

    pub(super) fn step(&mut self, event: Event) -> Vec<Output> {
        let step = self.session.step(Input { now: self.now, random: 1.0, event });
        self.wake_at = step.wake_at;
        let mut outputs = step.outputs;
        if let (Some((probe, _)), Some(peer)) = (outputs.probe(), self.answers) {
            outputs.append(&mut self.step(Event::Probed(probe, Ok(peer))));
        }
        outputs
    }

    /// `Sync` is answered by a server of this project if it is answered well; a failure proves nothing.
    pub(super) fn synced(&mut self, id: StreamId, state: Result<DataResponse, Disconnect>) -> Vec<Output> {
        self.step(Event::Synced(id, Answer { is_current: state.is_ok(), state }))
    }

    /// Lets time pass, waking the session only when it asked for it.
    pub(super) fn wait(&mut self, millis: u64) -> Vec<Output> {
        let until = self.now + Duration::from_millis(millis);
        let mut outputs = Vec::new();
        let mut at_once = 0;
        while let Some(at) = self.wake_at.filter(|at| *at <= until) {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            let goes_on = at_once == 0 || (outputs.is_empty() && at_once < 10);
            assert!(goes_on, "it wakes without end at {at:?}");
            self.now = self.now.max(at);
            outputs.append(&mut self.step(Event::Woken));
        }
        self.now = until;
        outputs
    }

    pub(super) fn watch(&mut self, entry: &str) -> Vec<Output> {
        self.step(Event::Watched(selector(entry)))
    }

    pub(super) fn unwatch(&mut self, entry: &str) -> Vec<Output> {
        self.step(Event::Unwatched(vec![selector(entry)]))
    }

    /// What it shows, in order.
    pub(super) fn shown(&self) -> Vec<(&str, &str)> {
        let snapshot = self.session.applied();
        let text = |key| snapshot.text(key).map(|(text, _)| std::str::from_utf8(text).expect("text"));
        snapshot.keys().filter_map(|key| Some((key, text(key)?))).collect()
    }

    pub(super) fn revision(&self) -> u64 {
        self.session.applied().position().expect("a position").revision
    }
}

/// What a step put out.
pub(super) trait Outputs {
    fn sync(&self) -> Option<(StreamId, DataRequest)>;
    /// The probe, and whether it is on a new connection.
    fn probe(&self) -> Option<(StreamId, bool)>;
    fn open(&self) -> Option<Open>;
    /// The streams that are opened, each with the keys that it asks for.
    fn opens(&self) -> Vec<Open>;
    fn closed(&self) -> Vec<StreamId>;
    fn link(&self) -> Option<&Link>;
    fn applied(&self) -> Option<&Changed>;
    /// The calls of all kinds.
    fn calls(&self) -> Vec<StreamId>;
}

impl Outputs for Vec<Output> {
    fn sync(&self) -> Option<(StreamId, DataRequest)> {
        self.iter().find_map(|output| match output {
            Output::Sync(id, request) => Some((*id, request.clone())),
            _ => None,
        })
    }

    fn probe(&self) -> Option<(StreamId, bool)> {
        self.iter().find_map(|output| match output {
            Output::Probe { id, reconnect } => Some((*id, reconnect.is_some())),
            _ => None,
        })
    }

    fn open(&self) -> Option<Open> {
        self.opens().into_iter().next()
    }

    fn opens(&self) -> Vec<Open> {
        let open = |output: &Output| match output {
            Output::Open { id, request } => Some(Open { id: *id, request: request.clone() }),
            _ => None,
        };
        self.iter().filter_map(open).collect()
    }

    fn closed(&self) -> Vec<StreamId> {
        let id = |output: &Output| if let Output::Close(id) = output { Some(*id) } else { None };
        self.iter().filter_map(id).collect()
    }

    fn link(&self) -> Option<&Link> {
        self.iter().rev().find_map(|output| if let Output::Link(link) = output { Some(link) } else { None })
    }

    fn applied(&self) -> Option<&Changed> {
        self.iter()
            .find_map(|output| if let Output::Apply(_, changed) = output { Some(changed) } else { None })
    }

    fn calls(&self) -> Vec<StreamId> {
        let id = |output: &Output| match output {
            Output::Sync(id, _) | Output::Probe { id, .. } | Output::Open { id, .. } => Some(*id),
            _ => None,
        };
        self.iter().filter_map(id).collect()
    }
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn heartbeats(every: u64) -> Opening {
    Opening { is_current: true, heartbeat: Some(millis(every)) }
}

/// A message with entries of key, revision and text.
pub(super) fn message<const N: usize>(
    phase: Phase,
    revision: Option<u64>,
    entries: [(&str, u64, &str); N],
) -> DataResponse {
    let entry = |(key, revision, text): (&str, u64, &str)| {
        let value = Bytes::copy_from_slice(text.as_bytes());
        let value_type = "string".to_owned();
        (key.to_owned(), Data { key: key.to_owned(), value, value_type, revision, ..Data::default() })
    };
    DataResponse {
        data: entries.into_iter().map(entry).collect(),
        position: revision.map(|revision| Position { revision, token: Bytes::from_static(b"here") }),
        phase: phase.into(),
        ..DataResponse::default()
    }
}

pub(super) fn state<const N: usize>(revision: u64, entries: [(&str, u64, &str); N]) -> DataResponse {
    message(Phase::State, Some(revision), entries)
}

pub(super) fn reset<const N: usize>(revision: u64, entries: [(&str, u64, &str); N]) -> DataResponse {
    message(Phase::Reset, Some(revision), entries)
}

pub(super) fn resume<const N: usize>(revision: u64, entries: [(&str, u64, &str); N]) -> DataResponse {
    message(Phase::Resume, Some(revision), entries)
}

pub(super) fn change<const N: usize>(revision: u64, entries: [(&str, u64, &str); N]) -> DataResponse {
    message(Phase::Change, Some(revision), entries)
}

pub(super) fn heartbeat(revision: u64) -> DataResponse {
    message(Phase::Heartbeat, Some(revision), [])
}

/// The message, with a tombstone added.
pub(super) fn deleted(mut message: DataResponse, key: &str, revision: u64) -> DataResponse {
    let tombstone = Data { key: key.to_owned(), revision, deleted: true, ..Data::default() };
    message.data.insert(key.to_owned(), tombstone);
    message
}

/// The message, of another history.
pub(super) fn elsewhere(mut message: DataResponse) -> DataResponse {
    if let Some(position) = &mut message.position {
        position.token = Bytes::from_static(b"elsewhere");
    }
    message
}

fn selector(entry: &str) -> Selector {
    Selector::parse(entry).expect("a key or a prefix")
}
