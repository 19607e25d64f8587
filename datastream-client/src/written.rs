//! What became of a write.

use datastream::position::Position;

/// A write that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Where it stands in the history; `None` if the server is one that does not say. Without its token where the server
    /// no longer keeps it.
    pub position: Option<Position>,
    /// Whether the handles of this client show it.
    pub seen: Seen,
}

/// Whether the handles of a client show what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// They do, or show something newer.
    Applied,
    /// The client has no handle of what was written.
    NotWatched,
    /// Written, not yet seen: the client has lost its stream, or the server is slow to say so. It will. A server
    /// of the original does not say where a write stands, so there is nothing to wait for: its stream brings the
    /// write later, and may miss it if others come soon after.
    NotYet,
}
