//! What must hold at each step. The numbers are those of the laws of the design.

use std::sync::Arc;

use datastream::key::KeySet;
use datastream::position::Position;
use datastream_client::session::Changed;
use datastream_client::{Snapshot, Unavailable};
use datastream_server::state::State;

use super::client::Handle;
use super::oracle::KEYS;
use super::store::{Role, World};

/// Laws 2, 3 and 5: what is shown is the committed state of its position, restricted to the keys that are
/// covered, and nothing is covered that nobody wants.
pub(crate) fn is_committed(world: &World, shown: &Snapshot, wanted: &KeySet) {
    let Some(position) = shown.position() else {
        assert_eq!(shown.keys().count(), 0, "a value came from nowhere");
        return;
    };
    let id = world.oracle.find(position).unwrap_or_else(|| panic!("{position:?} was never committed"));
    let latest = &world.oracle.get(id).latest;
    for key in KEYS {
        let committed = latest.get(key).and_then(|latest| latest.text.as_ref());
        let covered = shown.covers(key);
        assert!(!covered || wanted.matches(key), "{key} is covered, and nobody wants it");
        let expected = committed.filter(|_| covered).map(|(value, value_type)| (value.as_str(), *value_type));
        assert_eq!(text(shown, key), expected, "{key} at {position:?} (covered: {covered})");
    }
}

/// What made the client show another state.
pub(crate) enum Cause<'a> {
    /// A reset.
    Reset,
    /// A stream took over that was asked for from this position; without one, it brought a whole state.
    TakeOver(Option<&'a Position>),
    /// Anything else.
    Other,
    /// It is not known what the client was told: it is seen from outside.
    Unseen,
}

/// Law 6: inside one history no revision goes back; another history comes with a reset.
///
/// One exception is stated here: where two servers hold different histories at the same time, a stream that
/// joins may have followed the other one, from a position that both have or because the client doubted its own.
pub(crate) fn goes_forward(
    world: &World,
    before: &Snapshot,
    after: &Snapshot,
    wanted: &KeySet,
    cause: &Cause<'_>,
) {
    let (Some(before), Some(after)) = (before.position(), after.position()) else {
        let forgot = before.position().is_some() && after.position().is_none();
        return assert!(!forgot || wanted.is_empty(), "a client that watches something forgot where it is");
    };
    let descends = |id: &Position, from: &Position| {
        let find = |position| world.oracle.find(position).expect("it was checked before");
        world.oracle.descends(find(id), find(from))
    };
    let goes_on = match cause {
        Cause::Reset => true,
        Cause::TakeOver(from) => {
            let is_older = after != before && descends(before, after);
            after.revision >= before.revision && !is_older && from.is_none_or(|from| descends(after, from))
        }
        Cause::Other => descends(after, before),
        // Only a reset leads to another branch, or back from where the truth no longer is.
        Cause::Unseen => {
            let forks = !descends(before, after);
            let primary = &world.oracle.get(world.primary.head).position;
            descends(after, before) || forks || !descends(primary, before)
        }
    };
    assert!(goes_on, "went from {before:?} to {after:?} without a reset");
}

/// Law 6: a position is refused only if the server knows that it does not have it. `is_first` says that `known`
/// is what the stream began with: later the server may have moved on without a message.
pub(crate) fn reset_is_justified(
    world: &World,
    known: &Position,
    state: &State,
    authoritative: bool,
    is_first: bool,
) {
    let id = world.oracle.find(known).unwrap_or_else(|| panic!("{known:?} was never committed"));
    let head = world.oracle.find(state.position()).expect("a server shows what was committed");
    let lags = id != head && world.oracle.descends(id, head);
    assert!(
        !lags || authoritative,
        "a server that lags at {:?} reset a client at {known:?}",
        state.position()
    );
    let primary = world.view(Role::Primary).head;
    assert!(!lags || !world.oracle.descends(primary, id), "the truth has {known:?}, and a client was reset");
    let kept = world.oracle.descends(head, id) && known.revision > state.compacted_to();
    assert!(!is_first || !kept, "{known:?} is remembered, and a client was reset");
}

/// What differs is named, so that the handles hear of it.
pub(crate) fn names_what_differs(before: &Snapshot, after: &Snapshot, changed: &Changed) {
    let Changed::Keys(named) = changed else { return };
    for key in KEYS.iter().filter(|key| after.covers(key)) {
        let named = named.iter().any(|named| **named == **key);
        let known = before.covers(key) && text(before, key) == text(after, key);
        assert!(named || known, "{key} changed, and no handle was told");
    }
}

/// Law 7: a handle has the latest good value, and none only if there is none.
pub(super) fn has_last_good(key: &Arc<str>, handle: &Handle) {
    let got = handle.watch.try_get();
    match handle.good {
        Some(good) => assert_eq!(got.as_ref().ok(), Some(&good), "{key} lost its last good value"),
        None if handle.is_missing => {
            assert!(matches!(got, Err(Unavailable::Missing { .. })), "{key} is gone, but shown as {got:?}");
        }
        None => assert!(got.is_err(), "{key} never had a good value, but shows one"),
    }
}

/// What everything comes to: once all is quiet, the client shows the head of the store.
pub(crate) fn is_current(world: &World, shown: &Snapshot, wanted: &KeySet) -> bool {
    let head = world.oracle.get(world.primary.head);
    let is_current = |key: &&str| {
        let text = head.latest.get(*key).and_then(|latest| latest.text.as_ref());
        shown.text(key).map(|(value, _)| &**value) == text.map(|(value, _)| value.as_bytes())
    };
    let mut watched = KEYS.iter().copied().filter(|key| wanted.matches(key));
    shown.position() == Some(&head.position) && watched.all(|key| shown.covers(key) && is_current(&key))
}

pub(crate) fn text<'a>(shown: &'a Snapshot, key: &str) -> Option<(&'a str, &'a str)> {
    let (value, value_type) = shown.text(key)?;
    Some((std::str::from_utf8(value).expect("all values of the model are text"), value_type))
}
