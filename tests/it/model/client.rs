//! The client without its worker: the session, and a handle for each key that is watched.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datastream::key::{KeySet, Selector};
use datastream::position::Position;
use datastream::proto::{DataRequest, Phase};
use datastream_client::cache::{self, Kept, LastGood};
use datastream_client::session::{Changed, Event, Input, Link, Output, Session, StreamId};
use datastream_client::{Disconnect, Limits, Origin, Peer, Snapshot, Watch};

use super::counts::{Happening, Seen};
use super::laws::{self, Cause};
use super::store::World;

pub(super) struct Client {
    session: Session,
    pub(super) wanted: KeySet,
    handles: BTreeMap<Arc<str>, Handle>,
    pub(super) shown: Arc<Snapshot>,
    pub(super) link: Link,
    pub(super) wake_at: Option<Duration>,
    asked: HashMap<StreamId, Asked>,
    /// The stream that was applied last.
    live: Option<StreamId>,
    /// The streams of which a delivery has begun.
    begun: HashSet<StreamId>,
    /// What it keeps, and what its handles had then.
    file: Option<(Vec<u8>, Goods)>,
}

/// The last good values of handles.
type Goods = BTreeMap<Arc<str>, i64>;

/// A handle, and what it must show.
pub(super) struct Handle {
    pub(super) watch: Watch<i64>,
    /// The latest value that could be read, unless the key was deleted since.
    pub(super) good: Option<i64>,
    /// Whether the key is known not to exist.
    pub(super) is_missing: bool,
    /// Whether only a file has said anything.
    is_from_file: bool,
}

/// With what a stream was asked for.
struct Asked {
    resume: Option<Position>,
    is_late: bool,
}

/// What the last message of a delivery said.
#[derive(Clone, Copy)]
struct Heard {
    id: StreamId,
    phase: Phase,
    in_parts: bool,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            session: Session::new(Limits::default(), String::new()),
            wanted: KeySet::new(),
            handles: BTreeMap::new(),
            shown: Arc::default(),
            link: Link::Idle,
            wake_at: None,
            asked: HashMap::new(),
            live: None,
            begun: HashSet::new(),
            file: None,
        }
    }

    /// Ends, and begins anew with what it has kept. Returns whether that is anything.
    pub(super) fn restart(&mut self) -> bool {
        if !self.session.awaits_server() {
            let of_handle = |handle: &Handle| handle.watch.last_good(&self.shown);
            let last_good: LastGood = self.handles.values().flat_map(of_handle).collect();
            let kept =
                Kept { server: String::new(), confirmed: SystemTime::UNIX_EPOCH, state: self.shown.clone() };
            let goods = self.handles.iter().filter_map(|(key, handle)| Some((key.clone(), handle.good?)));
            self.file = Some((cache::encode(&kept, &last_good), goods.collect()));
        }
        let (file, wanted) = (self.file.take(), std::mem::take(&mut self.wanted));
        *self = Self { file, wanted, ..Self::new() };
        let Some((bytes, _)) = &self.file else { return false };
        let kept = cache::decode(bytes, Origin::Cache).expect("it is as it was written");
        self.session.begin_with(kept.state);
        true
    }

    /// Feeds the session and does what it says, as the worker does. Returns the calls that are to be made.
    pub(super) fn step(&mut self, world: &World, seen: &mut Seen, input: Input) -> Vec<Output> {
        let heard = self.prepare(&input.event);
        let joined = self.begin_handle(&input.event);
        let step = self.session.step(input);
        self.wake_at = step.wake_at;
        let mut calls = Vec::new();
        for output in step.outputs {
            match output {
                Output::Apply(shown, changed) => self.apply(world, seen, shown, &changed, heard),
                Output::Link(link) => self.show(link),
                Output::Open { id, ref request, .. } => {
                    self.asked.insert(id, Asked::new(request));
                    calls.push(output);
                }
                Output::Trouble(why) => accept(&why),
                Output::Sync(..) | Output::Probe { .. } | Output::Close(_) => calls.push(output),
            }
        }
        if let Some(key) = joined {
            self.offer(&key);
        }
        calls
    }

    /// Whether a watched selector is settled: live, current, and everything covered.
    pub(super) fn is_settled(&self, world: &World) -> bool {
        if self.wanted.is_empty() {
            return matches!(self.link, Link::Idle) && self.shown.position().is_none();
        }
        matches!(self.link, Link::Live(Peer::Current)) && laws::is_current(world, &self.shown, &self.wanted)
    }

    /// Notes what an event says before the session hears of it.
    fn prepare(&mut self, event: &Event) -> Option<Heard> {
        match event {
            Event::Unwatched(entries) => {
                for entry in entries {
                    self.wanted.remove(entry);
                    self.handles.remove(entry.as_str());
                }
                None
            }
            Event::Received(id, message) if message.more => {
                self.begun.insert(*id);
                None
            }
            Event::Received(id, message) => {
                let in_parts = self.begun.remove(id);
                Some(Heard { id: *id, phase: message.phase(), in_parts })
            }
            _ => None,
        }
    }

    /// A key that is watched gets its handle.
    fn begin_handle(&mut self, event: &Event) -> Option<Arc<str>> {
        let Event::Watched(entry) = event else { return None };
        self.wanted.insert(entry.clone());
        let Selector::Key(key) = entry else { return None };
        let handle =
            Handle { watch: Watch::detached(key), good: None, is_missing: false, is_from_file: false };
        self.handles.insert(key.clone(), handle);
        Some(key.clone())
    }

    fn apply(
        &mut self,
        world: &World,
        seen: &mut Seen,
        shown: Arc<Snapshot>,
        changed: &Changed,
        heard: Option<Heard>,
    ) {
        let took_over = heard.filter(|heard| self.live.replace(heard.id) != Some(heard.id));
        let asked = took_over.and_then(|heard| self.asked.get(&heard.id));
        let cause = match heard {
            Some(Heard { phase: Phase::Reset, .. }) => Cause::Reset,
            _ => asked.map_or(Cause::Other, |asked| Cause::TakeOver(asked.resume.as_ref())),
        };
        laws::is_committed(world, &shown, &self.wanted);
        laws::goes_forward(world, &self.shown, &shown, &self.wanted, &cause);
        laws::names_what_differs(&self.shown, &shown, changed);
        count(seen, &self.shown, &shown, heard, asked);
        self.shown = shown;
        let told: Vec<_> = match changed {
            Changed::All => self.handles.keys().cloned().collect(),
            Changed::Keys(keys) => keys.clone(),
        };
        told.iter().for_each(|key| self.offer(key));
        self.handles.iter().for_each(|(key, handle)| laws::has_last_good(key, handle));
    }

    fn offer(&mut self, key: &Arc<str>) {
        let Some(handle) = self.handles.get_mut(key) else { return };
        handle.watch.offer(&self.shown);
        if !self.shown.covers(key) {
            if std::mem::take(&mut handle.is_from_file) {
                (handle.good, handle.is_missing) = (None, false);
            }
            return laws::has_last_good(key, handle);
        }
        handle.is_from_file = self.session.awaits_server();
        if let Some((_, goods)) = self.file.as_ref().filter(|_| handle.is_from_file) {
            handle.good = handle.good.or_else(|| goods.get(key).copied());
        }
        let text = laws::text(&self.shown, key);
        handle.is_missing = text.is_none();
        match text {
            Some((value, "int")) => handle.good = value.parse().ok(),
            Some(_) => {}
            None => handle.good = None,
        }
        laws::has_last_good(key, handle);
    }

    fn show(&mut self, link: Link) {
        if let Link::Lost(why) = &link {
            accept(why);
        }
        self.link = link;
    }
}

impl Asked {
    fn new(request: &DataRequest) -> Self {
        let resume = request.resume.clone().expect("the client announces itself");
        let resume = Position::from_proto(resume).expect("the client sends its positions whole");
        Self { resume, is_late: !request.fresh.is_empty() }
    }
}

/// Streams fail in many ways, but our own server keeps to the contract.
fn accept(why: &Disconnect) {
    assert!(!matches!(why, Disconnect::Violation(_)), "the server broke the contract: {why}");
}

fn count(seen: &mut Seen, before: &Snapshot, after: &Snapshot, heard: Option<Heard>, asked: Option<&Asked>) {
    let happened = [
        (Happening::Reset, heard.is_some_and(|heard| heard.phase == Phase::Reset)),
        (Happening::Resume, heard.is_some_and(|heard| heard.phase == Phase::Resume)),
        (Happening::MultiPart, heard.is_some_and(|heard| heard.in_parts)),
        (Happening::LateWatch, asked.is_some_and(|asked| asked.is_late)),
        (Happening::Narrowing, heard.is_none() && before.keys().any(|key| !after.covers(key))),
    ];
    happened.into_iter().filter(|(_, did)| *did).for_each(|(happening, _)| seen.note(happening));
}
