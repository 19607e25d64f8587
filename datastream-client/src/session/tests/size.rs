//! How much one state may hold: what is counted, and what becomes of a server that says more.

use datastream::proto::{DataResponse, Phase};

use super::machine::{Machine, Outputs as _, change, deleted, message, reset, resume, state};
use crate::config::Limits;
use crate::error::Disconnect;
use crate::session::{Event, Link, Output};

/// Room for `a` and two more keys with short values, and not for a third.
const ROOM: usize = 1_000;

fn live() -> (Machine, u64) {
    Machine::live_with(["a", "p/"], Limits::default().state_bytes(ROOM))
}

fn is_too_large(outputs: &Vec<Output>) -> bool {
    let why = Disconnect::TooLarge { limit: ROOM };
    matches!(outputs.link(), Some(Link::Lost(lost)) if **lost == why)
}

#[test]
fn a_state_above_the_limit_is_left_half_way_and_the_old_one_stays() {
    let (mut machine, live) = live();
    let part = |n: u64, key| DataResponse { more: true, position: None, ..reset(n, [(key, n, "1")]) };
    for (n, key) in [(6, "p/1"), (7, "p/2"), (8, "p/3")] {
        assert!(machine.step(Event::Received(live, part(n, key))).closed().is_empty());
    }
    let outputs = machine.step(Event::Received(live, part(9, "p/4")));
    assert!(is_too_large(&outputs) && outputs.closed() == [live]);
    assert_eq!((machine.shown(), machine.revision()), (vec![("a", "1")], 5));
    let next = machine.wait(500).open().expect("it tries again").id;
    machine.step(Event::Received(next, resume(6, [("a", 6, "2")])));
    assert_eq!(machine.shown(), [("a", "2")]);
}

#[test]
fn a_state_that_grows_by_changes_has_the_same_limit() {
    let (mut machine, live) = live();
    machine.step(Event::Received(live, change(6, [("p/1", 6, "1")])));
    machine.step(Event::Received(live, change(7, [("p/2", 7, "1")])));
    assert!(is_too_large(&machine.step(Event::Received(live, change(8, [("p/3", 8, "1")])))));
    assert_eq!(machine.shown(), [("a", "1"), ("p/1", "1"), ("p/2", "1")]);
}

#[test]
fn what_is_replaced_deleted_or_no_longer_watched_does_not_count() {
    let (mut machine, live) = live();
    for n in 0..20 {
        let (n, key) = (6 + 2 * n, format!("p/{n}"));
        let said = [
            change(n, [(&*key, n, "1"), ("a", n, "1")]),
            deleted(change(n + 1, super::NOTHING), &key, n + 1),
        ];
        for message in said {
            assert!(machine.step(Event::Received(live, message)).closed().is_empty());
        }
    }
    machine.unwatch("a");
    let outputs = machine
        .step(Event::Received(live, change(60, [("p/x", 60, "1"), ("p/y", 60, "1"), ("p/z", 60, "1")])));
    assert!(outputs.closed().is_empty());
    assert_eq!(machine.shown().len(), 3);
}

#[test]
fn the_name_of_a_type_counts_too() {
    let (mut machine, live) = live();
    let mut long = change(6, [("a", 6, "1")]);
    long.data.values_mut().for_each(|data| data.value_type = "x".repeat(ROOM));
    assert!(is_too_large(&machine.step(Event::Received(live, long))));
}

#[test]
fn an_answer_to_sync_above_the_limit_is_a_failed_one() {
    let mut machine = Machine::new(Limits::default().state_bytes(ROOM));
    machine.watch("p/");
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let large = state(5, [("p/1", 3, "1"), ("p/2", 3, "1"), ("p/3", 3, "1"), ("p/4", 3, "1")]);
    let outputs = machine.synced(sync, Ok(large));
    assert!(machine.shown().is_empty());
    assert!(outputs.open().is_some(), "it is no obstacle");
}

#[test]
fn a_server_of_the_original_has_the_same_limit() {
    let mut machine = Machine::new(Limits::default().state_bytes(ROOM));
    machine.answers = Some(crate::status::Peer::Original);
    machine.watch("p/");
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let id = machine.synced(sync, Err(Disconnect::Ended)).open().expect("it is asked").id;
    let mut says = |key, text: &str| {
        machine.step(Event::Received(id, message(Phase::Unspecified, None, [(key, 0, text)])))
    };
    for text in ["1", "22", "333"] {
        assert!(says("p/1", text).closed().is_empty(), "what is replaced does not count");
    }
    assert!(says("p/2", "1").closed().is_empty() && says("p/3", "1").closed().is_empty());
    assert!(is_too_large(&says("p/4", "1")));
}
