//! How fresh what an application reads is, and why it may not be.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datastream::position::Position;
use datastream::value::ValueError;

use crate::error::{Disconnect, Unavailable};

/// Whether what is read is right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Nothing is known yet.
    NotReady,
    /// The client follows its server: a change arrives as soon as it is made.
    Ready,
    /// The client has lost its server, or its own runtime does not run: what is read was right once. It tries to
    /// reconnect, always.
    Stale,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// There is none.
    None,
    /// From the server.
    Live,
    /// The default of [`or`](crate::Watch::or).
    Default,
    /// From the test that made the handle.
    Fixed,
}

/// A value that came and could not be used; the last good one stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Its revision.
    pub revision: u64,
    /// Why.
    pub error: ValueError,
    /// When.
    pub at: SystemTime,
}

/// The status of a handle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Whether what it reads is right now.
    pub state: State,
    /// Since when the state is so.
    pub since: Instant,
    /// How old the value may be at most: the time since the server last confirmed that there is nothing newer.
    /// `None` before the first confirmation, and for a fixed handle.
    pub age: Option<Duration>,
    /// The revision of the value; `None` if there is none.
    pub revision: Option<u64>,
    /// Where the value comes from.
    pub origin: Origin,
    /// Why there is no value; `None` if there is one.
    pub unavailable: Option<Unavailable>,
    /// The newest value, if it could not be used.
    pub refusal: Option<Refusal>,
}

/// The status of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Whether what its handles read is right now.
    pub state: State,
    /// Since when the state is so.
    pub since: Instant,
    /// How old what is read may be at most; `None` before the first confirmation.
    pub age: Option<Duration>,
    /// Up to where everything is applied.
    pub position: Option<Position>,
    /// Why the server was lost, cannot be reached, or does not give what is watched anew; `None` while everything
    /// is followed.
    pub last_error: Option<Arc<Disconnect>>,
}
