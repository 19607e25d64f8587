//! One subscription stream, as the session sees it: what its deliveries add up to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream::position::Position;
use datastream::proto::{self, DataResponse, Phase};

use super::StreamId;
use crate::config::Limits;
use crate::error::Disconnect;
use crate::snapshot::Snapshot;
use crate::wire;

/// How long the parts of one delivery may keep coming. What takes longer never ends.
const LONGEST_DELIVERY: Duration = Duration::from_secs(600);

/// A stream that was asked for. Its draft is what the client will hold when the stream is, or becomes, the
/// applied one; so a stream that joins never mixes with what another one brings meanwhile.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    draft: Snapshot,
    delivery: Option<Delivery>,
    resumes: bool,
    /// When it was asked for, or when it last said something.
    heard: Duration,
    /// How long it may be silent; `None` while its headers are to come, and if they name no heartbeats.
    idle_limit: Option<Duration>,
    /// When its first delivery was complete.
    pub(super) complete: Option<Duration>,
    /// When the server confirmed the draft, and how long it could not ask its store then.
    confirmed: (Duration, Duration),
}

/// A delivery of which the last message has not come yet. Nobody sees it.
#[derive(Debug)]
struct Delivery {
    phase: Phase,
    began: Duration,
    draft: Snapshot,
    /// A set: what a server repeats for ever takes no more room than what it may say once.
    changed: BTreeSet<Arc<str>>,
    /// The highest revision of its entries.
    newest: u64,
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
type Violation = &'static str;

/// Reads the answer to `Sync` as a whole state of `keys`, with the age of its source. `None` if it is none.
pub(super) fn first_state(
    keys: KeySet,
    answer: DataResponse,
    limits: &Limits,
) -> Option<(Snapshot, Duration)> {
    let mut stream = Stream::new(0, Snapshot::default(), Duration::ZERO);
    stream.draft.set_covered(keys);
    let state = DataResponse { phase: Phase::State.into(), more: false, ..answer };
    match stream.receive(Duration::ZERO, state, limits) {
        Ok(Heard::Delivery(..)) => Some((stream.draft, stream.confirmed.1)),
        _ => None,
    }
}

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
            confirmed: (now, Duration::ZERO),
        }
    }

    /// What its complete deliveries add up to.
    pub(super) fn draft(&self) -> &Snapshot {
        &self.draft
    }

    /// When the server confirmed the draft, and how long it could not ask its store then.
    pub(super) fn confirmed(&self) -> (Duration, Duration) {
        self.confirmed
    }

    /// When it is dead, if it says nothing until then.
    pub(super) fn silent_at(&self, limits: &Limits) -> Duration {
        let limit = match (self.idle_limit, self.complete) {
            (None, Some(_)) => Duration::MAX,
            (Some(idle), Some(_)) => idle,
            // The headers, or the first delivery, are still to come.
            (idle, None) => idle.unwrap_or_default().max(limits.first_message),
        };
        let endless =
            self.delivery.as_ref().map_or(Duration::MAX, |delivery| delivery.began + LONGEST_DELIVERY);
        self.heard.saturating_add(limit).min(endless)
    }

    /// Notes that its headers came.
    pub(super) fn open(&mut self, now: Duration, idle_limit: Option<Duration>) {
        self.heard = now;
        self.idle_limit = idle_limit;
    }

    /// Follows an entry that others include already as one of its own.
    pub(super) fn cover_included(&mut self, entry: &Selector) {
        self.draft.cover_included(entry);
        if let Some(delivery) = &mut self.delivery {
            delivery.draft.cover_included(entry);
        }
    }

    /// Stops following an entry, although the server goes on sending it.
    pub(super) fn uncover(&mut self, entry: &Selector) {
        self.draft.uncover(entry);
        if let Some(delivery) = &mut self.delivery {
            delivery.draft.uncover(entry);
        }
    }

    /// Takes in a message. After an error the stream is to be dropped, and its draft is not to be shown.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        message: DataResponse,
        limits: &Limits,
    ) -> Result<Heard, Disconnect> {
        let heard = self.hear(now, message).map_err(Disconnect::Violation)?;
        let held = self.delivery.as_ref().map_or(&self.draft, |delivery| &delivery.draft);
        if held.bytes() > limits.state_bytes {
            return Err(Disconnect::TooLarge { limit: limits.state_bytes });
        }
        Ok(heard)
    }

    fn hear(&mut self, now: Duration, message: DataResponse) -> Result<Heard, Violation> {
        self.heard = now;
        match message.phase() {
            Phase::Heartbeat => self.heartbeat(now, message),
            Phase::Drain => Ok(Heard::Drain(read_duration(message.delay))),
            Phase::Unspecified => Err("the server does not speak the additions to the contract"),
            phase => self.part(now, phase, message),
        }
    }

    fn heartbeat(&mut self, now: Duration, message: DataResponse) -> Result<Heard, Violation> {
        if self.delivery.is_some() || self.complete.is_none() {
            return Err("a heartbeat came inside a delivery");
        }
        let position = read_position(message.position)?;
        self.check_follows(&position)?;
        self.draft.set_position(position);
        self.confirmed = (now, read_duration(message.source_age));
        Ok(Heard::Heartbeat)
    }

    /// Takes one message of a delivery. The draft changes with the last one.
    fn part(&mut self, now: Duration, phase: Phase, message: DataResponse) -> Result<Heard, Violation> {
        let mut delivery = match self.delivery.take() {
            Some(delivery) if delivery.phase == phase => delivery,
            Some(_) => return Err("a delivery changed its phase"),
            None => self.begin(now, phase)?,
        };
        // A change is newer than what the stream stands at; what is not came before.
        let after = (phase == Phase::Change).then(|| self.draft.revision());
        let newest = delivery.draft.merge(message.data, after, &mut delivery.changed);
        delivery.newest = delivery.newest.max(newest);
        if message.more {
            self.delivery = Some(delivery);
            return Ok(Heard::Part);
        }
        let position = read_position(message.position)?;
        if delivery.newest > position.revision {
            return Err("a value is newer than its delivery");
        }
        if !is_whole(phase) {
            self.check_follows(&position)?;
        }
        self.draft = delivery.draft;
        self.draft.set_position(position);
        if phase != Phase::Change {
            self.draft.set_denied(message.denied);
        }
        self.complete.get_or_insert(now);
        // While it came, the server had something newer perhaps.
        self.confirmed = (delivery.began, read_duration(message.source_age));
        Ok(Heard::Delivery(phase, delivery.changed.into_iter().collect()))
    }

    /// Only a reset lowers the revision or changes the history, of which a token at a revision tells.
    fn check_follows(&self, position: &Position) -> Result<(), Violation> {
        match self.draft.position() {
            Some(held) if position.revision < held.revision => {
                Err("the revision was lowered without a reset")
            }
            Some(held) if position.revision == held.revision && position.token != held.token => {
                Err("the history was changed without a reset")
            }
            _ => Ok(()),
        }
    }

    fn begin(&self, now: Duration, phase: Phase) -> Result<Delivery, Violation> {
        let is_first = self.complete.is_none();
        let mut draft = self.draft.clone();
        match phase {
            Phase::Change if !is_first => {}
            Phase::Resume if is_first && self.resumes => {}
            Phase::State if is_first && !self.resumes => draft.clear(),
            Phase::Reset => draft.clear(),
            _ => return Err("a delivery came that does not fit the request"),
        }
        Ok(Delivery { phase, began: now, draft, changed: BTreeSet::new(), newest: 0 })
    }
}

const fn is_whole(phase: Phase) -> bool {
    matches!(phase, Phase::State | Phase::Reset)
}

/// One that makes no sense counts as none.
fn read_duration(duration: Option<prost_types::Duration>) -> Duration {
    duration.and_then(wire::read_duration).unwrap_or_default()
}

fn read_position(position: Option<proto::Position>) -> Result<Position, Violation> {
    let position = position.ok_or("a delivery ended without a position")?;
    Position::from_proto(position).ok().flatten().ok_or("a position was malformed")
}
