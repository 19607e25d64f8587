//! The settings of a client.

use std::time::Duration;

/// How long a client waits for what, and how much it holds. [`Default`] is right for most; `Duration::MAX` is for ever.
///
/// ```
/// use std::time::Duration;
///
/// use datastream_client::{Client, Limits};
///
/// let limits = Limits::default().ready(Duration::from_secs(2));
/// let client = Client::builder("http://127.0.0.1:8080").limits(limits).connect();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// For a connection, TLS included, and for a [token](crate::ClientBuilder::token_from) that is asked for. It counts within
    /// the limit of the call that needs it. Default: 3 s.
    pub connect: Duration,
    /// For the answer to `Sync` and to every other call that is not a stream, looking up the name of the server included.
    /// Default: 5 s.
    pub sync: Duration,
    /// For the headers and the first message of a stream; a server of the [original](crate::Peer::Original) may
    /// take for ever. Default: 10 s.
    pub first_message: Duration,
    /// For any message of a stream that has begun. Default: three of the heartbeats that the server names.
    pub idle: Option<Duration>,
    /// For how long [`ready`](crate::Watch::ready) waits. Default: 10 s.
    pub ready: Duration,
    /// For how long [`set`](crate::Client::set) and [commits](crate::Commit::send) wait until this client has seen what it
    /// wrote. Default: 5 s.
    pub seen: Duration,
    /// For how long a [commit](crate::Commit::send) is sent again while no answer comes, and an
    /// [update](crate::Client::update) made again while others are quicker. Default: 15 s.
    pub commit: Duration,
    /// How many bytes one state may take, counted as its keys, its values, and 256 bytes for each key beside them. A server
    /// that sends more is [left](crate::Disconnect::TooLarge), what was held before stays, and the client tries again as ever.
    /// While a whole state arrives, the one before it is held too. Default: 1 GiB, about four million small settings.
    pub state_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            sync: Duration::from_secs(5),
            first_message: Duration::from_secs(10),
            idle: None,
            ready: Duration::from_secs(10),
            seen: Duration::from_secs(5),
            commit: Duration::from_secs(15),
            state_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// Sets [`connect`](Self::connect).
    #[must_use]
    pub fn connect(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// Sets [`sync`](Self::sync).
    #[must_use]
    pub fn sync(mut self, limit: Duration) -> Self {
        self.sync = limit;
        self
    }

    /// Sets [`first_message`](Self::first_message).
    #[must_use]
    pub fn first_message(mut self, limit: Duration) -> Self {
        self.first_message = limit;
        self
    }

    /// Sets [`idle`](Self::idle), whatever the server names.
    #[must_use]
    pub fn idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// Sets [`ready`](Self::ready).
    #[must_use]
    pub fn ready(mut self, limit: Duration) -> Self {
        self.ready = limit;
        self
    }

    /// Sets [`seen`](Self::seen).
    #[must_use]
    pub fn seen(mut self, limit: Duration) -> Self {
        self.seen = limit;
        self
    }

    /// Sets [`commit`](Self::commit).
    #[must_use]
    pub fn commit(mut self, limit: Duration) -> Self {
        self.commit = limit;
        self
    }

    /// Sets [`state_bytes`](Self::state_bytes).
    #[must_use]
    pub fn state_bytes(mut self, limit: usize) -> Self {
        self.state_bytes = limit;
        self
    }
}
