//! A server without its transport: the feed, and one subscription for each open stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream::position::Position;
use datastream::proto::{DataRequest, DataResponse, Phase};
use datastream_server::delivery::Delivery;
use datastream_server::feed::{Feed, Registration};
use datastream_server::frame::JOIN_BYTES;
use datastream_server::subscription::{Input, Output, Pace, Request, Subscription};
use futures_util::FutureExt as _;
use prost::Message as _;

use super::laws;
use super::store::{ModelStore, Role, World, lock};

pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

pub(super) struct Server {
    world: Arc<Mutex<World>>,
    feed: Arc<Feed>,
    /// Since when its store cannot be read.
    unconfirmed_since: Option<Duration>,
    join_bytes: usize,
}

impl Server {
    /// A server that has just started; `None` if its store cannot be read.
    pub(super) fn start(world: &Arc<Mutex<World>>, role: Role, join_bytes: usize) -> Option<Self> {
        let store = Arc::new(ModelStore { world: world.clone(), role });
        let feed = Feed::start(store, datastream_server::store::Retention::default());
        let feed = feed.now_or_never().expect("the store of the model never waits").ok()?;
        Some(Self { world: world.clone(), feed, unconfirmed_since: None, join_bytes })
    }

    /// Asks the store what is new.
    pub(super) fn look(&mut self, now: Duration) {
        let looked = self.feed.look_now().now_or_never().expect("the store of the model never waits");
        self.unconfirmed_since = looked.err().map(|_| self.unconfirmed_since.unwrap_or(now));
    }

    /// Answers `Sync` as the service does.
    pub(super) fn answer(&self, request: &DataRequest) -> DataResponse {
        let keys = Arc::new(selectors(&request.keys));
        let mut whole = Delivery::of_state(self.feed.state(), Phase::State, &keys, false);
        DataResponse::decode(whole.next_frame(JOIN_BYTES, None).bytes)
            .expect("the server encodes what it says")
    }

    /// Answers `Subscribe` as the service does.
    pub(super) fn open(&mut self, now: Duration, request: DataRequest) -> Line {
        let keys = Arc::new(selectors(&request.keys));
        let fresh = Arc::new(selectors(&request.fresh));
        let resume = Position::from_proto(request.resume.expect("the client announces itself"));
        let resume = resume.expect("the client sends its positions whole");
        let registration = self.feed.register(keys.clone());
        let ahead =
            resume.as_ref().is_some_and(|resume| resume.revision > self.feed.state().position().revision);
        if ahead {
            self.look(now);
        }
        let caught_up = !ahead || self.unconfirmed_since.is_none();
        let pace = Pace { heartbeat: HEARTBEAT, join_bytes: self.join_bytes };
        let request = Request { keys, fresh, resume: resume.clone(), announced: true };
        let subscription = Subscription::new(request, pace);
        Line { subscription, registration, caught_up, stood: resume, is_first: true, due: now }
    }
}

/// One stream, seen from the server.
pub(super) struct Line {
    subscription: Subscription,
    registration: Registration,
    /// Whether the server has seen all that the store had when the client came; after the first step it has.
    caught_up: bool,
    /// Where the client stands once it has everything that was sent.
    stood: Option<Position>,
    /// Whether no delivery is complete yet.
    is_first: bool,
    /// When to ask the subscription again, unless the doorbell rings before.
    due: Duration,
}

/// What a pull brought.
pub(super) enum Pulled {
    Message(DataResponse),
    Nothing,
    /// The server lags behind the client.
    Behind,
}

impl Line {
    /// When the transport is to pull; it also listens to the doorbell.
    pub(super) fn due(&mut self, now: Duration) -> Duration {
        if self.registration.touch().rung().now_or_never().is_some() {
            self.due = now;
        }
        self.due
    }

    pub(super) fn is_delivering(&self) -> bool {
        self.subscription.is_delivering()
    }

    /// Asks the subscription for the next message, as the stream of the service does. With `meanwhile` the feed
    /// looks between the two reads of `Registration::read`.
    pub(super) fn pull(&mut self, now: Duration, server: &mut Server, meanwhile: bool) -> Pulled {
        let unconfirmed_since = server.unconfirmed_since;
        let mut state = server.feed.state();
        if meanwhile {
            server.look(now);
        }
        let mut touched = self.registration.touch().revision();
        if server.feed.state().lineage() != state.lineage() {
            (state, touched) = self.registration.read();
        }
        let source_age = unconfirmed_since.map(|since| now.saturating_sub(since));
        let caught_up = std::mem::replace(&mut self.caught_up, true);
        let authoritative = caught_up && server.feed.store().authoritative() && source_age.is_none();
        let begins = !self.is_delivering();
        match self.subscription.step(Input { now, state: &state, touched, source_age, authoritative }) {
            Output::Send(frame) => {
                let message = DataResponse::decode(frame.bytes).expect("the server encodes what it says");
                if begins && message.phase() == Phase::Reset {
                    let known = self.stood.as_ref().expect("only who stands somewhere is reset");
                    laws::reset_is_justified(
                        &lock(&server.world),
                        known,
                        &state,
                        authoritative,
                        self.is_first,
                    );
                }
                self.sent(now, &message);
                Pulled::Message(message)
            }
            Output::Wait(until) => {
                self.due = until.unwrap_or(Duration::MAX);
                Pulled::Nothing
            }
            Output::Behind => Pulled::Behind,
        }
    }

    fn sent(&mut self, now: Duration, message: &DataResponse) {
        self.due = now;
        if let Some(position) = message.position.clone() {
            self.stood = Position::from_proto(position).expect("the server sends its positions whole");
            self.is_first = false;
        }
    }
}

fn selectors(texts: &[String]) -> KeySet {
    texts.iter().map(|text| Selector::parse(text).expect("the client asks for what it may")).collect()
}
