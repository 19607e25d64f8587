//! One delivery: what a subscriber is owed between two positions, from one version of the state.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::KeySet;
use datastream::proto::{DataResponse, Phase};

use crate::entries::{Leaf, Run};
use crate::entry::Entry;
use crate::frame::{self, Frame};
use crate::state::{self, Place, State};

/// Of how many keys a subscriber may ask so that its message is shared with others.
const SHARED_KEYS: usize = 32;

/// A delivery that is being sent. It pins one version of the state until its last message is made, so that what
/// the client applies is one committed state, however many messages it takes.
#[derive(Debug)]
pub struct Delivery {
    state: Arc<State>,
    scope: Scope,
    /// What is still to be walked, the next at the end; `None` until the first message is asked for.
    walks: Option<Vec<Walk>>,
    looked_at: u64,
}

/// Which entries of a version a subscriber is owed, and as what. Two of the same scope are owed the same messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    phase: Phase,
    /// `u64::MAX` where all of `keys` is delivered whole.
    since: u64,
    /// Whether the client understands tombstones.
    announced: bool,
    /// Of these keys, the current values.
    whole: Arc<KeySet>,
    /// Of these keys, unless they are delivered whole, what changed after `since`.
    keys: Arc<KeySet>,
}

/// A way through the state that can be left and taken up again.
#[derive(Debug)]
enum Walk {
    /// What changed, in the order of revisions, after a place.
    Changes(Place),
    /// What changed, key by key; the next at the end.
    ChangesOf(Vec<Arc<str>>),
    /// The current values of single keys, the next at the end.
    Keys(Vec<Arc<str>>),
    /// The current values below a prefix, after a key.
    Below(Arc<str>, Option<Arc<str>>),
}

impl Delivery {
    /// The whole of `keys`, in `state`.
    #[must_use]
    pub fn of_state(state: Arc<State>, phase: Phase, keys: &Arc<KeySet>, announced: bool) -> Self {
        let scope = Scope { phase, whole: keys.clone(), keys: keys.clone(), since: u64::MAX, announced };
        Self { state, scope, walks: None, looked_at: 0 }
    }

    /// Those of `keys` that changed after the revision `since`, and the whole of `fresh`.
    #[must_use]
    pub fn of_changes(
        state: Arc<State>,
        phase: Phase,
        keys: &Arc<KeySet>,
        fresh: &Arc<KeySet>,
        since: u64,
        announced: bool,
    ) -> Self {
        let scope = Scope { phase, whole: fresh.clone(), keys: keys.clone(), since, announced };
        Self { state, scope, walks: None, looked_at: 0 }
    }

    /// The version of the state that this delivery is of.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// How many entries were looked at so far, to find those that are owed.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// The next message, of up to `join_bytes` of entries, or [`frame::PART_BYTES`] if the client is announced; a larger
    /// entry travels alone. The last one, without `more`, carries the position; a delivery without entries is one message
    /// without entries.
    ///
    /// A delivery of one short message is made once for all who are owed the same: an update touches many of them.
    pub fn next_frame(&mut self, join_bytes: usize, source_age: Option<Duration>) -> Frame {
        let may_share = self.walks.is_none() && source_age.is_none() && self.scope.is_small();
        if may_share && let Some(frame) = self.state.shared().get(&self.scope, join_bytes) {
            self.walks = Some(Vec::new());
            return frame;
        }
        let frame = self.make_frame(join_bytes, source_age);
        if may_share {
            self.state.shared().keep(&self.scope, &frame);
        }
        frame
    }

    fn make_frame(&mut self, join_bytes: usize, source_age: Option<Duration>) -> Frame {
        let limit = if self.scope.announced { join_bytes.min(frame::PART_BYTES) } else { join_bytes };
        let mut message = Message { limit, ..Message::default() };
        let walks = self.walks.get_or_insert_with(|| {
            let (walks, looked_at) = self.scope.walks(&self.state);
            message.looked_at = looked_at;
            walks
        });
        while let Some(walk) = walks.last_mut() {
            walk.fill(&self.state, &self.scope, &mut message);
            if message.full {
                break;
            }
            walks.pop();
        }
        self.looked_at += message.looked_at;
        let more = message.full;
        let tail = DataResponse {
            phase: self.scope.phase.into(),
            more,
            position: (!more).then(|| self.state.position().to_proto()),
            source_age: source_age.filter(|_| !more).map(frame::proto_duration),
            ..DataResponse::default()
        };
        frame::join(&message.parts, &tail)
    }
}

impl Scope {
    /// Whether it costs little to find out that two are the same.
    fn is_small(&self) -> bool {
        self.keys.len() <= SHARED_KEYS && self.whole.len() <= SHARED_KEYS
    }

    /// All that is to be walked, and how many entries were looked at to decide it.
    fn walks(&self, state: &State) -> (Vec<Walk>, u64) {
        let mut walks = whole(&self.whole);
        if self.since == u64::MAX {
            return (walks, 0);
        }
        let (walk, looked_at) = changes(state, &self.keys, self.since);
        walks.push(walk);
        (walks, looked_at)
    }

    /// Whether an entry that a walk through the changes meets is owed. What is delivered whole is left to the
    /// walk that does so: no key comes twice.
    fn owes_change(&self, entry: &Entry) -> bool {
        entry.revision > self.since
            && (self.announced || !entry.is_tombstone())
            && self.keys.matches(&entry.key)
            && !self.whole.matches(&entry.key)
    }
}

impl Walk {
    /// Goes on until the end or until the message is full; what did not fit is met again.
    fn fill(&mut self, state: &State, scope: &Scope, message: &mut Message) {
        match self {
            Self::Changes(place) => {
                let owed = |entry: &Entry| scope.owes_change(entry);
                if let Some(last) = message.take_from(state.after(place.clone()), owed) {
                    *place = (last.revision, last.key.clone());
                }
            }
            Self::Below(prefix, after) => {
                if let Some(last) = message.take_runs(state.runs(prefix, after.as_deref())) {
                    *after = Some(last.key.clone());
                }
            }
            Self::ChangesOf(keys) => {
                message.take_keys(state, keys, |entry| scope.owes_change(entry));
            }
            Self::Keys(keys) => message.take_keys(state, keys, |entry| !entry.is_tombstone()),
        }
    }
}

/// A message that is being filled.
#[derive(Default)]
struct Message {
    parts: Vec<Part>,
    limit: usize,
    length: usize,
    full: bool,
    looked_at: u64,
}

/// What is joined in a message.
enum Part {
    Entry(Arc<Entry>),
    Leaf(Arc<Leaf>),
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Entry(entry) => &entry.encoded,
            Self::Leaf(leaf) => leaf.joined().unwrap_or_default(),
        }
    }
}

impl Message {
    /// Takes the values among `runs`, a leaf at once where that fits. Returns the last entry that is done with.
    fn take_runs<'a>(&mut self, runs: impl Iterator<Item = Run<'a>>) -> Option<&'a Arc<Entry>> {
        let mut last = None;
        for run in runs {
            last = match run {
                Run::Whole(leaf) if self.take_leaf(leaf) => leaf.entries().last(),
                run => self.take_from(run.entries().iter(), |entry| !entry.is_tombstone()).or(last),
            };
            if self.full {
                break;
            }
        }
        last
    }

    /// Returns false, and takes nothing, if the values of the leaf do not fit, or are too long to be kept joined.
    fn take_leaf(&mut self, leaf: &Arc<Leaf>) -> bool {
        let Some(joined) = leaf.joined().filter(|joined| self.length + joined.len() <= self.limit) else {
            return false;
        };
        self.looked_at += leaf.entries().len() as u64;
        self.length += joined.len();
        if !joined.is_empty() {
            self.parts.push(Part::Leaf(leaf.clone()));
        }
        true
    }

    /// Takes what is owed among `entries`. Returns the last one that is done with.
    fn take_from<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Arc<Entry>>,
        owed: impl Fn(&Entry) -> bool,
    ) -> Option<&'a Arc<Entry>> {
        let mut last = None;
        for entry in entries {
            if !self.take(entry, &owed) {
                break;
            }
            last = Some(entry);
        }
        last
    }

    fn take_keys(&mut self, state: &State, keys: &mut Vec<Arc<str>>, owed: impl Fn(&Entry) -> bool) {
        while let Some(key) = keys.last() {
            if state.get(key).is_some_and(|entry| !self.take(entry, &owed)) {
                break;
            }
            keys.pop();
        }
    }

    /// Returns false, and takes nothing, if the entry is owed and does not fit.
    fn take(&mut self, entry: &Arc<Entry>, owed: impl Fn(&Entry) -> bool) -> bool {
        self.looked_at += 1;
        if owed(entry) {
            let length = self.length + entry.encoded.len();
            if length > self.limit && !self.parts.is_empty() {
                self.full = true;
                return false;
            }
            self.length = length;
            self.parts.push(Part::Entry(entry.clone()));
        }
        true
    }
}

fn whole(keys: &KeySet) -> Vec<Walk> {
    if keys.is_empty() {
        return Vec::new();
    }
    if keys.is_all() {
        return vec![Walk::Below(Arc::from(""), None)];
    }
    let below = keys.prefixes().map(|prefix| Walk::Below(prefix.clone(), None));
    below.chain([Walk::Keys(keys.keys().cloned().collect())]).collect()
}

/// The way to what changed after `since`: through the index, or key by key where the keys are fewer. Also
/// returns how many entries were looked at to decide it: never more than one above the number of keys.
fn changes(state: &State, keys: &KeySet, since: u64) -> (Walk, u64) {
    let from = state::end_of(since);
    if keys.is_all() || keys.prefixes().next().is_some() {
        return (Walk::Changes(from), 0);
    }
    // A single look-up costs no more than to find out whether it does.
    let probed = if keys.len() == 1 { 0 } else { state.after(from.clone()).take(keys.len() + 1).count() };
    let walk = if keys.len() == 1 || probed > keys.len() {
        Walk::ChangesOf(keys.keys().cloned().collect())
    } else {
        Walk::Changes(from)
    };
    (walk, probed as u64)
}
