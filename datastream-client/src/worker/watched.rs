//! What is watched: who joins, who leaves, and who waits for room.

use std::sync::{Arc, Weak};

use datastream::key::{Selector, shown};

use super::Worker;
use crate::cell::{AnyCell, not_ready, selector};
use crate::error::Unavailable;
use crate::session::{Changed, Event};
use crate::transport::Transport;

impl<T: Transport> Worker<T> {
    /// A key that has got a handle again meanwhile stays.
    pub(super) fn unwatch(&mut self, mut keys: Vec<Arc<str>>) {
        if keys.is_empty() {
            return;
        }
        keys.retain(|key| self.shared.sweep(key) && self.session.wants(key));
        if !keys.is_empty() {
            self.step(Event::Unwatched(keys.iter().map(selector).collect()));
            self.calls.unwatched(&self.session);
        }
        self.readmit();
    }

    /// Asks for what there is room for by now.
    fn readmit(&mut self) {
        let excess = std::mem::take(&mut self.excess);
        let mut cells: Vec<_> = excess.iter().filter_map(Weak::upgrade).collect();
        cells.retain(|cell| {
            if self.session.wants(cell.key()) || self.session.has_room(cell.key()) {
                cell.fail(not_ready(cell.key()));
            }
            self.watch(cell)
        });
        self.begin_with(&cells);
    }

    pub(super) fn watch_all(&mut self, cells: &[Weak<dyn AnyCell>]) {
        let mut cells: Vec<_> = cells.iter().filter_map(Weak::upgrade).collect();
        cells.retain(|cell| self.watch(cell));
        self.begin_with(&cells);
    }

    /// Shows what is known of cells that are watched anew.
    fn begin_with(&mut self, cells: &[Arc<dyn AnyCell>]) {
        if cells.is_empty() {
            return;
        }
        // The map first: what a file has of them is shown in the step after those that watch.
        self.step(Event::Woken);
        let applied = self.session.applied().clone();
        let keys = cells.iter().flat_map(|cell| cell.followed());
        let overridden: Vec<_> = keys.filter(|key| self.local.overlay.has(key)).collect();
        if !overridden.is_empty() {
            self.publish(&applied, &Changed::Keys(overridden));
            self.settle(self.shared.started.elapsed());
        }
        let shown = self.overlaid(&applied);
        cells.iter().for_each(|cell| cell.offer(&shown, &Changed::All));
    }

    /// Returns whether what the cell follows is watched now.
    fn watch(&mut self, cell: &Arc<dyn AnyCell>) -> bool {
        let key = cell.key();
        // Parts have asked for their keys themselves, before.
        if !cell.parts().is_empty() || self.session.wants(key) {
            return true;
        }
        if !self.session.has_room(key) {
            self.excess.push(Arc::downgrade(cell));
            cell.fail(Unavailable::TooMany { key: shown(key).to_string() });
            return false;
        }
        let entry = selector(key);
        if matches!(entry, Selector::Key(_)) {
            self.local.overlay.meet(key);
        }
        self.step(Event::Watched(entry));
        true
    }
}
