//! The table of scenarios: those of what a server says, or does not.

use std::time::Duration;

use datastream::proto::{self, DataResponse, Phase};
use datastream_client::Disconnect;
use datastream_client::State::{Error, NotReady, Ready, Stale};

use super::Step::{self, ClientIs, Close, End, Is, Open, Pass, Say, Subscribe, Sync, SyncHangs};
use super::table::{SECOND, Scenario, TEN, harmless, part, ready, scenario, violation};
use crate::scripted::{change, deletion, heartbeat, message, reset, resume, state};

pub(super) fn values() -> Vec<Scenario> {
    let bad = |value_type: &'static str, text: &'static str| {
        let steps = vec![
            Say(change(6, [("n", 6, value_type, text)])),
            Is(Error, Some(10)),
            ClientIs(Ready),
            Say(change(7, [("n", 7, "int", "12")])),
            Is(Ready, Some(12)),
        ];
        ready(format!("a value that is refused: {value_type} {text:?}"), steps, [])
    };
    let first = vec![
        Sync(Ok(state(5, [("n", 3, "string", "ten")]))),
        Is(Error, None),
        Subscribe,
        Say(resume(5, [])),
        Say(change(6, [("n", 6, "int", "10")])),
        Is(Ready, Some(10)),
    ];
    let lost = vec![
        Say(change(6, [("n", 6, "int", "ten")])),
        Is(Error, Some(10)),
        End(Disconnect::Ended),
        Is(Stale, Some(10)),
        Subscribe,
        Say(resume(6, [])),
        Is(Error, Some(10)),
    ];
    let denied = || vec!["n".to_owned()];
    let is_denied = vec![
        Say(DataResponse { denied: denied(), ..reset(6, []) }),
        Is(Ready, None),
        Say(reset(7, [TEN])),
        Is(Ready, Some(10)),
    ];
    let reborn = vec![
        Say(deletion(6, "n")),
        Is(Ready, None),
        Say(change(7, [("n", 7, "int", "1")])),
        Is(Ready, Some(1)),
    ];
    let mut all: Vec<_> = [
        ("int", "ten"),
        ("int", ""),
        ("string", "10"),
        ("int", "9223372036854775808"),
        ("json", "10"),
        ("?", "10"),
    ]
    .map(|(value_type, text)| bad(value_type, text))
    .into();
    all.extend([
        scenario("the first value is refused", first, [NotReady, Ready]),
        ready("a refusal stands through a lost connection", lost, [Stale, Ready]),
        ready("a key is denied, and granted again", is_denied, []),
        ready("a key is deleted, and born again", reborn, []),
    ]);
    all
}

pub(super) fn silences() -> Vec<Scenario> {
    let back = || [Subscribe, Say(resume(5, [])), Is(Ready, Some(10))];
    let silent = |before: Vec<Step>, limit: Duration| {
        let mut steps = before;
        steps.extend([Pass(limit - 20 * Duration::from_millis(1)), Is(Ready, Some(10))]);
        steps.extend([Pass(40 * Duration::from_millis(1)), Is(Stale, Some(10))]);
        steps.extend(back());
        steps
    };
    let after_headers = vec![
        End(Disconnect::Ended),
        Subscribe,
        Open(Some(SECOND)),
        Pass(9 * SECOND),
        Is(Stale, Some(10)),
        Pass(2 * SECOND),
        Subscribe,
        Say(resume(5, [])),
        Is(Ready, Some(10)),
    ];
    let without_headers = vec![
        Sync(Err(Disconnect::Ended)),
        Subscribe,
        Pass(11 * SECOND),
        Is(NotReady, None),
        Subscribe,
        Say(state(5, [TEN])),
        Is(Ready, Some(10)),
    ];
    let half = vec![Open(Some(SECOND)), Say(part(change(6, [("n", 6, "int", "11")])))];
    let beats = (0..10).flat_map(|_| [Pass(2 * SECOND), Say(heartbeat(5))]);
    let beating = [Open(Some(SECOND))].into_iter().chain(beats).chain([Is(Ready, Some(10))]).collect();
    vec![
        ready(
            "silence of a stream with heartbeats",
            silent(vec![Open(Some(SECOND))], 3 * SECOND),
            [Stale, Ready],
        ),
        ready("silence within a delivery", silent(half, 3 * SECOND), [Stale, Ready]),
        ready("silence after headers", after_headers, [Stale, Ready]),
        scenario("silence before headers", without_headers, [NotReady, Ready]),
        ready("heartbeats and nothing else", beating, []),
    ]
}

pub(super) fn violations() -> Vec<Scenario> {
    let other_token = {
        let mut beat = heartbeat(5);
        beat.position = beat.position.map(|position| proto::Position { token: "there".into(), ..position });
        beat
    };
    let newer = DataResponse { position: state(6, []).position, ..change(7, [("n", 7, "int", "12")]) };
    vec![
        violation("a delivery without a position", vec![DataResponse { position: None, ..change(6, []) }]),
        violation("a revision that is lowered", vec![change(4, [])]),
        violation("a heartbeat that lowers the revision", vec![heartbeat(4)]),
        violation("a heartbeat of another history", vec![other_token]),
        violation("a heartbeat within a delivery", vec![part(change(6, [])), heartbeat(6)]),
        violation("a delivery that changes its phase", vec![part(change(6, [])), reset(6, [])]),
        violation("a second state", vec![state(6, [])]),
        violation("a second resumption", vec![resume(6, [])]),
        violation("a value that is newer than its delivery", vec![newer]),
        violation("a message without a phase", vec![message(Phase::Unspecified, 6, [])]),
    ]
}

pub(super) fn oddities() -> Vec<Scenario> {
    let unknown = DataResponse { phase: 99, ..change(6, [("n", 6, "int", "12")]) };
    let misnamed = {
        let mut named = change(6, [("other", 6, "int", "12")]);
        named.data.values_mut().for_each(|data| "n".clone_into(&mut data.key));
        named
    };
    vec![
        harmless("a change that comes twice", vec![change(6, [TEN]), change(6, [TEN])]),
        harmless("a change that is older than what is held", vec![change(6, [("n", 2, "int", "9")])]),
        harmless("a change of a key that nobody watches", vec![change(6, [("other", 6, "int", "12")])]),
        harmless("a deletion of a key that nobody watches", vec![deletion(6, "other")]),
        harmless("a key that differs from that of its entry", vec![misnamed]),
        harmless("a change of nothing", vec![change(6, [])]),
        harmless("a heartbeat ahead of the data", vec![heartbeat(8)]),
        violation("a phase that is not known", vec![unknown]),
    ]
}

pub(super) fn ends() -> Vec<Scenario> {
    let drain = DataResponse {
        delay: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
        ..message(Phase::Drain, 5, [])
    };
    let drained = vec![
        Say(drain),
        Is(Stale, Some(10)),
        Pass(19 * SECOND),
        Subscribe,
        Say(resume(5, [])),
        Is(Ready, Some(10)),
    ];
    let in_wait = vec![End(Disconnect::Ended), Close, Is(Stale, Some(10)), ClientIs(Stale)];
    let at_stream = vec![Sync(Err(Disconnect::Ended)), Subscribe, Close, Is(NotReady, None)];
    // The status of a client that was closed is the last one, whatever its state was.
    vec![
        ready("a server that goes away", drained, [Stale, Ready]),
        ready("closed while it is followed", vec![Close, Is(Stale, Some(10))], [Stale]),
        ready("closed while it waits to reconnect", in_wait, [Stale, Stale]),
        scenario(
            "closed while it connects",
            vec![SyncHangs, Close, Is(NotReady, None)],
            [NotReady, NotReady],
        ),
        scenario("closed while the stream is opened", at_stream, [NotReady, NotReady]),
    ]
}
