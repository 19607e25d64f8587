//! What a session is told, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::Selector;
use datastream::proto::{DataRequest, DataResponse};

use crate::error::Disconnect;
use crate::snapshot::Snapshot;
use crate::status::Peer;

/// Names one call of a session: a `Sync`, a probe, or a stream.
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
    /// Keys or prefixes lost their last handles. Many at once cost little more than one.
    Unwatched(Vec<Selector>),
    /// `Sync` was answered, or failed.
    Synced(StreamId, Answer),
    /// A probe found out who is there, or failed.
    Probed(StreamId, Result<Peer, Disconnect>),
    /// The headers of a stream came.
    Opened(StreamId, Opening),
    /// A message of a stream came.
    Received(StreamId, DataResponse),
    /// A stream ended, or was never opened.
    Ended(StreamId, Disconnect),
    /// All calls were lost together with the runtime that they ran on.
    Lost,
    /// A write of this client was acknowledged, and the live stream did not bring it.
    Doubted,
    /// The time asked for has come.
    Woken,
}

/// The answer to `Sync`.
#[derive(Debug)]
pub struct Answer {
    /// Whether it carries the header of our protocol, which proves a server of this project; an error may.
    pub is_current: bool,
    /// What it says.
    pub state: Result<DataResponse, Disconnect>,
}

/// What the headers of a stream say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// Whether they name our protocol.
    pub is_current: bool,
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
    /// Find out who is there, on the connection that the streams after it use.
    Probe {
        /// What it is named from now on.
        id: StreamId,
        /// On a new connection, to the server with this number: the old one may be dead without knowing it.
        reconnect: Option<usize>,
    },
    /// Call `Subscribe`.
    Open {
        /// What it is named from now on.
        id: StreamId,
        /// The request.
        request: DataRequest,
    },
    /// Drop a call.
    Close(StreamId),
    /// Show this state.
    Apply(Arc<Snapshot>, Changed),
    /// Show this.
    Link(Link),
    /// Some of what is watched is not followed, while the rest is: keys that are watched anew wait for a stream
    /// that failed, or the stream of one key ended at a server of the original.
    Trouble(Arc<Disconnect>),
}

/// What is different in a state that is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// At most these keys; nothing is covered that was not covered before, but for them.
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
    /// Following the server, which is of this kind.
    Live(Peer),
    /// Not following the server; the last state stays.
    Lost(Arc<Disconnect>),
}
