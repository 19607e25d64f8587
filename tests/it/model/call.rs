//! A call of the client, and what is on its way in it.

use std::time::Duration;

use bytes::Bytes;
use datastream::proto::{DataRequest, DataResponse};
use datastream_client::Disconnect;
use datastream_client::session::{Answer, Event, StreamId};
use prost::Message as _;

use super::channel::Channel;
use super::server::Line;

/// A call of the client.
pub(super) struct Call {
    pub(super) id: StreamId,
    pub(super) server: usize,
    pub(super) kind: Kind,
    /// What is asked, and when that arrives.
    pub(super) request: Option<(Duration, DataRequest)>,
    pub(super) line: Option<Line>,
    pub(super) channel: Channel,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sync,
    Probe,
    Subscribe,
}

impl Call {
    /// The call ends at `at`, after the first `kept` messages of what is on its way.
    pub(super) fn end(&mut self, at: Duration, kept: usize) {
        self.request = None;
        self.line = None;
        self.channel.lose(kept);
        self.channel.send(at, self.ended(Disconnect::Ended));
    }

    /// Whatever is on its way arrives by `at`.
    pub(super) fn hurry(&mut self, at: Duration) {
        if let Some((arrival, _)) = &mut self.request {
            *arrival = at.min(*arrival);
        }
        self.channel.hurry(at);
    }

    /// The server says something that no subscription did.
    pub(super) fn say(&mut self, at: Duration, bytes: Bytes) {
        let message = DataResponse::decode(bytes).expect("the server encodes what it says");
        self.channel.send(at, Event::Received(self.id, message));
    }

    pub(super) fn ended(&self, why: Disconnect) -> Event {
        match self.kind {
            Kind::Sync => Event::Synced(self.id, Answer { is_current: false, state: Err(why) }),
            Kind::Probe => Event::Probed(self.id, Err(why)),
            Kind::Subscribe => Event::Ended(self.id, why),
        }
    }
}
