//! The settings of a server.

use std::time::Duration;

use crate::store::Retention;

/// The settings of a server. [`Default`] is right for most; the binary offers each as a flag.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How long an announced client goes without a message before it gets a heartbeat. A client takes a stream
    /// for dead after three of them. Default: 5 s; at least 10 ms.
    pub heartbeat: Duration,
    /// The largest value that a push may carry, in bytes. Default: 1 MiB; at most 3 MiB, since a message has
    /// at most 4.
    pub max_value_bytes: usize,
    /// How long the store remembers positions, tombstones and superseded values.
    pub retention: Retention,
    /// For how long the transport may take no message of a delivery before the stream ends: such a reader
    /// would pin an old version of the state for ever. Default: 30 s.
    pub stall_limit: Duration,
    /// How long a shutdown waits for streams and calls to end. Default: 5 s.
    pub drain_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            max_value_bytes: 1 << 20,
            retention: Retention::default(),
            stall_limit: Duration::from_secs(30),
            drain_limit: Duration::from_secs(5),
        }
    }
}

/// The highest value that [`Config::max_value_bytes`] may have.
pub const MAX_VALUE_BYTES: usize = 3 << 20;
/// The longest name of a type that is served; a foreign writer may store any.
pub(crate) const MAX_TYPE_BYTES: usize = 256;

impl Config {
    /// Sets [`heartbeat`](Self::heartbeat).
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval.max(Duration::from_millis(10));
        self
    }

    /// Sets [`max_value_bytes`](Self::max_value_bytes); what is above the highest value is cut to it.
    #[must_use]
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes.min(MAX_VALUE_BYTES);
        self
    }

    /// Sets [`retention`](Self::retention).
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets [`stall_limit`](Self::stall_limit).
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.stall_limit = limit.max(Duration::from_millis(10));
        self
    }

    /// Sets [`drain_limit`](Self::drain_limit).
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }
}
