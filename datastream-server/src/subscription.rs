//! A subscriber: a cursor on the state.
//!
//! A [`Subscription`] holds what a client watches and up to which position it was sent everything. What it is
//! owed is the range after that cursor, so there is no queue of values anywhere: a slow client gets the latest
//! value of each key, and one that comes back resumes where it was. It is a pure machine: it is told the time,
//! the state and whether it was touched, and answers with a message or with how long to wait.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use datastream::key::KeySet;
use datastream::position::Position;
use datastream::proto::Phase;

use crate::delivery::Delivery;
use crate::frame::{self, Frame};
use crate::state::{Standing, State};

/// What a delivery of changes brings whole. One for all: there are very many subscriptions.
static NOTHING: LazyLock<Arc<KeySet>> = LazyLock::new(Arc::default);

/// What a client asked for, checked.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it watches.
    pub keys: Arc<KeySet>,
    /// Those of `keys` that `resume` says nothing of.
    pub fresh: Arc<KeySet>,
    /// Where it stands; `None` asks for a state.
    pub resume: Option<Position>,
    /// Whether it understands the additions to the contract.
    pub announced: bool,
}

/// What the rules of time and size are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long an announced client goes without a message before it gets a heartbeat.
    pub heartbeat: Duration,
    /// Up to how many bytes of entries one message joins: [`frame::JOIN_BYTES`], less where a test wants many. For an
    /// announced client it is never more than [`frame::PART_BYTES`].
    pub join_bytes: usize,
}

/// What a subscription is told.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Time since the start of the server.
    pub now: Duration,
    /// The newest state. It is to be read *before* `touched`, as `Registration::read` does.
    pub state: &'a Arc<State>,
    /// The highest revision that touched what this subscription watches (0: none since it registered, or since
    /// the lineage of `state` began). Every revision up to the head of `state` is accounted for in it.
    pub touched: u64,
    /// How long the server has been unable to confirm that the store has nothing newer.
    pub source_age: Option<Duration>,
    /// Whether a position above the head of `state` proves another history now (see `Store::authoritative`).
    pub authoritative: bool,
}

/// What a subscription answers.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this message, then ask again.
    Send(Frame),
    /// Nothing is owed. Ask again when touched, when the state is of another lineage, or at this time.
    Wait(Option<Duration>),
    /// The client is ahead of a store that may lag: end the stream, so that it tries again later.
    Behind,
}

/// A subscriber's cursor, and the delivery that is under way.
#[derive(Debug)]
pub struct Subscription {
    request: Request,
    pace: Pace,
    /// Everything up to here was sent. Before the first delivery: where the client says that it stands.
    cursor: Option<Position>,
    /// The lineage in which `cursor` was judged; `None` until it was.
    lineage: Option<u64>,
    delivery: Option<Delivery>,
    next_heartbeat: Duration,
    looked_at: u64,
}

impl Subscription {
    /// A subscription that was sent nothing yet.
    #[must_use]
    pub fn new(request: Request, pace: Pace) -> Self {
        let cursor = request.resume.clone();
        Self {
            request,
            pace,
            cursor,
            lineage: None,
            delivery: None,
            next_heartbeat: Duration::ZERO,
            looked_at: 0,
        }
    }

    /// What to do now.
    pub fn step(&mut self, input: Input<'_>) -> Output {
        if self.delivery.is_none() && !self.begin(&input) {
            return Output::Behind;
        }
        if let Some(frame) = self.next_frame(input.source_age) {
            self.next_heartbeat = input.now + self.pace.heartbeat;
            return Output::Send(frame);
        }
        self.rest(&input)
    }

    /// Whether a delivery of several messages is under way, which pins a version of the state.
    #[must_use]
    pub fn is_delivering(&self) -> bool {
        self.delivery.is_some()
    }

    /// When a heartbeat is due, if nothing is sent before.
    #[must_use]
    pub fn next_heartbeat(&self) -> Duration {
        self.next_heartbeat
    }

    /// How many entries of the state were looked at for this subscription.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Begins the delivery that is owed, if one is. Returns false if the store lags behind the client.
    fn begin(&mut self, input: &Input<'_>) -> bool {
        let state = input.state;
        if self.lineage == Some(state.lineage()) {
            self.begin_change(input);
            return true;
        }
        let first = self.lineage.is_none();
        let phase = match self.cursor.as_ref().map(|cursor| state.judge(cursor)) {
            None => Phase::State,
            Some(Standing::Kept) if first => Phase::Resume,
            Some(Standing::Kept) => Phase::Change,
            Some(Standing::Ahead) if !input.authoritative => return false,
            Some(Standing::Foreign | Standing::Ahead) => Phase::Reset,
        };
        self.lineage = Some(state.lineage());
        self.delivery = Some(match (&self.cursor, phase) {
            (Some(cursor), Phase::Resume | Phase::Change) => {
                let fresh = if first { &self.request.fresh } else { &NOTHING };
                self.changes_after(cursor.revision, phase, state, fresh)
            }
            _ => self.whole(phase, state),
        });
        true
    }

    /// An untouched subscription is owed nothing, and is not scanned for. One that is owed something from so far
    /// back that deletions among it may be forgotten gets the whole.
    fn begin_change(&mut self, input: &Input<'_>) {
        let (Some(cursor), state) = (&self.cursor, input.state) else { return };
        if input.touched <= cursor.revision || state.position().revision <= cursor.revision {
            return;
        }
        self.delivery = Some(if cursor.revision < state.compacted_to() {
            self.whole(Phase::Reset, state)
        } else {
            self.changes_after(cursor.revision, Phase::Change, state, &NOTHING)
        });
    }

    fn whole(&self, phase: Phase, state: &Arc<State>) -> Delivery {
        Delivery::of_state(state.clone(), phase, &self.request.keys, self.request.announced)
    }

    fn changes_after(&self, since: u64, phase: Phase, state: &Arc<State>, fresh: &Arc<KeySet>) -> Delivery {
        let Request { keys, announced, .. } = &self.request;
        Delivery::of_changes(state.clone(), phase, keys, fresh, since, *announced)
    }

    /// The next message of the delivery. With its last one the cursor moves to the position of its state.
    fn next_frame(&mut self, source_age: Option<Duration>) -> Option<Frame> {
        let delivery = self.delivery.as_mut()?;
        let frame = delivery.next_frame(self.pace.join_bytes, source_age);
        if frame.more {
            return Some(frame);
        }
        self.cursor = Some(delivery.state().position().clone());
        self.looked_at += delivery.looked_at();
        self.delivery = None;
        // An announced client needs an empty first delivery too: it says that its state is complete.
        let says_something = !frame.is_empty || self.request.announced && frame.phase != Phase::Change;
        says_something.then_some(frame)
    }

    /// Nothing can be sent now. Where nothing is owed up to the head of the state, the cursor moves there, and
    /// an announced client is told so when its heartbeat is due.
    fn rest(&mut self, input: &Input<'_>) -> Output {
        let head = input.state.position();
        let cursor = self.cursor.get_or_insert_with(|| head.clone());
        if input.touched <= cursor.revision && cursor.revision < head.revision {
            *cursor = head.clone();
        }
        if input.now < self.next_heartbeat {
            return Output::Wait(Some(self.next_heartbeat));
        }
        self.next_heartbeat = input.now + self.pace.heartbeat;
        if !self.request.announced {
            return Output::Wait(Some(self.next_heartbeat)); // Its cursor moves with the others'.
        }
        Output::Send(frame::heartbeat(cursor, input.source_age))
    }
}
