//! The table of scenarios: how they are written, and those of connections. In all of them a handle of one integer,
//! `n`, is watched.

use std::time::Duration;

use datastream::proto::{DataResponse, Phase};
use datastream_client::Disconnect;
use datastream_client::State::{self, Fatal, NotReady, Ready, Stale};

use super::Step::{self, ClientIs, End, Is, Open, Outage, Pass, Say, Subscribe, Sync, SyncHangs};
use super::said;
use crate::scripted::{Entry, change, deletion, reset, resume, state};

pub(super) const TEN: Entry<'_> = ("n", 3, "int", "10");
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What happens, what is seen meanwhile, and the states of the client in their order.
pub(super) struct Scenario {
    pub(super) what: String,
    pub(super) steps: Vec<Step>,
    pub(super) states: Vec<State>,
}

pub(super) fn scenario<const N: usize>(
    what: impl Into<String>,
    steps: Vec<Step>,
    states: [State; N],
) -> Scenario {
    Scenario { what: what.into(), steps, states: states.to_vec() }
}

/// Steps after a client became ready, with the value 10 at position 5.
pub(super) fn ready<const N: usize>(what: impl Into<String>, steps: Vec<Step>, then: [State; N]) -> Scenario {
    let mut all =
        vec![Sync(Ok(state(5, [TEN]))), Subscribe, Open(None), Say(resume(5, [])), Is(Ready, Some(10))];
    all.extend(steps);
    Scenario { what: what.into(), steps: all, states: [NotReady, Ready].into_iter().chain(then).collect() }
}

/// A message after which the stream is dropped: the value stays, and the next stream goes on.
pub(super) fn violation(what: &str, bad: Vec<DataResponse>) -> Scenario {
    let mut steps: Vec<_> = bad.into_iter().map(Say).collect();
    steps.extend([
        Is(Stale, Some(10)),
        Subscribe,
        Say(resume(6, [("n", 6, "int", "11")])),
        Is(Ready, Some(11)),
    ]);
    ready(what, steps, [Stale, Ready])
}

/// A message that changes nothing, and after which the stream goes on.
pub(super) fn harmless(what: &str, odd: Vec<DataResponse>) -> Scenario {
    let mut steps: Vec<_> = odd.into_iter().map(Say).collect();
    steps.extend([Is(Ready, Some(10)), Say(change(9, [("n", 9, "int", "11")])), Is(Ready, Some(11))]);
    ready(what, steps, [])
}

fn refused(code: &'static str) -> Disconnect {
    Disconnect::Refused { code, text: "on purpose".to_owned(), retry_after: None }
}

pub(super) fn part(message: DataResponse) -> DataResponse {
    DataResponse { more: true, position: None, ..message }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let connections = [first_contact(), outages(), codes()];
    let words = [said::values(), said::silences(), said::violations(), said::oddities(), said::ends()];
    connections.into_iter().chain(words).flatten().collect()
}

fn first_contact() -> Vec<Scenario> {
    let born = vec![
        Sync(Ok(state(5, []))),
        Is(Ready, None),
        Subscribe,
        Say(resume(5, [])),
        Say(change(6, [("n", 6, "int", "11")])),
        Is(Ready, Some(11)),
    ];
    let broken = || Disconnect::Broken("cut".to_owned());
    let sync_fails =
        vec![Sync(Err(broken())), Subscribe, Is(NotReady, None), Say(state(5, [TEN])), Is(Ready, Some(10))];
    let hangs = vec![SyncHangs, Pass(5 * SECOND), Subscribe, Say(state(5, [TEN])), Is(Ready, Some(10))];
    let by_parts = vec![
        Sync(Err(broken())),
        Subscribe,
        Say(part(state(5, [TEN]))),
        Is(NotReady, None),
        Say(state(5, [("m", 4, "int", "1")])),
        Is(Ready, Some(10)),
    ];
    vec![
        scenario("a key that does not exist is born", born, [NotReady, Ready]),
        scenario("the first call fails, and the stream brings the state", sync_fails, [NotReady, Ready]),
        scenario("the first call is not answered", hangs, [NotReady, Ready]),
        scenario("half a state is none", by_parts, [NotReady, Ready]),
        ready(
            "the stream after the first call confirms it",
            vec![Pass(3600 * SECOND), Is(Ready, Some(10))],
            [],
        ),
    ]
}

fn outages() -> Vec<Scenario> {
    let outage = |seconds: u32| {
        let steps = vec![
            End(Disconnect::Unreachable("no route".to_owned())),
            Is(Stale, Some(10)),
            Outage(seconds * SECOND),
            Is(Stale, Some(10)),
            Subscribe,
            Is(Stale, Some(10)),
            Say(resume(6, [("n", 6, "int", "11")])),
            Is(Ready, Some(11)),
        ];
        ready(format!("an outage of {seconds} s"), steps, [Stale, Ready])
    };
    let deleted = vec![
        End(Disconnect::Ended),
        Subscribe,
        Say(DataResponse { phase: Phase::Resume.into(), ..deletion(6, "n") }),
        Is(Ready, None),
    ];
    let restored =
        vec![End(Disconnect::Ended), Subscribe, Say(reset(2, [("n", 1, "int", "1")])), Is(Ready, Some(1))];
    let emptied = vec![End(Disconnect::Ended), Subscribe, Say(reset(2, [])), Is(Ready, None)];
    let again = vec![
        End(Disconnect::Ended),
        Subscribe,
        Say(part(resume(6, [("n", 6, "int", "11")]))),
        End(Disconnect::Ended),
        Is(Stale, Some(10)),
        Subscribe,
        Say(resume(6, [("n", 6, "int", "11")])),
        Is(Ready, Some(11)),
    ];
    let mut all: Vec<_> = [0, 1, 5, 60, 600, 3600].into_iter().map(outage).collect();
    all.extend([
        ready("deleted during an outage", deleted, [Stale, Ready]),
        ready("another history after an outage", restored, [Stale, Ready]),
        ready("an empty history after an outage", emptied, [Stale, Ready]),
        ready("lost again half-way", again, [Stale, Ready]),
    ]);
    all
}

fn codes() -> Vec<Scenario> {
    let fatal = ["UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"].map(|code| (code, Fatal, Fatal));
    let others = [
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    ];
    let others = others.map(|code| (code, NotReady, Stale));
    fatal
        .into_iter()
        .chain(others)
        .flat_map(|(code, first, later)| [at_first(code, first), later_on(code, later)])
        .collect()
}

fn at_first(code: &'static str, becomes: State) -> Scenario {
    let steps = vec![
        Sync(Err(refused(code))),
        Subscribe,
        End(refused(code)),
        Is(becomes, None),
        ClientIs(becomes),
        Subscribe,
        Say(state(5, [TEN])),
        Is(Ready, Some(10)),
    ];
    let mut states = vec![NotReady, becomes, Ready];
    states.dedup();
    Scenario { what: format!("{code} at first contact"), steps, states }
}

fn later_on(code: &'static str, becomes: State) -> Scenario {
    let steps = vec![
        End(Disconnect::Ended),
        Is(Stale, Some(10)),
        Subscribe,
        End(refused(code)),
        Is(becomes, Some(10)),
        ClientIs(becomes),
        Subscribe,
        Say(resume(5, [])),
        Is(Ready, Some(10)),
    ];
    let mut states = vec![NotReady, Ready, Stale, becomes, Ready];
    states.dedup();
    Scenario { states, ..ready(format!("{code} at a reconnect"), steps, []) }
}
