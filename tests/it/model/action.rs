//! What people, stores and networks do to a history.

use std::time::Duration;

use datastream::key::Selector;
use datastream_client::session::Event;
use datastream_server::frame;

use super::counts::Happening;
use super::history::History;
use super::oracle::{KEYS, Key};
use super::store::lock;

const PREFIXES: [Key; 3] = ["a/", "a/b/", "b/"];

impl History {
    /// Does one thing.
    pub(super) fn act(&mut self) {
        match self.rng.u8(..100) {
            0..24 => self.commit(),
            24..40 => self.look(),
            40..52 => self.watch(),
            52..59 => self.unwatch(),
            59..67 => self.compact(),
            67..70 => self.restore(),
            70..75 => self.replicate(),
            75..80 => self.cut(),
            80..82 => self.mute(),
            82..85 => self.hold(),
            85..87 => self.stop_or_start(),
            87..89 => self.lose_or_find_store(),
            89 => self.lose_runtime(),
            90..92 => self.drain(),
            92 => self.tell(Event::Doubted),
            93 => self.restart(),
            _ => {}
        }
    }

    fn commit(&mut self) {
        let writes = lock(&self.world).draw_writes(&mut self.rng, &mut self.last_value);
        if writes.is_empty() {
            return;
        }
        self.trace(|| format!("commit {writes:?}"));
        {
            let world = &mut *lock(&self.world);
            world.primary.head = world.oracle.commit(world.primary.head, writes);
        }
        if self.rng.bool() {
            self.look();
        }
    }

    /// Most servers ask their store what is new.
    fn look(&mut self) {
        let mut looked = Vec::new();
        for (i, server) in self.servers.iter_mut().enumerate() {
            if let Some(server) = server.as_mut().filter(|_| self.rng.u8(..3) > 0) {
                server.look(self.now);
                looked.push(i);
            }
        }
        self.trace(|| format!("servers {looked:?} look"));
    }

    fn watch(&mut self) {
        let texts = KEYS.iter().chain(&PREFIXES);
        let entries = texts.map(|text| Selector::parse(text).expect("it is a key or a prefix"));
        let free: Vec<_> = entries.filter(|entry| !self.client.wanted.contains_selector(entry)).collect();
        if let Some(entry) = self.rng.choice(free) {
            self.tell(Event::Watched(entry));
        }
    }

    fn unwatch(&mut self) {
        let mut wanted: Vec<_> = self.client.wanted.iter().cloned().collect();
        self.rng.shuffle(&mut wanted);
        wanted.truncate(if self.rng.u8(..4) == 0 { 2 } else { 1 });
        if !wanted.is_empty() {
            self.tell(Event::Unwatched(wanted));
        }
    }

    fn compact(&mut self) {
        let Some((to, forgets)) = lock(&self.world).compact(&mut self.rng) else { return };
        if forgets {
            self.seen.note(Happening::Compaction);
        }
        self.trace(|| format!("compacted to {to}"));
        if self.rng.bool() {
            self.look();
        }
    }

    fn restore(&mut self) {
        let mut world = lock(&self.world);
        let head_at = world.restore(&mut self.rng);
        let shown = self.client.shown.position().and_then(|shown| world.oracle.find(shown));
        if shown.is_some_and(|shown| !world.oracle.descends(world.primary.head, shown)) {
            self.seen.note(Happening::Restore);
        }
        drop(world);
        self.trace(|| format!("the store went back to {head_at}"));
        // What the client wrote may have gone with it.
        if self.rng.bool() {
            self.tell(Event::Doubted);
        }
    }

    fn replicate(&mut self) {
        let followed = lock(&self.world).replicate(&mut self.rng);
        if let Some(head_at) = followed {
            self.trace(|| format!("the replica follows to {head_at}"));
        }
    }

    /// A call ends; what is on its way may be lost.
    fn cut(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let at = self.now + Duration::from_millis(self.rng.u64(..20));
        let call = self.rng.usize(..self.calls.len());
        let kept = self.rng.usize(..=self.calls[call].channel.len());
        self.calls[call].end(at, kept);
        self.trace(|| "a call is cut".to_owned());
    }

    /// A call dies, and neither side is told.
    fn mute(&mut self) {
        if let Some(call) = self.rng.choice(&mut self.calls) {
            call.channel.is_mute = true;
            self.trace(|| "a call falls silent".to_owned());
        }
    }

    /// What is on its way is late.
    fn hold(&mut self) {
        let delay = Duration::from_millis(self.rng.u64(100..20_000));
        if let Some(call) = self.rng.choice(&mut self.calls) {
            call.channel.hold(delay);
            self.trace(|| format!("a call is held up for {delay:?}"));
        }
    }

    fn stop_or_start(&mut self) {
        let server = self.rng.usize(..self.servers.len());
        if self.servers[server].is_none() {
            self.start(server);
        } else {
            self.stop(server);
            if self.rng.bool() {
                self.start(server);
            }
        }
        let is_up = self.servers[server].is_some();
        self.trace(|| format!("server {server} is {}", if is_up { "up" } else { "down" }));
    }

    fn stop(&mut self, server: usize) {
        self.servers[server] = None;
        let at = self.now;
        let calls = self.calls.iter_mut().filter(|call| call.server == server);
        calls.for_each(|call| {
            let kept = call.channel.len();
            call.end(at, kept);
        });
    }

    fn lose_or_find_store(&mut self) {
        let mut world = lock(&self.world);
        let view = if self.rng.bool() { &mut world.primary } else { &mut world.replica };
        view.is_out = !view.is_out;
    }

    /// The runtime that the client runs on dies, with all its calls.
    fn lose_runtime(&mut self) {
        self.calls.clear();
        self.tell(Event::Lost);
    }

    /// The application is started anew, and watches the same.
    fn restart(&mut self) {
        self.calls.clear();
        self.trace(|| "the client is started anew".to_owned());
        if self.client.restart() {
            self.seen.note(Happening::Restart);
        }
        let wanted: Vec<_> = self.client.wanted.iter().cloned().collect();
        wanted.into_iter().for_each(|entry| self.tell(Event::Watched(entry)));
    }

    /// A server says that it goes away, as the stream of the service does.
    fn drain(&mut self) {
        let server = self.rng.usize(..self.servers.len());
        let at = self.now;
        for call in self.calls.iter_mut().filter(|call| call.server == server) {
            if call.line.take_if(|line| !line.is_delivering()).is_some() {
                call.say(at, frame::drain(Duration::from_millis(500)).bytes);
            }
        }
        self.stop(server);
    }

    /// All faults end.
    pub(super) fn heal(&mut self) {
        {
            let mut world = lock(&self.world);
            world.primary.is_out = false;
            world.replica = world.primary;
        }
        for server in 0..self.servers.len() {
            match &mut self.servers[server] {
                Some(server) => server.look(self.now),
                None => self.start(server),
            }
        }
        let soon = self.now + Duration::from_millis(10);
        let reset = self.rng.bool();
        for call in &mut self.calls {
            call.hurry(soon);
            if reset && std::mem::take(&mut call.channel.is_mute) {
                call.end(soon, 0);
            }
        }
    }
}
