//! An application, and what must hold of what it sees at each moment.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream_client::{Client, ClientStatus, Entries, Snapshot, State, Watch};
use fastrand::Rng;
use tokio::runtime::Handle;

use super::counts::Happening;
use super::host::Slot;
use super::laws;
use super::line::Tap;
use super::stage::Stage;
use super::write::Write;
use crate::model::laws::{Cause, goes_forward, is_committed, is_current};
use crate::model::oracle::{Key, Text};

pub(super) struct App {
    pub(super) name: String,
    pub(super) tap: Arc<Tap>,
    /// Whether it writes as well.
    pub(super) is_writer: bool,
    pub(super) wanted: KeySet,
    /// `None` while it does not run.
    pub(super) up: Option<Up>,
    pub(super) writes: Vec<Write>,
    pub(super) slot: Slot,
}

/// An application that runs.
pub(super) struct Up {
    client: Client,
    runtime: Handle,
    handles: BTreeMap<Selector, Followed>,
    shown: Arc<Snapshot>,
    state: State,
    server: String,
}

enum Followed {
    One(Watch<i64>, Option<i64>),
    Below(Watch<Entries<i64>>),
}

impl App {
    /// What is new, and that it keeps the laws. Called between two turns of the hosts.
    pub(super) fn observe(&mut self, stage: &Stage, idle: Duration) {
        let started = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((client, runtime)) = started {
            self.up = Some(Up::new(client, runtime));
            let wanted: Vec<_> = self.wanted.iter().cloned().collect();
            wanted.into_iter().for_each(|entry| self.watch(entry));
            return; // Its worker has not run yet.
        }
        let Some(up) = &mut self.up else { return };
        let _inside = up.runtime.enter();
        up.look(&self.name, stage, &self.wanted);
        let status = up.look_at_status(&self.name, stage);
        laws::is_ready_while_it_hears(stage.now(), self.tap.heard(), idle, status.state);
        laws::is_as_fresh_as_it_says(stage, &up.shown, &self.wanted, status.age, idle);
        let server = self.tap.server();
        if !up.server.is_empty() && server != up.server {
            stage.count(Happening::Failover);
        }
        up.server = server;
        if !self.is_writer {
            laws::attempts_are_few(&self.name, &self.tap.attempts());
        }
        self.writes.iter_mut().for_each(|write| write.judge(stage, &up.shown));
    }

    pub(super) fn watch(&mut self, entry: Selector) {
        self.wanted.insert(entry.clone());
        let Some(up) = &mut self.up else { return };
        let followed = match &entry {
            Selector::Key(key) => Followed::One(up.client.watch::<i64>(&**key), None),
            Selector::Prefix(_) => Followed::Below(up.client.watch_prefix::<i64>(entry.as_str())),
        };
        up.handles.insert(entry, followed);
    }

    pub(super) fn unwatch(&mut self, entry: &Selector) {
        self.wanted.remove(entry);
        if let Some(up) = &mut self.up {
            up.handles.remove(entry);
        }
    }

    pub(super) fn write(&mut self, rng: &mut Rng, stage: &Stage, writes: Vec<(Key, Option<Text>)>) {
        let Some(up) = &self.up else { return };
        if !writes.is_empty() {
            let write = Write::begin(rng, &up.client, &up.runtime, writes);
            stage.note(|| format!("{} writes {write:?}", self.name));
            self.writes.push(write);
        }
    }

    /// What an application that is killed leaves: nothing, but what may be on its way.
    pub(super) fn leave(&mut self) {
        self.writes.iter_mut().for_each(Write::abandon);
        self.up = None;
    }

    /// Whether it shows all that the store holds, and says so.
    pub(super) fn is_settled(&self, stage: &Stage) -> bool {
        let Some(up) = &self.up else { return false };
        if self.wanted.is_empty() {
            return up.shown.position().is_none();
        }
        up.state == State::Ready && is_current(&stage.world(), &up.shown, &self.wanted)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.writes.iter().any(Write::is_under_way)
    }

    pub(super) fn description(&self) -> String {
        match &self.up {
            Some(up) => {
                let _inside = up.runtime.enter();
                format!("{} {:?} {:?} {:?}", self.name, self.wanted, up.shown.position(), up.client.status())
            }
            None => format!("{} does not run", self.name),
        }
    }
}

impl Up {
    fn new(client: Client, runtime: Handle) -> Self {
        let shown = Arc::default();
        Self {
            client,
            runtime,
            handles: BTreeMap::new(),
            shown,
            state: State::NotReady,
            server: String::new(),
        }
    }

    fn look(&mut self, name: &str, stage: &Stage, wanted: &KeySet) {
        let shown = self.client.snapshot();
        let world = stage.world();
        if !Arc::ptr_eq(&shown, &self.shown) {
            stage.note(|| format!("{name} shows {:?}", shown.position().map(|position| position.revision)));
            is_committed(&world, &shown, wanted);
            goes_forward(&world, &self.shown, &shown, wanted, &Cause::Unseen);
            laws::count_step(stage, &world, &self.shown, &shown);
        }
        for (entry, followed) in &mut self.handles {
            match followed {
                Followed::One(watch, had) => {
                    let got = watch.try_get().ok();
                    laws::has_last_good(stage, &world, entry.as_str(), (&self.shown, &shown), *had, got);
                    *had = got;
                }
                Followed::Below(map) => laws::map_is_whole(entry.as_str(), &shown, map.load().as_ref()),
            }
        }
        self.shown = shown;
    }

    fn look_at_status(&mut self, name: &str, stage: &Stage) -> ClientStatus {
        let status = self.client.status();
        laws::server_keeps_the_contract(&status);
        if status.state != self.state {
            stage.note(|| format!("{name} is {:?}: {:?}", status.state, status.last_error));
            match (self.state, status.state) {
                (_, State::Stale) => stage.count(Happening::Stale),
                (State::Stale, State::Ready) => stage.count(Happening::Resume),
                _ => {}
            }
            self.state = status.state;
        }
        status
    }
}
