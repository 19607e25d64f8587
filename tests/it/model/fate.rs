//! What becomes of a store, as a seed has it: writes, compactions, backups that are restored, a replica that follows.

use fastrand::Rng;

use super::oracle::{KEYS, Key, Text};
use super::store::{View, World};

impl World {
    /// Some changes: new values, sometimes ones that are no number, and deletions of what there is.
    pub(crate) fn draw_writes(&self, rng: &mut Rng, last_value: &mut i64) -> Vec<(Key, Option<Text>)> {
        let mut keys = KEYS;
        rng.shuffle(&mut keys);
        let wanted = rng.usize(1..=4);
        keys.into_iter().take(wanted).filter_map(|key| self.draw_write(key, rng, last_value)).collect()
    }

    fn draw_write(&self, key: Key, rng: &mut Rng, last_value: &mut i64) -> Option<(Key, Option<Text>)> {
        *last_value += 1;
        let text = match rng.u8(..10) {
            0..3 => {
                self.oracle.get(self.primary.head).latest.get(key)?.text.as_ref()?;
                None
            }
            3..5 => Some((format!("no number {last_value}"), "string")),
            _ => Some((last_value.to_string(), "int")),
        };
        Some((key, text))
    }

    /// The primary forgets what is old; its newest position stays. Returns up to where, and whether a deletion is
    /// forgotten with it.
    pub(crate) fn compact(&mut self, rng: &mut Rng) -> Option<(u64, bool)> {
        let View { head, compacted_to, .. } = self.primary;
        let line = self.oracle.line(head).skip(1).map(|id| self.oracle.get(id).position.revision);
        let old: Vec<_> = line.take_while(|revision| *revision > compacted_to).take(4).collect();
        let to = rng.choice(old)?;
        let latest = self.oracle.get(head).latest.values();
        let mut gone = latest.filter(|latest| latest.text.is_none() && latest.revision > compacted_to);
        let forgets = gone.any(|latest| latest.revision <= to);
        self.primary.compacted_to = to;
        Some((to, forgets))
    }

    /// An older copy of the primary goes on in its place; sometimes it is another store altogether. Returns where it
    /// stands.
    pub(crate) fn restore(&mut self, rng: &mut Rng) -> u64 {
        let line: Vec<_> = self.oracle.line(self.primary.head).skip(1).take(6).collect();
        let is_new = rng.u8(..8) == 0;
        let head = match rng.choice(line).filter(|_| !is_new) {
            Some(older) => older,
            None => self.oracle.genesis(rng.u64(1..)),
        };
        // A copy may know what was forgotten since it was made.
        let compacted_to = if is_new || rng.bool() { 0 } else { self.primary.compacted_to };
        let head_at = self.oracle.get(head).position.revision;
        self.primary = View { head, compacted_to: compacted_to.min(head_at - 1), ..self.primary };
        head_at
    }

    /// The replica follows the primary, all the way or not. Returns how far.
    pub(crate) fn replicate(&mut self, rng: &mut Rng) -> Option<u64> {
        let Self { oracle, primary, replica, .. } = &*self;
        let line = oracle.line(primary.head);
        let ahead: Vec<_> = line.take_while(|&id| !oracle.descends(replica.head, id)).collect();
        let head = rng.choice(ahead)?;
        let head_at = oracle.get(head).position.revision;
        let compacted_to = primary.compacted_to.min(head_at - 1);
        self.replica = View { head, compacted_to, ..self.replica };
        Some(head_at)
    }
}
