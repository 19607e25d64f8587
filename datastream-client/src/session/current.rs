//! Following a server of this project: a live stream, and one that will take its place.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::KeySet;
use datastream::position::Position;
use datastream::proto::{self, DataRequest, DataResponse, Phase};

use super::stream::{Heard, Stream};
use super::{COLLECT, Changed, Link, Opening, Output, Session, StreamId, texts};
use crate::error::Disconnect;
use crate::retry::HEALTHY;
use crate::snapshot::Snapshot;
use crate::status::Peer;

impl Session {
    pub(super) fn opened(&mut self, now: Duration, id: StreamId, opening: Opening) {
        let idle_limit = self.limits.idle.or(opening.heartbeat.map(|heartbeat| heartbeat.saturating_mul(3)));
        if let Some(stream) = self.stream(id) {
            stream.open(now, idle_limit);
        }
    }

    pub(super) fn received(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        message: DataResponse,
        out: &mut Vec<Output>,
    ) {
        let streams = [&mut self.live, &mut self.joining];
        let Some(stream) = streams.into_iter().flatten().find(|stream| stream.id == id) else { return };
        match stream.receive(now, message, &self.limits) {
            Ok(Heard::Part) => {}
            Ok(Heard::Heartbeat) => self.moved(now, id, None, Vec::new(), out),
            Ok(Heard::Delivery(phase, changed)) => self.moved(now, id, Some(phase), changed, out),
            Ok(Heard::Drain(retry_after)) => {
                let why = Disconnect::Draining { retry_after };
                self.drop_stream(now, random, id, why.clone(), out);
                if self.joining.is_some() {
                    // It is on its way to the same server, and may need another try.
                    self.not_before = self.servers.again(now, &why, random);
                }
            }
            Err(why) => self.drop_stream(now, random, id, why, out),
        }
    }

    /// The draft of a stream has moved: it is shown if the stream is the live one, or takes its place.
    fn moved(
        &mut self,
        now: Duration,
        id: StreamId,
        phase: Option<Phase>,
        changed: Vec<Arc<str>>,
        out: &mut Vec<Output>,
    ) {
        if self.joining.as_ref().is_some_and(|joining| joining.id == id) {
            return self.try_take_over(now, phase, out);
        }
        let Some(live) = &self.live else { return };
        self.confirmed = Some(live.confirmed());
        let draft = live.draft().clone();
        if phase == Some(Phase::Reset) {
            // Another history: a stream that joins from the old one would mix the two.
            if let Some(joining) = self.joining.take() {
                out.push(Output::Close(joining.id));
            }
            self.apply(draft, Changed::All, out);
            return self.plan_join(now + COLLECT);
        }
        self.apply(draft, Changed::Keys(changed), out);
    }

    /// A stream that joins takes over once it is not behind what is shown; a reset starts a new count.
    fn try_take_over(&mut self, now: Duration, phase: Option<Phase>, out: &mut Vec<Output>) {
        let shown = self.applied.revision();
        let is_reset = phase == Some(Phase::Reset);
        let Some(joined) = self.joining.take_if(|joining| is_reset || joining.draft().revision() >= shown)
        else {
            return;
        };
        let draft = joined.draft().clone();
        self.confirmed = Some(joined.confirmed());
        if let Some(old) = self.live.replace(joined) {
            self.credit(now, &old);
            out.push(Output::Close(old.id));
        }
        self.file = None;
        self.apply(draft, Changed::All, out);
        out.push(Output::Link(Link::Live(Peer::Current)));
        self.plan_join(now + COLLECT);
    }

    pub(super) fn ended(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        why: Disconnect,
        out: &mut Vec<Output>,
    ) {
        let is = |stream: &mut Stream| stream.id == id;
        let Some(ended) = self.live.take_if(is).or_else(|| self.joining.take_if(is)) else { return };
        self.credit(now, &ended);
        if self.joining.is_none() {
            self.not_before = match self.live {
                None => self.servers.lost(now, &why, random),
                Some(_) => self.servers.again(now, &why, random),
            };
            self.open_at = Some(self.not_before);
        }
        let why = Arc::new(why);
        out.push(if self.live.is_none() { Output::Link(Link::Lost(why)) } else { Output::Trouble(why) });
    }

    /// Ends a stream from this side.
    fn drop_stream(
        &mut self,
        now: Duration,
        random: f64,
        id: StreamId,
        why: Disconnect,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Close(id));
        self.ended(now, random, id, why, out);
    }

    /// A stream that was healthy for long clears the record of failures.
    pub(super) fn credit(&mut self, now: Duration, stream: &Stream) {
        if stream.complete.is_some_and(|complete| now >= complete + HEALTHY) {
            self.servers.credit();
        }
    }

    /// What is followed should have brought a write of this client, and did not: the next stream asks anew.
    pub(super) fn doubted(&mut self, now: Duration) {
        let is_busy = self.live.is_none() || self.joining.is_some() || self.open_at.is_some();
        if !is_busy && now >= self.believed_until {
            self.in_doubt = true;
            self.believed_until = now + HEALTHY;
            self.open_at = Some(now.max(self.not_before));
        }
    }

    pub(super) fn drop_silent(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        let limits = &self.limits;
        let streams = [&self.live, &self.joining].into_iter().flatten();
        let silent: Vec<_> =
            streams.filter(|stream| stream.silent_at(limits) <= now).map(|stream| stream.id).collect();
        for id in silent {
            self.drop_stream(now, random, id, Disconnect::Silent, out);
        }
    }

    /// One that is behind what is shown may follow another history, and never get there. With no live stream
    /// beside it, the next one asks from what is shown, and the server judges.
    pub(super) fn drop_behind(&mut self, now: Duration, random: f64, out: &mut Vec<Output>) {
        let is_alone = self.live.is_none();
        let behind = self.joining.as_ref().filter(|joining| is_alone && joining.complete.is_some());
        if let Some(id) = behind.map(|joining| joining.id) {
            self.drop_stream(now, random, id, Disconnect::Behind, out);
        }
    }

    /// Opens the stream that follows everything wanted from what is shown. The first time it asks for a state.
    pub(super) fn subscribe(&mut self, now: Duration, out: &mut Vec<Output>) {
        let id = self.next_id();
        let mut draft = Snapshot::clone(&self.applied);
        // Without a live stream it is the position that the server is to judge: a state that is behind what is shown
        // would only be given up.
        if std::mem::take(&mut self.in_doubt) && self.live.is_some() {
            draft = Snapshot::default();
        }
        let fresh: KeySet =
            self.wanted.iter().filter(|entry| !draft.covered().includes(entry)).cloned().collect();
        if self.file.is_some() {
            // When this stream takes over, the server has confirmed what it leaves as it was.
            draft.count_as_live();
        }
        draft.forget_all(&fresh);
        draft.set_covered(self.wanted.clone());
        let resume = draft.position().cloned();
        let fresh = if resume.is_some() { texts(&fresh) } else { Vec::new() };
        let request = self.request(fresh, resume);
        self.joining = Some(Stream::new(id, draft, now));
        out.push(Output::Open { id, request });
    }

    pub(super) fn request(&self, fresh: Vec<String>, resume: Option<Position>) -> DataRequest {
        DataRequest {
            keys: texts(&self.wanted),
            // Its presence, even empty, announces the client.
            resume: Some(resume.map_or_else(proto::Position::default, |position| position.to_proto())),
            fresh,
            client_name: self.client_name.clone(),
        }
    }

    /// Plans a stream for what is wanted and not covered, unless one is on its way: its end plans the next.
    pub(super) fn plan_join(&mut self, at: Duration) {
        let is_busy = self.joining.is_some() || self.syncing.is_some() || self.probing.is_some();
        if is_busy || self.open_at.is_some() {
            return;
        }
        let lacks_entry = !self.wanted.iter().all(|entry| self.applied.covered().includes(entry));
        // What a file covers is not followed either, before there is a stream.
        if lacks_entry || self.live.is_none() {
            self.open_at = Some(at.max(self.not_before));
        }
    }

    fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        [&mut self.live, &mut self.joining].into_iter().flatten().find(|stream| stream.id == id)
    }
}
