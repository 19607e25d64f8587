//! One run: servers, applications, a network, and time.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use datastream_client::{Client, Limits};
use datastream_server::Config;
use fastrand::Rng;
use tokio::sync::Notify;
use turmoil::Sim;

use super::app::App;
use super::chance;
use super::counts::Happening;
use super::fault::Fault;
use super::host::{self, PORT, Slot};
use super::line::Tap;
use super::operator;
use super::stage::Stage;
use crate::model::store::{Role, World};

pub(super) const SERVERS: [&str; 2] = ["a", "b"];
/// Once the last fault is over: the longest wait of a client, and what comes after it.
const SETTLES_WITHIN: Duration = Duration::from_secs(35);
/// How long an attempt may hang that was begun before that.
const FAILS_WITHIN: Duration = Duration::from_secs(10);
/// How long a server may wait before it asks its store again.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Run {
    pub(super) sim: Sim<'static>,
    pub(super) rng: Rng,
    pub(super) stage: Arc<Stage>,
    pub(super) apps: Vec<App>,
    /// Tells each server to stop.
    pub(super) stops: [Arc<Notify>; SERVERS.len()],
    /// What is wrong, and until when.
    pub(super) faults: Vec<(Duration, Fault)>,
    pub(super) last_value: i64,
    heartbeat: Duration,
    pub(super) is_large: bool,
    /// The server that does not come back.
    lost: Option<usize>,
}

impl Run {
    pub(super) fn new(seed: u64, is_shown: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        // What ships draws from this one.
        fastrand::seed(seed);
        let mut world = World::default();
        world.primary.head = world.oracle.genesis(0);
        world.replica = world.primary;
        let roles = [Role::Primary, if rng.u8(..3) == 0 { Role::Replica } else { Role::Primary }];
        let stage = Stage::new(world, roles.contains(&Role::Replica), is_shown);
        let is_large = rng.u8(..12) == 0;
        let heartbeat = Duration::from_millis(*rng.choice(&[500, 1_000, 5_000]).expect("there are some"));
        let mut run = Self {
            sim: network(seed, &mut rng),
            rng,
            stage,
            apps: Vec::new(),
            stops: Default::default(),
            faults: Vec::new(),
            last_value: 0,
            heartbeat,
            is_large,
            lost: None,
        };
        roles.into_iter().enumerate().for_each(|(i, role)| run.add_server(i, role));
        (0..run.rng.usize(2..4)).for_each(|i| run.add_app(i));
        (0..run.apps.len() * 2).for_each(|_| run.watch());
        run
    }

    fn add_server(&mut self, i: usize, role: Role) {
        let config = Config::default().heartbeat(self.heartbeat).drain_limit(Duration::from_secs(1));
        let (stage, stop) = (self.stage.clone(), self.stops[i].clone());
        self.sim.host(SERVERS[i], move || host::server(stage.clone(), role, config.clone(), stop.clone()));
    }

    fn add_app(&mut self, i: usize) {
        let name = format!("client{i}");
        let mut servers = SERVERS.map(|server| format!("http://{server}:{PORT}"));
        self.rng.shuffle(&mut servers);
        let (addresses, slot, tap) =
            (servers.join(","), Slot::default(), Tap::new(name.clone(), &self.stage));
        let app = App {
            name: name.clone(),
            tap: tap.clone(),
            is_writer: i == 0 || self.rng.bool(),
            wanted: Default::default(),
            up: None,
            writes: Vec::new(),
            slot: slot.clone(),
        };
        let called = name.clone();
        let limits = Limits::default().first_message(self.idle());
        let software = move || {
            let client = Client::builder(&addresses).client_name(&called).limits(limits.clone());
            host::application(client, tap.clone(), slot.clone())
        };
        self.sim.host(name, software);
        self.apps.push(app);
    }

    /// Runs the whole of it.
    pub(super) fn run(mut self) {
        for _ in 0..self.rng.usize(12..30) {
            self.act();
            let pause = self.pause();
            self.advance(self.now() + pause);
        }
        self.settle();
        if self.lost.is_none() && self.rng.u8(..8) == 0 {
            self.let_go();
        }
        self.end();
    }

    /// After how long a client says that it is stale.
    fn idle(&self) -> Duration {
        3 * self.heartbeat
    }

    pub(super) fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    pub(super) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn pause(&mut self) -> Duration {
        match self.rng.u8(..100) {
            0..60 => self.millis(1..50),
            60..85 => self.millis(50..1_000),
            85..98 => self.millis(1_000..4_000),
            _ => self.millis(4_000..30_000),
        }
    }

    fn advance(&mut self, until: Duration) {
        while self.now() < until {
            self.turn();
            self.recover(self.now());
        }
    }

    /// Every host runs for a while, and is looked at. Returns whether the operator is done.
    pub(super) fn turn(&mut self) -> bool {
        self.stage.set_now(self.sim.elapsed());
        let is_done = self.sim.step().expect("no host fails");
        self.stage.set_now(self.sim.elapsed());
        let idle = self.idle();
        self.apps.iter_mut().for_each(|app| app.observe(&self.stage, idle));
        is_done
    }

    /// All faults end, but one server may stay away; in bounded time every client shows what the store holds.
    fn settle(&mut self) {
        self.stage.note(|| "all is calm".to_owned());
        self.recover(Duration::MAX);
        let mut within = SETTLES_WITHIN + FAILS_WITHIN.max(self.idle()) + ASKED_WITHIN;
        if self.rng.u8(..4) == 0 {
            // Not the one that has the truth: a client that is ahead of a replica waits for that.
            let lost = if self.stage.has_replica { 1 } else { self.rng.usize(..SERVERS.len()) };
            self.sim.crash(SERVERS[lost]);
            self.lost = Some(lost);
            // Every other attempt is in vain.
            within += SETTLES_WITHIN;
        }
        {
            let mut world = self.stage.world();
            world.replica = world.primary;
        }
        self.stage.ring();
        // Who followed that one has heard by then that it is gone.
        self.advance(self.now() + Duration::from_secs(1));
        let until = self.now() + within;
        let is_settled = |app: &App, stage: &Stage| app.is_settled(stage) && !app.is_busy();
        while !self.apps.iter().all(|app| is_settled(app, &self.stage)) {
            self.turn();
            // A write that comes late is for the replica, too.
            let mut world = self.stage.world();
            world.replica = world.primary;
            drop(world);
            if self.now() > until {
                let all: Vec<_> = self.apps.iter().map(App::description).collect();
                panic!("not settled in time: {all:#?}");
            }
        }
        self.stage.note(|| "all is settled".to_owned());
    }

    /// The servers keep nothing of the streams that were.
    fn let_go(&mut self) {
        let following = self.apps.iter().filter(|app| !app.wanted.is_empty()).count();
        self.sim.client("operator", operator::expects_streams(following as u64));
        while !self.turn() {}
        self.stage.count(Happening::LetGo);
    }

    fn end(mut self) {
        {
            let world = self.stage.world();
            self.apps.iter().flat_map(|app| &app.writes).for_each(|write| write.is_whole_and_once(&world));
        }
        let (noted, counts) = self.stage.result();
        chance::end(noted, &counts);
        self.apps.iter_mut().for_each(App::leave);
        self.turn();
    }
}

fn network(seed: u64, rng: &mut Rng) -> Sim<'static> {
    let mut builder = turmoil::Builder::new();
    let latency = Duration::from_millis(*rng.choice(&[2, 10, 60]).expect("there are some"));
    let turn = Duration::from_millis(*rng.choice(&[10, 20, 20]).expect("there are some"));
    builder.rng_seed(seed).epoch(std::time::UNIX_EPOCH).simulation_duration(Duration::MAX);
    builder.tick_duration(turn).min_message_latency(Duration::from_millis(1)).max_message_latency(latency);
    builder.tcp_capacity(4096).enable_random_order();
    builder.build()
}
