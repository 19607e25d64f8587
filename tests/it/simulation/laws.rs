//! What must hold of what is seen from outside, beside the laws of the model. The numbers are those of the laws of the design.

use std::time::Duration;

use datastream::key::KeySet;
use datastream_client::{ClientStatus, Disconnect, Entries, Snapshot, State};

use super::counts::Happening;
use super::stage::Stage;
use crate::model::laws::text;
use crate::model::oracle::KEYS;
use crate::model::store::World;

/// How long a stream takes to be asked for after its connection was heard of, and how late that is noted.
const NOTED_WITHIN: Duration = Duration::from_millis(500);
/// After how long a server says that it cannot confirm what it has.
const UNCONFIRMED: Duration = Duration::from_secs(6);
/// How long the answer to `Sync` may be on its way.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// In this time a client asks for so many connections at most: the waits double from a quarter of a second, which makes six
/// attempts, and an attempt is one or two connections.
const ATTEMPTS: (Duration, usize) = (Duration::from_secs(10), 12);

/// Law 8: a client says that it is stale before it has heard nothing for longer than the idle limit.
pub(super) fn is_ready_while_it_hears(now: Duration, heard: Duration, idle: Duration, state: State) {
    let silent = now.saturating_sub(heard);
    assert!(
        state != State::Ready || silent <= idle + NOTED_WITHIN,
        "it is {state:?}, and has heard nothing for {silent:?}"
    );
}

/// What is shown holds all that was committed before its age, but for the time that a doorbell may be missed and that
/// a message may be under way. Only a replica may be older without knowing it.
pub(super) fn is_as_fresh_as_it_says(
    stage: &Stage,
    shown: &Snapshot,
    wanted: &KeySet,
    age: Option<Duration>,
    idle: Duration,
) {
    let (Some(position), Some(age)) = (shown.position(), age) else { return };
    if stage.has_replica || wanted.is_empty() {
        return;
    }
    let slack = UNCONFIRMED + idle.max(ANSWERED_WITHIN) + NOTED_WITHIN;
    let Some(until) = stage.now().checked_sub(age + slack) else { return };
    let world = stage.world();
    let shown = world.oracle.find(position).expect("it was checked before");
    let due = world.oracle.line(world.primary.head).find(|id| stage.committed(*id) <= until);
    let is_there = due.is_none_or(|due| world.oracle.descends(shown, due));
    assert!(is_there, "it is older than the {age:?} that it says: {position:?}");
}

/// Streams fail in many ways, but our own server keeps to the contract, and refuses nobody.
pub(super) fn server_keeps_the_contract(status: &ClientStatus) {
    let is_violated = matches!(status.last_error.as_deref(), Some(Disconnect::Violation(_)));
    assert!(!is_violated && status.state != State::Fatal, "{status:?}");
}

/// Law 8: no storm.
pub(super) fn attempts_are_few(name: &str, attempts: &[Duration]) {
    let (within, most) = ATTEMPTS;
    let is_storm = |window: &[Duration]| window[most] - window[0] < within;
    let stormy = attempts.windows(most + 1).next_back().is_some_and(is_storm);
    assert!(!stormy, "{name} asks for more than {most} connections within {within:?}: {attempts:?}");
}

/// Law 7: a handle has the value of its key, or the last good one. Between two looks several states may have been shown.
pub(super) fn has_last_good(
    stage: &Stage,
    world: &World,
    key: &str,
    (before, after): (&Snapshot, &Snapshot),
    had: Option<i64>,
    got: Option<i64>,
) {
    if !after.covers(key) {
        return assert_eq!(got, None, "{key} is not known yet");
    }
    match text(after, key) {
        None => assert_eq!(got, None, "{key} is gone"),
        Some((value, "int")) => assert_eq!(got, value.parse().ok(), "{key} is {value}"),
        Some(_) => {
            let is_lost = got.is_none() && had.is_some() && !may_be_deleted(world, key, before, after);
            assert!(!is_lost, "{key} lost its last good value {had:?}");
            let was_good = got.is_none_or(|got| was_ever(world, key, &got.to_string()));
            assert!(was_good, "{key} was never {got:?}");
            if got.is_some() && text(before, key) != text(after, key) {
                stage.count(Happening::LastGood);
            }
        }
    }
}

/// Whether the key may have been shown as deleted between the two, on whatever way there is from one to the other.
fn may_be_deleted(world: &World, key: &str, before: &Snapshot, after: &Snapshot) -> bool {
    let id = |shown: &Snapshot| shown.position().and_then(|position| world.oracle.find(position));
    let (Some(before), Some(after)) = (id(before), id(after)) else { return true };
    let Some(fork) = world.oracle.line(after).find(|id| world.oracle.descends(before, *id)) else {
        return true;
    };
    let there = world.oracle.line(after).take_while(|id| *id != fork);
    let later = (0..world.oracle.len()).filter(|id| *id != before && world.oracle.descends(*id, before));
    let mut way = there.chain((fork != before).then_some(fork)).chain(later);
    way.any(|id| world.oracle.get(id).latest.get(key).is_none_or(|latest| latest.text.is_none()))
}

fn was_ever(world: &World, key: &str, value: &str) -> bool {
    let mut all = (0..world.oracle.len()).map(|id| world.oracle.get(id).latest.get(key));
    all.any(|latest| latest.and_then(|latest| latest.text.as_ref()).is_some_and(|(text, _)| text == value))
}

/// A map of a prefix shows what the snapshot shows.
pub(super) fn map_is_whole(prefix: &str, shown: &Snapshot, map: Option<&Entries<i64>>) {
    if !shown.covers(prefix) {
        return;
    }
    for key in KEYS.iter().filter(|key| key.starts_with(prefix)) {
        let got = map.and_then(|map| map.get(key)).copied();
        match text(shown, key) {
            None => assert_eq!(got, None, "{key} is gone"),
            Some((value, "int")) => assert_eq!(got, value.parse().ok(), "{key} is {value}"),
            Some(_) => {}
        }
    }
}

/// Counts what led from one state to the next.
pub(super) fn count_step(stage: &Stage, world: &World, before: &Snapshot, after: &Snapshot) {
    let Some(position) = after.position() else { return };
    let Some(from) = before.position() else { return stage.count(Happening::FirstState) };
    let id = |position| world.oracle.find(position).expect("it was checked before");
    match world.oracle.descends(id(position), id(from)) {
        true if position != from => stage.count(Happening::Advance),
        true => {}
        false => stage.count(Happening::Reset),
    }
    let joins = after.keys().any(|key| !before.covers(key));
    let leaves = before.keys().any(|key| !after.covers(key));
    let seen = [(joins, Happening::LateWatch), (leaves, Happening::Unwatch)];
    seen.into_iter().filter(|(is_seen, _)| *is_seen).for_each(|(_, happening)| stage.count(happening));
}
