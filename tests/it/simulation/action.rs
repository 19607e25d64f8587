//! What people and stores do to a run.

use datastream::key::Selector;

use super::counts::Happening;
use super::run::Run;
use crate::model::oracle::{KEYS, Key, Text};

const PREFIXES: [Key; 3] = ["a/", "a/b/", "b/"];
/// Of a value of which no two fit in one message.
const LARGE_BYTES: usize = 600_000;

impl Run {
    /// Does one thing.
    pub(super) fn act(&mut self) {
        match self.rng.u8(..100) {
            0..25 => self.commit(),
            25..40 => self.write(),
            40..52 => self.watch(),
            52..57 => self.unwatch(),
            57..62 => self.compact(),
            62..65 => self.restore(),
            65..69 => self.replicate(),
            69..73 => self.tear(),
            _ => self.break_something(),
        }
    }

    fn draw_writes(&mut self) -> Vec<(Key, Option<Text>)> {
        let mut writes = self.stage.world().draw_writes(&mut self.rng, &mut self.last_value);
        for text in writes.iter_mut().filter_map(|(_, text)| text.as_mut()).filter(|_| self.is_large) {
            if text.1 == "string" || self.rng.bool() {
                *text = (text.0.clone() + &" and large".repeat(LARGE_BYTES / 10), "string");
                self.stage.count(Happening::Large);
            }
        }
        writes
    }

    /// Somebody else writes to the store.
    fn commit(&mut self) {
        let writes = self.draw_writes();
        if writes.is_empty() {
            return;
        }
        self.stage.note(|| format!("commit {:?}", writes.iter().map(|(key, _)| key).collect::<Vec<_>>()));
        {
            let world = &mut *self.stage.world();
            world.primary.head = world.oracle.commit(world.primary.head, writes);
        }
        self.stage.ring();
    }

    fn write(&mut self) {
        let writes = self.draw_writes();
        let writers: Vec<_> = self.apps.iter_mut().filter(|app| app.is_writer).collect();
        let writer = self.rng.choice(writers).expect("the first one writes");
        writer.write(&mut self.rng, &self.stage, writes);
    }

    pub(super) fn watch(&mut self) {
        let texts = KEYS.iter().chain(&PREFIXES);
        let entries = texts.map(|text| Selector::parse(text).expect("it is a key or a prefix"));
        let app = self.rng.choice(&mut self.apps).expect("there are some");
        let free: Vec<_> = entries.filter(|entry| !app.wanted.contains_selector(entry)).collect();
        if let Some(entry) = self.rng.choice(free) {
            self.stage.note(|| format!("{} watches {entry:?}", app.name));
            app.watch(entry);
        }
    }

    fn unwatch(&mut self) {
        let app = self.rng.choice(&mut self.apps).expect("there are some");
        let wanted: Vec<_> = app.wanted.iter().cloned().collect();
        if let Some(entry) = self.rng.choice(wanted) {
            self.stage.note(|| format!("{} no longer watches {entry:?}", app.name));
            app.unwatch(&entry);
        }
    }

    fn compact(&mut self) {
        let compacted = self.stage.world().compact(&mut self.rng);
        let Some((to, forgets)) = compacted else { return };
        self.stage.note(|| format!("compacted to {to}"));
        if forgets {
            self.stage.count(Happening::Compaction);
        }
        self.stage.ring();
    }

    fn restore(&mut self) {
        let head_at = self.stage.world().restore(&mut self.rng);
        self.stage.note(|| format!("the store goes back to {head_at}"));
        self.stage.count(Happening::Restore);
        self.stage.ring();
    }

    fn replicate(&mut self) {
        let followed = self.stage.world().replicate(&mut self.rng);
        let Some(head_at) = followed.filter(|_| self.stage.has_replica) else { return };
        self.stage.note(|| format!("the replica follows to {head_at}"));
        self.stage.count(Happening::Replicated);
        self.stage.ring();
    }
}
