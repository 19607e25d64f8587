//! How a server is, in its own words.

use std::time::Duration;

use datastream::position::Position;
use datastream::proto::StatusResponse;

use crate::client::Client;
use crate::error::CallError;
use crate::worker::Command;

impl Client {
    /// Asks the server how it is. How this client is, says [`status`](Self::status).
    ///
    /// # Errors
    ///
    /// [`CallError`], after [`Limits::sync`](crate::Limits::sync) at the latest; `Unsupported` by a server of the original
    /// and a [fixed](Client::fixed) client. Cancel safe.
    pub async fn server_status(&self) -> Result<ServerStatus, CallError> {
        self.ask(Command::Status).await.map(ServerStatus::from)
    }
}

/// How a server is; by [`Client::server_status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The version of the server.
    pub version: String,
    /// The kind of its store, such as `sqlite` or `memory`.
    pub store: String,
    /// Where it stands; `None` if it does not say.
    pub position: Option<Position>,
    /// The highest revision at or below which it forgot something: from there no client resumes.
    pub compacted_to: u64,
    /// How many keys exist.
    pub keys: u64,
    /// How many subscriptions are open.
    pub subscriptions: u64,
    /// For how long it could not confirm that its store has nothing newer; `None` if it can.
    pub source_age: Option<Duration>,
    /// How many changes its history holds; `None` where the store does not tell.
    pub history_changes: Option<u64>,
    /// How many bytes the store takes beside the settings themselves; `None` where it does not tell. In a database of the
    /// user: what the server added to it.
    pub history_bytes: Option<u64>,
}

impl From<StatusResponse> for ServerStatus {
    fn from(status: StatusResponse) -> Self {
        Self {
            version: status.version,
            store: status.store,
            position: status
                .position
                .map(|position| Position { revision: position.revision, token: position.token }),
            compacted_to: status.compacted_to,
            keys: status.keys,
            subscriptions: status.subscriptions,
            source_age: status.source_age.and_then(crate::wire::read_duration),
            history_changes: status.history_changes,
            history_bytes: status.history_bytes,
        }
    }
}
