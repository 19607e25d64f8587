//! One subscription stream, as the session sees it: what its deliveries add up to.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::Selector;
use datastream::position::Position;
use datastream::proto::{self, DataResponse, Phase};

use super::StreamId;
use crate::snapshot::Snapshot;

/// A stream that was asked for. Its draft is what the client will hold when the stream is, or becomes, the
/// applied one; so a stream that joins never mixes with what another one brings meanwhile.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    draft: Snapshot,
    delivery: Option<Delivery>,
    resumes: bool,
    /// When it was asked for, or when it last said something.
    pub(super) heard: Duration,
    /// How long it may be silent; `None` before its headers came.
    pub(super) idle_limit: Option<Duration>,
    /// When its first delivery was complete.
    pub(super) complete: Option<Duration>,
    /// How long the server could not ask its store, as of `heard`.
    pub(super) source_age: Duration,
}

/// A delivery of which the last message has not come yet. Nobody sees it.
#[derive(Debug)]
struct Delivery {
    phase: Phase,
    draft: Snapshot,
    changed: Vec<Arc<str>>,
}

/// What a message meant.
#[derive(Debug)]
pub(super) enum Heard {
    /// A part of a delivery.
    Part,
    /// The end of a delivery: the draft is at a new position, with these keys changed.
    Delivery(Phase, Vec<Arc<str>>),
    /// A heartbeat: the draft is at a new position, and nothing else.
    Heartbeat,
    /// The server goes away.
    Drain(Duration),
}

/// A rule of the contract that the server broke.
pub(super) type Violation = &'static str;

impl Stream {
    /// A stream that continues `draft`, if that has a position.
    pub(super) fn new(id: StreamId, draft: Snapshot, now: Duration) -> Self {
        Self {
            id,
            resumes: draft.position().is_some(),
            draft,
            delivery: None,
            heard: now,
            idle_limit: None,
            complete: None,
            source_age: Duration::ZERO,
        }
    }

    /// What its complete deliveries add up to.
    pub(super) fn draft(&self) -> &Snapshot {
        &self.draft
    }

    /// Follows an entry by itself, if a wider one is followed that includes it.
    pub(super) fn cover(&mut self, entry: &Selector) {
        self.draft.cover(entry);
        if let Some(delivery) = &mut self.delivery {
            delivery.draft.cover(entry);
        }
    }

    /// Stops following an entry, although the server goes on sending it.
    pub(super) fn uncover(&mut self, entry: &Selector) {
        self.draft.uncover(entry);
        if let Some(delivery) = &mut self.delivery {
            delivery.draft.uncover(entry);
        }
    }

    pub(super) fn receive(&mut self, now: Duration, message: DataResponse) -> Result<Heard, Violation> {
        self.heard = now;
        let age = message.source_age.and_then(|age| age.try_into().ok());
        self.source_age = age.unwrap_or_default();
        match message.phase() {
            Phase::Heartbeat => self.heartbeat(message.position),
            Phase::Drain => {
                let delay = message.delay.and_then(|delay| delay.try_into().ok());
                Ok(Heard::Drain(delay.unwrap_or_default()))
            }
            Phase::Unspecified => Err("the server does not speak the additions to the contract"),
            phase => self.part(now, phase, message),
        }
    }

    fn heartbeat(&mut self, position: Option<proto::Position>) -> Result<Heard, Violation> {
        if self.delivery.is_some() || self.complete.is_none() {
            return Err("a heartbeat came inside a delivery");
        }
        let position = read_position(position)?;
        if position.revision < self.draft.revision() {
            return Err("a heartbeat lowered the revision");
        }
        self.draft.set_position(position);
        Ok(Heard::Heartbeat)
    }

    /// Takes one message of a delivery. The draft changes with the last one.
    fn part(&mut self, now: Duration, phase: Phase, message: DataResponse) -> Result<Heard, Violation> {
        let mut delivery = match self.delivery.take() {
            Some(delivery) if delivery.phase == phase => delivery,
            Some(_) => return Err("a delivery changed its phase"),
            None => self.begin(phase)?,
        };
        delivery.draft.merge(message.data, &mut delivery.changed);
        if message.more {
            self.delivery = Some(delivery);
            return Ok(Heard::Part);
        }
        let position = read_position(message.position)?;
        let is_whole = matches!(phase, Phase::State | Phase::Reset);
        if !is_whole && position.revision < self.draft.revision() {
            return Err("a delivery lowered the revision");
        }
        self.draft = delivery.draft;
        self.draft.set_position(position);
        if phase != Phase::Change {
            self.draft.set_denied(message.denied);
        }
        self.complete.get_or_insert(now);
        Ok(Heard::Delivery(phase, delivery.changed))
    }

    fn begin(&self, phase: Phase) -> Result<Delivery, Violation> {
        let is_first = self.complete.is_none();
        let mut draft = self.draft.clone();
        match phase {
            Phase::Change if !is_first => {}
            Phase::Resume if is_first && self.resumes => {}
            Phase::State if is_first && !self.resumes => draft.clear(),
            Phase::Reset => draft.clear(),
            _ => return Err("a delivery came that does not fit the request"),
        }
        Ok(Delivery { phase, draft, changed: Vec::new() })
    }
}

fn read_position(position: Option<proto::Position>) -> Result<Position, Violation> {
    let position = position.ok_or("a delivery ended without a position")?;
    Position::from_proto(position).ok().flatten().ok_or("a position was malformed")
}
