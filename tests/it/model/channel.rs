//! The way from a server to the client: in order, late, and not to be relied on.

use std::collections::VecDeque;
use std::time::Duration;

use datastream_client::session::Event;

/// What is on its way to the client in one call.
pub(super) struct Channel {
    in_flight: VecDeque<(Duration, Event)>,
    /// How many messages it takes before the client has read one.
    capacity: usize,
    /// Dead, and neither side knows.
    pub(super) is_mute: bool,
}

impl Channel {
    pub(super) fn new(capacity: usize) -> Self {
        Self { in_flight: VecDeque::new(), capacity, is_mute: false }
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < self.capacity
    }

    /// Takes a message that arrives at `at`, or after the one before it.
    pub(super) fn send(&mut self, at: Duration, event: Event) {
        let last = self.in_flight.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.in_flight.push_back((at.max(last), event));
    }

    /// Holds up everything for so long.
    pub(super) fn hold(&mut self, delay: Duration) {
        self.in_flight.iter_mut().for_each(|(at, _)| *at += delay);
    }

    /// Lets everything arrive by `at`.
    pub(super) fn hurry(&mut self, at: Duration) {
        self.in_flight.iter_mut().for_each(|(arrival, _)| *arrival = at.min(*arrival));
    }

    /// Loses all but the first `kept` messages.
    pub(super) fn lose(&mut self, kept: usize) {
        self.in_flight.truncate(kept);
    }

    /// How many messages are on their way.
    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// When the next message arrives.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.in_flight.front().filter(|_| !self.is_mute).map(|(at, _)| *at)
    }

    pub(super) fn receive(&mut self) -> Option<Event> {
        self.in_flight.pop_front().map(|(_, event)| event)
    }
}
