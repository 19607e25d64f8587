//! How fresh what an application reads is, and why it may not be.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datastream::position::Position;
use datastream::value::ValueError;

use crate::error::{Disconnect, Unavailable};

/// Whether what is read is right now.
///
/// | from | to | when |
/// |---|---|---|
/// | any | `Ready` | the server is followed, and the whole of what is watched is known |
/// | `Ready`, `Error` | `Stale` | the server is lost, silent, or closed; or a handle is older than its [`max_age`](crate::Watch::max_age) |
/// | `NotReady` | `Stale` | a file or an override is all that is known |
/// | any | `Fatal` | the server refuses this client, or the address is none |
/// | `Ready` | `Error` | the newest value of a handle cannot be used |
///
/// Values stay through all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Nothing is known yet.
    NotReady,
    /// The client follows its server: a change arrives as soon as it is made.
    Ready,
    /// The client has lost its server, or has only a file or overrides so far, or its own runtime does not run, or it was
    /// closed: what is read was right once. Unless it was closed, it tries to reconnect, always.
    Stale,
    /// The server is followed, and the newest value of this handle cannot be used: what is read is the last good one.
    /// It is a state of handles only: a bad value concerns no other.
    Error,
    /// The server refuses this client, or the address is none: somebody has to do something about it, see
    /// [`Disconnect::is_fatal`]. What was known stays, and the client tries again, always.
    Fatal,
}

/// What kind of server is followed, and so what can be known of it.
///
/// The client finds out by itself before it subscribes, and anew after each lost connection: a server that is
/// upgraded or rolled back is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A server of this project.
    Current,
    /// A server of the Go project that the contract is from.
    ///
    /// Changes are live, and that is all:
    ///
    /// - It has no heartbeats, so nothing confirms that what is read is right, and there is no age. That the
    ///   server is gone shows when its connection breaks: after some 25 s if its host or the network is lost, after
    ///   some 6 min if its program hangs. One that goes on and only sends nothing is not noticed.
    /// - It has no deletions: a deleted key keeps its last value. A key that it lacks is never known to be
    ///   missing: [`ready`](crate::Watch::ready) ends by its time limit.
    /// - It has no positions and revisions: each key arrives by itself, and after a reconnect each value counts
    ///   as [stale](State::Stale) until the server has repeated it.
    /// - Each key has a `Subscribe` of its own, on one connection. It is kept until the connection ends, even if
    ///   nobody watches the key any more, because such a server is never rid of a stream that was left. Keys beyond
    ///   what the server allows at once are not ready before others end; those that are followed do not suffer.
    ///   This is for some hundreds of keys, not for ten thousand.
    Original,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// There is none.
    None,
    /// From the server.
    Live,
    /// From the [cache file](crate::ClientBuilder::cache_file): the last that an earlier run of this application heard.
    Cache,
    /// From the [bootstrap file](crate::ClientBuilder::bootstrap_file) that came with the application.
    Bootstrap,
    /// From the operator of this application, in place of what the server says: see
    /// [`override_file`](crate::ClientBuilder::override_file).
    Override,
    /// The default of [`or`](crate::Watch::or).
    Default,
    /// From the test that made the handle.
    Fixed,
}

/// A value that came and could not be used; the last good one stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The key that it came with, escaped and cut; of a struct that is refused as a whole, its prefix.
    pub key: String,
    /// Its revision; for what is read from several keys, that of the state which was refused.
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
    /// A file tells of the last confirmation of an earlier run, by the clock of this machine. `None` without one, with a
    /// server that never confirms, and for a fixed handle.
    pub age: Option<Duration>,
    /// What kind of server is followed, which says what the rest can mean; `None` while none is, and for a fixed
    /// handle.
    pub peer: Option<Peer>,
    /// The revision of the value, and for what is read from several keys that of the state which it is read from;
    /// `None` if there is none, or the server has no revisions.
    pub revision: Option<u64>,
    /// Where the value comes from; of what is made of several, that of one which is not live, if there is such.
    pub origin: Origin,
    /// Why there is no value; `None` if there is one.
    pub unavailable: Option<Unavailable>,
    /// The newest value, if it could not be used; for a map of a prefix, that of the first such key.
    pub refusal: Option<Refusal>,
    /// How many keys below the prefix of a [struct](crate::Client::bind) no field reads; otherwise 0.
    pub unknown_keys: usize,
}

/// The status of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Whether what its handles read is right now; never [`State::Error`].
    pub state: State,
    /// Since when the state is so.
    pub since: Instant,
    /// How old what is read may be at most, as in [`Status::age`]; `None` before the first confirmation, and with a
    /// server that never confirms.
    pub age: Option<Duration>,
    /// What kind of server is followed; `None` while none is.
    pub peer: Option<Peer>,
    /// Which server is followed, or was asked last: host and port, or the path of a socket; `None` if the address is none.
    pub server: Option<String>,
    /// Up to where everything is applied; `None` before the first state, and with a server without positions.
    pub position: Option<Position>,
    /// Why the server was lost, cannot be reached, or does not give what is watched anew; `None` while everything
    /// is followed.
    pub last_error: Option<Arc<Disconnect>>,
}
