//! The settings of a client.

use std::time::Duration;

/// How long a client waits for what. [`Default`] is right for most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// For a TCP connection. Default: 5 s.
    pub connect: Duration,
    /// For the answer to `Sync` and to every other call that is not a stream. Default: 5 s.
    pub sync: Duration,
    /// For the headers and the first message of a stream. Default: 10 s.
    pub first_message: Duration,
    /// For any message of a stream that has begun. Default: three of the heartbeats that the server names.
    pub idle: Option<Duration>,
    /// For how long [`ready`](crate::Watch::ready) waits. Default: 10 s.
    pub ready: Duration,
    /// For how long [`set`](crate::Client::set) waits until this client has seen what it wrote. Default: 5 s.
    pub seen: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            sync: Duration::from_secs(5),
            first_message: Duration::from_secs(10),
            idle: None,
            ready: Duration::from_secs(10),
            seen: Duration::from_secs(5),
        }
    }
}
