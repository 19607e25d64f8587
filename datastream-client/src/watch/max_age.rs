//! Handles that would rather have no value than an old one.

use std::sync::Arc;
use std::time::Duration;

use super::Watch;
use crate::expiry::Expiry;
use crate::worker::Command;

impl<T> Watch<T> {
    /// A handle that has no value while the server has not confirmed it for longer than `max_age`: `get` is then
    /// `None`, or the default of [`or`](Self::or), and [`try_get`](Self::try_get) says [`Unavailable::Stale`](crate::Unavailable::Stale). Without this a
    /// handle keeps the last value for ever, and [`status`](Self::status) tells its age.
    ///
    /// A server confirms what it sent with each heartbeat, every 5 s unless it is set: a shorter limit than that, and some
    /// time for the way, makes the value come and go. With a server of the [original](crate::Peer::Original), which
    /// confirms nothing, the age counts from when it was lost. The task of the client keeps the time, and a read costs
    /// one atomic load more: so nothing expires while the runtime of the client does not run
    /// ([`own_thread`](crate::ClientBuilder::own_thread) helps), and to become too old is not
    /// [`changed`](Self::changed). A second limit takes the place of the first; those of what is
    /// [combined](crate::combine()) stay beside that of the whole. A fixed handle is never too old.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use datastream_client::Client;
    ///
    /// let client = Client::connect("http://127.0.0.1:1");
    /// // 100 as long as nothing better was confirmed within the last minute.
    /// let max = client.watch::<i64>("max_connections").max_age(Duration::from_secs(60)).or(100);
    /// assert_eq!(max.get(), 100);
    /// ```
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        let own = Expiry::new(&self.cell, max_age);
        self.limits.retain(|limit| limit.name != own.name);
        self.limit(own);
        self
    }

    /// Has the worker keep the time of a limit.
    pub(crate) fn limit(&mut self, limit: Expiry) {
        let Some(client) = &self.client else { return };
        let limit = Arc::new(limit);
        let _ = client.commands.send(Command::Expire(Arc::downgrade(&limit)));
        // It confirms nothing any more, and its worker, if there is one still, keeps no time.
        if client.shared.is_closed() {
            limit.end(client.shared.started.elapsed());
        }
        self.limits.push(limit);
    }

    pub(super) fn is_expired(&self) -> bool {
        self.limits.iter().any(|limit| limit.over().is_some())
    }
}
