//! What a session does where little happens: at the edge of a prefix, beside a call that is under way, and without
//! anything to follow.

use datastream::limit;
use datastream::proto::{DataResponse, Phase};

use super::NOTHING;
use super::machine::{Machine, Outputs as _, change, heartbeat, heartbeats, millis, resume, state};
use crate::config::Limits;
use crate::error::Disconnect;
use crate::session::{Event, Link};

#[test]
fn a_session_wants_what_is_watched_and_follows_what_that_covers() {
    let mut machine = Machine::watching(["a", "p/"]);
    let wants = |machine: &Machine, key: &str| machine.session.wants(&key.into());
    assert!(
        wants(&machine, "a") && !wants(&machine, "p/x"),
        "a key below a prefix is not asked for by itself"
    );
    assert!(machine.session.follows("a") && machine.session.follows("p/x") && !machine.session.follows("b"));
    machine.unwatch("a");
    assert!(!wants(&machine, "a") && !machine.session.follows("a"));
}

#[test]
fn a_key_that_leaves_makes_room_of_its_own_length() {
    let mut machine = Machine::new(Limits::default());
    let long = |n: usize| format!("{n:0>512}");
    (0..limit::KEYS_BYTES / 512).for_each(|n| drop(machine.watch(&long(n))));
    machine.unwatch(&long(0));
    assert!(machine.session.has_room(&long(0)));
    assert!(!machine.session.has_room(&format!("{}x", long(0))), "and not more");
}

#[test]
fn what_is_followed_is_alive_until_it_has_been_silent_for_too_long() {
    let mut machine = Machine::watching(["a"]);
    assert_eq!(machine.session.alive_until(), None);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    machine.synced(sync, Ok(state(5, NOTHING)));
    assert_eq!(
        machine.session.alive_until(),
        machine.wake_at,
        "the stream that joins counts without another"
    );
    let (machine, _) = Machine::live(["a"]);
    assert_eq!(machine.session.alive_until(), Some(machine.now + millis(15_000)));
    assert_eq!(machine.wake_at, machine.session.alive_until());
}

#[test]
fn a_runtime_lost_while_nothing_is_watched_makes_no_call() {
    let mut machine = Machine::new(Limits::default());
    assert!(machine.step(Event::Lost).calls().is_empty());
    assert!(machine.wait(60_000).calls().is_empty());
}

#[test]
fn a_key_below_a_prefix_outlives_it_in_what_comes_next() {
    for is_half_way in [false, true] {
        let (mut machine, live) = Machine::live(["a", "p/"]);
        machine.step(Event::Received(live, change(6, [("p/x", 6, "1"), ("p/y", 6, "1")])));
        if is_half_way {
            machine.step(Event::Received(live, DataResponse { more: true, ..change(7, NOTHING) }));
        }
        machine.watch("p/x");
        machine.unwatch("p/");
        machine.step(Event::Received(live, change(7, [("p/x", 7, "2"), ("p/y", 7, "2")])));
        assert_eq!(machine.shown(), [("a", "1"), ("p/x", "2")], "half-way: {is_half_way}");
    }
}

#[test]
fn doubt_opens_nothing_beside_a_call_that_is_under_way_or_planned() {
    let (mut machine, _) = Machine::live(["a"]);
    machine.watch("b");
    assert!(machine.step(Event::Doubted).calls().is_empty(), "a stream is planned");
    let open = machine.wait(10).open().expect("a stream that joins");
    assert_eq!(
        open.request.resume.expect("a position").revision,
        5,
        "and asks for no more than it would have"
    );
    assert!(machine.step(Event::Doubted).calls().is_empty(), "a stream joins");

    let (mut machine, live) = Machine::live(["a"]);
    machine.answers = None;
    machine.step(Event::Ended(live, Disconnect::Ended));
    assert!(machine.wait(500).probe().is_some());
    assert!(
        machine.step(Event::Doubted).calls().is_empty(),
        "nothing is followed, and it is asked who is there"
    );
}

#[test]
fn the_answer_to_sync_is_a_whole_state_whatever_it_calls_itself() {
    for phase in [Phase::Unspecified, Phase::Change, Phase::Heartbeat] {
        let mut machine = Machine::watching(["a"]);
        let (sync, _) = machine.wait(10).sync().expect("Sync is called");
        let answer = DataResponse { phase: phase.into(), more: true, ..state(5, [("a", 3, "1")]) };
        machine.synced(sync, Ok(answer));
        assert_eq!(machine.shown(), [("a", "1")], "{phase:?}");
    }
}

#[test]
fn a_first_delivery_is_the_kind_that_was_asked_for() {
    for asks_for_a_state in [true, false] {
        let first = if asks_for_a_state { resume(5, NOTHING) } else { state(5, NOTHING) };
        for wrong in [first, change(6, NOTHING), heartbeat(5)] {
            let what = format!("{asks_for_a_state}, {wrong:?}");
            let mut machine = Machine::watching(["a"]);
            let (sync, _) = machine.wait(10).sync().expect("Sync is called");
            let answer = if asks_for_a_state { Err(Disconnect::Ended) } else { Ok(state(5, NOTHING)) };
            let open = machine.synced(sync, answer).open().expect("Subscribe is called");
            let outputs = machine.step(Event::Received(open.id, wrong));
            assert_eq!(outputs.closed(), [open.id], "{what}");
            let why = outputs.link();
            assert!(
                matches!(why, Some(Link::Lost(why)) if matches!(**why, Disconnect::Violation(_))),
                "{what}"
            );
        }
    }
}

#[test]
fn a_prefix_that_joins_is_taken_in_full_and_nothing_below_it_is_left_over() {
    let (mut machine, live) = Machine::live(["a", "p/x"]);
    machine.step(Event::Received(live, change(6, [("p/x", 6, "1")])));
    machine.watch("p/");
    let open = machine.wait(10).open().expect("a stream that joins");
    assert_eq!(open.request.fresh, ["p/"]);
    machine.step(Event::Received(open.id, resume(7, [("p/y", 7, "1")])));
    assert_eq!(machine.shown(), [("a", "1"), ("p/y", "1")]);
}

#[test]
fn headers_begin_the_time_for_the_first_delivery_anew() {
    let mut machine = Machine::watching(["a"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let open = machine.synced(sync, Ok(state(5, NOTHING))).open().expect("Subscribe is called");
    machine.wait(3_000);
    machine.step(Event::Opened(open.id, heartbeats(5_000)));
    assert_eq!(machine.session.alive_until(), Some(machine.now + millis(15_000)));
}

#[test]
fn a_stream_that_takes_over_and_each_heartbeat_confirm_what_is_shown() {
    let (mut machine, _) = Machine::live(["a"]);
    machine.watch("b");
    let open = machine.wait(10).open().expect("a stream that joins");
    let aged = |seconds: i64, message: DataResponse| {
        let source_age = Some(prost_types::Duration { seconds, nanos: 0 });
        Event::Received(open.id, DataResponse { source_age, ..message })
    };
    machine.wait(100);
    machine.step(aged(7, resume(5, NOTHING)));
    assert_eq!(machine.session.confirmed(), Some((machine.now, millis(7_000))));
    machine.wait(100);
    machine.step(aged(9, heartbeat(5)));
    assert_eq!(machine.session.confirmed(), Some((machine.now, millis(9_000))));
}
