//! First contact, and finding out who is there.
//!
//! Every answer of a server of this project, errors included, carries the header of its protocol. Where an answer
//! lacks it, and before each reconnect, the server is asked for its list of keys: answered well and without the
//! header, it is one of the original; an error without it, a proxy's perhaps, proves nothing.

use std::time::Duration;

use datastream::key::KeySet;

use super::{Answer, Link, Output, Session, StreamId, stream};
use crate::error::Disconnect;
use crate::session::Changed;
use crate::status::Peer;

/// A `Sync` that is under way.
#[derive(Debug)]
pub(super) struct Syncing {
    pub(super) id: StreamId,
    asked: Duration,
    pub(super) until: Duration,
    /// What it asked for, less what nobody watches any more.
    pub(super) keys: KeySet,
}

/// A probe that is under way.
#[derive(Debug)]
pub(super) struct Probing {
    pub(super) id: StreamId,
    pub(super) until: Duration,
}

impl Session {
    /// Makes first contact.
    pub(super) fn sync(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.has_synced = true;
        let id = self.next_id();
        let until = now.saturating_add(self.limits.sync);
        self.syncing = Some(Syncing { id, asked: now, until, keys: self.wanted.clone() });
        out.push(Output::Link(Link::Connecting));
        out.push(Output::Sync(id, self.request(Vec::new(), None)));
    }

    /// Asks who is there; with `reconnect`, on the new connection that the streams will use.
    pub(super) fn probe(&mut self, now: Duration, reconnect: bool, out: &mut Vec<Output>) {
        let reconnect = reconnect.then_some(self.servers.turn());
        let id = self.next_id();
        self.probing = Some(Probing { id, until: now.saturating_add(self.limits.sync) });
        out.push(Output::Probe { id, reconnect });
    }

    /// The answer to `Sync` is a first state, if it is a server of this project that answers. A failure is no
    /// obstacle: the stream brings the state.
    pub(super) fn synced(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        answer: Answer,
        out: &mut Vec<Output>,
    ) {
        let Some(syncing) = self.syncing.take_if(|syncing| syncing.id == id) else { return };
        let state = match answer.state {
            Ok(state) => stream::first_state(syncing.keys, state, &self.limits),
            // A refused one may have been too large, and is what the original says to all.
            Err(Disconnect::Refused { .. }) => None,
            // The connection itself failed.
            Err(why) => return self.go_on(now, random, why, out),
        };
        if !answer.is_current {
            return self.probe(now, false, out);
        }
        // A position that a file brought meanwhile is what the stream goes on from: the answer may be older.
        if let Some((state, source_age)) = state.filter(|_| self.applied.position().is_none()) {
            self.confirmed = Some((syncing.asked, source_age));
            self.file = None;
            self.apply(state, Changed::All, out);
            out.push(Output::Link(Link::Live(Peer::Current)));
        }
        self.subscribe(now, out);
    }

    /// First contact failed: another server is asked at once. Where there is none, so is the same one, unless it could not
    /// even be reached.
    fn go_on(&mut self, now: Duration, random: f64, why: Disconnect, out: &mut Vec<Output>) {
        if !self.servers.go_on() && matches!(why, Disconnect::Unreachable(_) | Disconnect::Credentials(_)) {
            return self.retreat(now, random, why, out);
        }
        out.push(Output::Link(Link::Lost(why.into())));
        self.probe(now, true, out);
    }

    /// Follows whoever is there, in their way.
    pub(super) fn probed(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        answer: Result<Peer, Disconnect>,
        out: &mut Vec<Output>,
    ) {
        if self.probing.take_if(|probing| probing.id == id).is_none() {
            return;
        }
        match answer {
            Ok(Peer::Current) => self.subscribe(now, out),
            Ok(Peer::Original) => self.follow_original(now, out),
            Err(why) => self.retreat(now, random, why, out),
        }
    }

    /// Gives up a call that is not answered in time.
    pub(super) fn drop_late(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        if let Some(syncing) = self.syncing.take_if(|syncing| now >= syncing.until) {
            out.push(Output::Close(syncing.id));
            self.go_on(now, random, Disconnect::Silent, out);
        }
        if let Some(probing) = self.probing.take_if(|probing| now >= probing.until) {
            out.push(Output::Close(probing.id));
            self.retreat(now, random, Disconnect::Silent, out);
        }
    }
}
