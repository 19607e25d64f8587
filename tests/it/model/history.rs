//! One history: a client, three servers on two stores, and time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use datastream::proto::DataRequest;
use datastream_client::session::{Answer, Event, Input, Opening, Output, StreamId};
use datastream_client::{Disconnect, Peer};
use fastrand::Rng;

use super::call::{Call, Kind};
use super::channel::Channel;
use super::client::Client;
use super::counts::{Happening, Seen};
use super::server::{HEARTBEAT, Pulled, Server};
use super::store::{Role, World, lock};

const ROLES: [Role; 3] = [Role::Primary, Role::Primary, Role::Replica];
/// Once the last fault is over: the longest wait of a client, and what comes after it.
const SETTLES_WITHIN: Duration = Duration::from_secs(35);
/// How long it takes to notice a stream that died without a word.
const NOTICES_WITHIN: Duration = Duration::from_secs(15);

pub(super) struct History {
    pub(super) rng: Rng,
    pub(super) now: Duration,
    pub(super) world: Arc<Mutex<World>>,
    /// `None`: the server is down.
    pub(super) servers: [Option<Server>; ROLES.len()],
    pub(super) calls: Vec<Call>,
    pub(super) client: Client,
    pub(super) seen: Seen,
    pub(super) last_value: i64,
    /// From now on nothing fails.
    is_calm: bool,
    /// Whether the client reads so slowly that the server waits for it.
    is_slow: bool,
    join_bytes: usize,
    traced: bool,
}

/// What is next.
#[derive(Clone, Copy)]
enum Due {
    Wake,
    /// A request arrives at its server.
    Arrive(usize),
    /// The transport pulls.
    Pull(usize),
    /// Something arrives at the client.
    Receive(usize),
}

impl History {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::default();
        world.primary.head = world.oracle.genesis(0);
        world.replica = world.primary;
        let world = Arc::new(Mutex::new(world));
        let join_bytes = *rng.choice(&[1, 100, 150, usize::MAX]).expect("there are four");
        let is_slow = rng.u8(..4) == 0;
        let servers = ROLES.map(|role| Server::start(&world, role, join_bytes));
        Self {
            rng,
            now: Duration::ZERO,
            world,
            servers,
            calls: Vec::new(),
            client: Client::new(),
            seen: Seen::default(),
            last_value: 0,
            is_calm: false,
            is_slow,
            join_bytes,
            traced,
        }
    }

    /// Runs the whole of it. Returns what happened.
    pub(super) fn run(mut self) -> Seen {
        for _ in 0..self.rng.usize(40..80) {
            self.act();
            let pause = self.pause();
            self.advance(self.now + pause);
        }
        self.settle();
        self.seen
    }

    pub(super) fn trace(&self, text: impl FnOnce() -> String) {
        if self.traced {
            println!("{:>9.3} {}", self.now.as_secs_f64(), text());
        }
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn pause(&mut self) -> Duration {
        match self.rng.u8(..100) {
            0..65 => self.millis(0..30),
            65..85 => self.millis(30..1_000),
            85..97 => self.millis(1_000..8_000),
            _ => self.millis(8_000..70_000),
        }
    }

    /// How long a message takes.
    fn delay(&mut self) -> Duration {
        match self.rng.u8(..100) {
            _ if self.is_calm => self.millis(0..10),
            0..80 if self.is_slow => self.millis(1_000..10_000),
            0..85 => self.millis(0..15),
            85..98 => self.millis(15..300),
            _ => self.millis(300..6_000),
        }
    }

    pub(super) fn start(&mut self, server: usize) {
        self.servers[server] = Server::start(&self.world, ROLES[server], self.join_bytes);
    }

    /// Lets everything happen that is due until `until`.
    fn advance(&mut self, until: Duration) {
        while let Some((at, due)) = self.next().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = until;
    }

    fn next(&mut self) -> Option<(Duration, Due)> {
        let now = self.now;
        let wake = self.client.wake_at.map(|at| (at, Due::Wake));
        let calls = self.calls.iter_mut().enumerate().flat_map(|(i, call)| {
            let has_room = call.channel.has_room();
            let pull = call.line.as_mut().filter(|_| has_room).map(|line| (line.due(now), Due::Pull(i)));
            let arrive = call.request.as_ref().map(|(at, _)| (*at, Due::Arrive(i)));
            let receive = call.channel.next_arrival().map(|at| (at, Due::Receive(i)));
            [pull, arrive, receive]
        });
        calls.chain([wake]).flatten().min_by_key(|(at, _)| *at)
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Wake => self.tell(Event::Woken),
            Due::Arrive(i) => self.arrive(i),
            Due::Pull(i) => self.pull(i),
            Due::Receive(i) => {
                if let Some(event) = self.calls[i].channel.receive() {
                    if matches!(event, Event::Ended(..) | Event::Synced(..) | Event::Probed(..)) {
                        self.calls.swap_remove(i);
                    }
                    self.tell(event);
                }
            }
        }
    }

    /// The client hears of `event`, and makes its calls.
    pub(super) fn tell(&mut self, event: Event) {
        self.trace(|| format!("client {event:?}"));
        let input = Input { now: self.now, random: self.rng.f64(), event };
        let outputs = self.client.step(&lock(&self.world), &mut self.seen, input);
        for output in outputs {
            self.trace(|| format!("    {output:?}"));
            match output {
                Output::Sync(id, request) => self.call(id, Kind::Sync, request),
                Output::Probe { id, .. } => self.call(id, Kind::Probe, DataRequest::default()),
                Output::Open { id, request } => self.call(id, Kind::Subscribe, request),
                Output::Close(id) => self.calls.retain(|call| call.id != id),
                Output::Apply(..) | Output::Link(_) | Output::Trouble(_) => {
                    unreachable!("the client does these")
                }
            }
        }
        self.trace(|| format!("    shows {:?} {:?}", self.client.shown.position(), self.client.link));
    }

    fn call(&mut self, id: StreamId, kind: Kind, request: DataRequest) {
        // Once all is quiet nobody asks the replica any more: it may be the one that a client is ahead of.
        let server = self.rng.usize(..if self.is_calm { 2 } else { ROLES.len() });
        let arrives = self.now + self.delay();
        let channel = Channel::new(if self.is_slow { 1 } else { self.rng.usize(1..4) });
        let request = Some((arrives, request));
        self.calls.push(Call { id, server, kind, request, line: None, channel });
    }

    fn arrive(&mut self, i: usize) {
        let at = self.now + self.delay();
        let fails = !self.is_calm && self.rng.u8(..20) == 0;
        // A `Sync` may be refused, with or without the header that proves a server of ours.
        let refused = (!self.is_calm && self.rng.u8(..10) == 0).then(|| self.rng.bool());
        let call = &mut self.calls[i];
        let Some((_, request)) = call.request.take() else { return };
        let event = match (self.servers[call.server].as_mut().filter(|_| !fails), call.kind) {
            (None, _) => call.ended(Disconnect::Unreachable(String::new())),
            (Some(server), Kind::Sync) => {
                let refusal = Disconnect::Refused {
                    code: "RESOURCE_EXHAUSTED",
                    text: String::new(),
                    retry_after: None,
                };
                let state = if refused.is_some() { Err(refusal) } else { Ok(server.answer(&request)) };
                Event::Synced(call.id, Answer { is_current: refused.unwrap_or(true), state })
            }
            (Some(_), Kind::Probe) => Event::Probed(call.id, Ok(Peer::Current)),
            (Some(server), Kind::Subscribe) => {
                call.line = Some(server.open(self.now, request));
                Event::Opened(call.id, Opening { is_current: true, heartbeat: Some(HEARTBEAT) })
            }
        };
        call.channel.send(at, event);
    }

    fn pull(&mut self, i: usize) {
        let at = self.now + self.delay();
        let meanwhile = self.rng.u8(..10) == 0;
        let call = &mut self.calls[i];
        let (Some(line), Some(server)) = (&mut call.line, &mut self.servers[call.server]) else { return };
        let event = match line.pull(self.now, server, meanwhile) {
            Pulled::Message(message) => Event::Received(call.id, message),
            Pulled::Nothing => return,
            Pulled::Behind => {
                call.line = None;
                self.seen.note(Happening::Lag);
                call.ended(Disconnect::Refused {
                    code: "UNAVAILABLE",
                    text: String::new(),
                    retry_after: None,
                })
            }
        };
        call.channel.send(at, event);
    }

    /// All faults end; in bounded time the client shows what the store holds.
    fn settle(&mut self) {
        self.is_calm = true;
        self.trace(|| "all is calm".to_owned());
        self.heal();
        let is_dead = self.calls.iter().any(|call| call.channel.is_mute);
        let until = self.now + SETTLES_WITHIN + if is_dead { NOTICES_WITHIN } else { Duration::ZERO };
        while !self.client.is_settled(&lock(&self.world)) {
            match self.next().filter(|(at, _)| *at <= until) {
                Some((at, due)) => {
                    self.now = self.now.max(at);
                    self.happen(due);
                }
                None => panic!("{:?}, {:?}: not settled in time", self.client.link, self.client.shown),
            }
        }
    }
}
