//! What goes wrong, and for how long.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::counts::Happening;
use super::run::{Run, SERVERS};
use crate::model::store::Role;

/// Something that is wrong until it is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The network between a client and a server.
    Link { client: usize, server: usize },
    /// A server is not there.
    Server(usize),
    /// A client is not there.
    Client(usize),
    /// A client reads nothing.
    Stalled(usize),
    /// A store cannot be read.
    Store(Role),
    /// A store is slow, and loses answers.
    Slow,
    /// The doorbell is not heard.
    Deaf,
}

impl Run {
    /// Something goes wrong, unless that is wrong already.
    pub(super) fn break_something(&mut self) {
        let (client, server) = (self.rng.usize(..self.apps.len()), self.rng.usize(..SERVERS.len()));
        let fault = match self.rng.u8(..100) {
            0..50 => Fault::Link { client, server },
            50..68 => Fault::Server(server),
            68..76 => Fault::Client(client),
            76..83 => Fault::Stalled(client),
            83..90 => Fault::Store(if self.rng.bool() { Role::Primary } else { Role::Replica }),
            90..96 => Fault::Slow,
            _ => Fault::Deaf,
        };
        let is_wrong = self.faults.iter().any(|(_, other)| *other == fault);
        if is_wrong || fault == Fault::Client(client) && self.apps[client].up.is_none() {
            return;
        }
        let lasts = match self.rng.u8(..4) {
            0 => self.millis(10..500),
            1 | 2 => self.millis(500..5_000),
            _ => self.millis(5_000..20_000),
        };
        self.stage.note(|| format!("{fault:?} for {lasts:?}"));
        self.begin(&fault);
        self.faults.push((self.now() + lasts, fault));
    }

    fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::Link { client, server } => self.break_link(*client, *server),
            Fault::Server(server) if self.rng.bool() => self.crash_server(*server),
            Fault::Server(server) => {
                self.stops[*server].notify_waiters();
                self.stage.count(Happening::Drain);
            }
            Fault::Client(client) => self.crash_client(*client),
            Fault::Stalled(client) => {
                self.apps[*client].tap.stall(true);
                self.stage.count(Happening::Stalled);
            }
            Fault::Store(role) => {
                self.set_out(*role, true);
                self.stage.count(Happening::StoreOut);
            }
            Fault::Slow => {
                self.stage.slowness.store(self.rng.u64(5..3_000), Ordering::Relaxed);
                self.stage.forgetfulness.store(self.rng.u64(1..4), Ordering::Relaxed);
                self.stage.count(Happening::StoreSlow);
            }
            Fault::Deaf => self.stage.is_deaf.store(true, Ordering::Relaxed),
        }
    }

    fn break_link(&mut self, client: usize, server: usize) {
        let (from, to) = (self.apps[client].name.clone(), SERVERS[server]);
        let happening = match self.rng.u8(..6) {
            0 => {
                self.sim.partition(from, to);
                Happening::Partition
            }
            1 => {
                match self.rng.bool() {
                    true => self.sim.partition_oneway(from, to),
                    false => self.sim.partition_oneway(to, from),
                }
                Happening::OneWay
            }
            2 | 3 => {
                self.sim.hold(from, to);
                Happening::Hold
            }
            4 => {
                let rate = 0.01 + 0.3 * self.rng.f64();
                self.sim.set_link_fail_rate(from, to, rate);
                Happening::Loss
            }
            _ => {
                let latency = self.millis(50..900);
                self.sim.set_link_latency(from, to, latency);
                Happening::Latency
            }
        };
        self.stage.note(|| format!("    {happening}"));
        self.stage.count(happening);
    }

    fn crash_server(&mut self, server: usize) {
        self.sim.crash(SERVERS[server]);
        self.stage.count(Happening::ServerCrash);
    }

    /// Its handles and its calls go first, and its worker hears of it: a runtime that ends under a client that goes on is
    /// not of this test, since it would go on outside of the simulation.
    fn crash_client(&mut self, client: usize) {
        self.apps[client].leave();
        self.turn();
        let name = self.apps[client].name.clone();
        self.sim.crash(name);
        self.stage.count(Happening::ClientCrash);
    }

    /// Resets the connections of a client.
    pub(super) fn tear(&mut self) {
        let client = self.rng.usize(..self.apps.len());
        if self.apps[client].tap.tear() {
            self.stage.note(|| format!("the connections of {} are torn", self.apps[client].name));
            self.stage.count(Happening::Torn);
        }
    }

    fn set_out(&mut self, role: Role, is_out: bool) {
        let mut world = self.stage.world();
        match role {
            Role::Primary => world.primary.is_out = is_out,
            Role::Replica => world.replica.is_out = is_out,
        }
    }

    /// Puts right whose time is over.
    pub(super) fn recover(&mut self, now: Duration) {
        for (_, fault) in self.faults.extract_if(.., |(until, _)| *until <= now).collect::<Vec<_>>() {
            self.stage.note(|| format!("{fault:?} is over"));
            self.put_right(&fault);
        }
    }

    fn put_right(&mut self, fault: &Fault) {
        match fault {
            Fault::Link { client, server } => {
                let (from, to) = (self.apps[*client].name.clone(), SERVERS[*server]);
                self.sim.set_link_fail_rate(from.clone(), to, 0.0);
                self.sim.set_link_latency(from.clone(), to, Duration::from_millis(2));
                self.sim.release(from, to);
            }
            Fault::Server(server) => self.sim.bounce(SERVERS[*server]),
            Fault::Client(client) => self.sim.bounce(self.apps[*client].name.clone()),
            Fault::Stalled(client) => self.apps[*client].tap.stall(false),
            Fault::Store(role) => self.set_out(*role, false),
            Fault::Slow => {
                self.stage.slowness.store(1, Ordering::Relaxed);
                self.stage.forgetfulness.store(0, Ordering::Relaxed);
            }
            Fault::Deaf => self.stage.is_deaf.store(false, Ordering::Relaxed),
        }
    }
}
