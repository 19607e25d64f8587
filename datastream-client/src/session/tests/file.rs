//! Beginning with what was kept of an earlier run.

use std::sync::Arc;

use bytes::Bytes;
use datastream::key::Selector;
use datastream::position::Position;

use super::machine::{Machine, Outputs as _, change, reset, resume, state};
use crate::config::Limits;
use crate::error::Disconnect;
use crate::session::{Answer, Changed, Event, Link};
use crate::snapshot::{Held, Snapshot};
use crate::status::{Origin, Peer};

/// One that begins with `a` and all below `p/` at revision 5, and knows that `gone` was missing.
fn kept() -> Machine {
    let held = |text: &'static str| {
        let value = Bytes::from_static(text.as_bytes());
        Arc::new(Held { value, value_type: "string".into(), revision: 3, origin: Origin::Cache, below: None })
    };
    let position = Position { revision: 5, token: Bytes::from_static(b"here") };
    let covered = ["a", "gone", "p/"].iter().map(|entry| Selector::parse(entry).expect("an entry")).collect();
    let values = [("a", "1"), ("p/x", "2")].map(|(key, text)| (Arc::from(key), held(text)));
    let mut machine = Machine::new(Limits::default());
    let file = Snapshot::assembled(Origin::Cache, Some(position), covered, values);
    machine.session.begin_with(Arc::new(file));
    machine
}

fn watching<const N: usize>(entries: [&str; N]) -> Machine {
    let mut machine = kept();
    entries.into_iter().for_each(|entry| drop(machine.watch(entry)));
    machine
}

fn origin(machine: &Machine, key: &str) -> Origin {
    machine.session.applied().held(key).expect("it has a value").origin
}

#[test]
fn what_is_watched_is_shown_at_once_and_nothing_else() {
    let mut machine = watching(["a", "new"]);
    assert_eq!((machine.shown(), machine.revision()), (vec![("a", "1")], 5));
    assert!(!machine.session.applied().covers("new"), "nothing is known of it");
    let outputs = machine.wait(0);
    assert_eq!(outputs.applied(), Some(&Changed::Keys(vec!["a".into()])), "it is shown in the same moment");
    machine.watch("p/");
    assert_eq!(machine.wait(0).applied(), Some(&Changed::All));
    assert_eq!(machine.shown(), [("a", "1"), ("p/x", "2")]);
    machine.unwatch("a");
    assert_eq!(machine.shown(), [("p/x", "2")]);
}

#[test]
fn the_position_of_the_file_is_the_first_that_is_resumed_and_sync_is_skipped() {
    let mut machine = watching(["a", "gone", "new", "p/"]);
    machine.answers = None;
    let outputs = machine.wait(10);
    assert!(outputs.sync().is_none() && outputs.open().is_none());
    let (probe, _) = outputs.probe().expect("it is asked who is there");
    let open = machine.step(Event::Probed(probe, Ok(Peer::Current))).open().expect("Subscribe is called");
    assert_eq!(open.request.resume.expect("a position").revision, 5);
    assert_eq!(
        open.request.fresh,
        ["gone", "new"],
        "the word of a file is not enough for a key to be missing"
    );
}

#[test]
fn all_swaps_at_once_and_only_when_the_state_is_complete() {
    let mut machine = watching(["a", "p/"]);
    let open = machine.wait(10).open().expect("Subscribe is called");
    let mut part = resume(9, [("a", 9, "new")]);
    (part.more, part.position) = (true, None);
    machine.step(Event::Received(open.id, part));
    assert_eq!((machine.shown(), machine.revision()), (vec![("a", "1"), ("p/x", "2")], 5));
    assert!(machine.session.awaits_server());
    let outputs = machine.step(Event::Received(open.id, resume(9, [])));
    assert_eq!(outputs.applied(), Some(&Changed::All));
    assert_eq!((machine.shown(), machine.revision()), (vec![("a", "new"), ("p/x", "2")], 9));
    assert_eq!(
        (origin(&machine, "a"), origin(&machine, "p/x")),
        (Origin::Live, Origin::Live),
        "all is confirmed"
    );
    assert!(!machine.session.awaits_server());
}

#[test]
fn what_only_the_file_knows_is_not_known_once_a_server_has_spoken() {
    let mut machine = watching(["a"]);
    let open = machine.wait(10).open().expect("Subscribe is called");
    machine.watch("p/x");
    machine.watch("p/");
    assert_eq!(machine.shown(), [("a", "1"), ("p/x", "2")]);
    machine.step(Event::Received(open.id, resume(6, [])));
    assert_eq!(machine.shown(), [("a", "1")]);
    assert!(!machine.session.applied().covers("p/x"));
    let joining = machine.wait(10).open().expect("it joins");
    assert_eq!(joining.request.fresh, ["p/", "p/x"]);
    machine.unwatch("a");
    machine.watch("a");
    assert_eq!(machine.shown(), [], "the file does not come back");
}

#[test]
fn a_server_of_another_history_replaces_all_that_the_file_said() {
    let mut machine = watching(["a", "p/"]);
    let open = machine.wait(10).open().expect("Subscribe is called");
    machine.step(Event::Received(open.id, reset(2, [("a", 2, "other")])));
    assert_eq!((machine.shown(), machine.revision()), (vec![("a", "other")], 2));
}

#[test]
fn without_a_server_the_file_stays_through_every_attempt() {
    let mut machine = watching(["a"]);
    machine.answers = None;
    for wait in [10, 500, 1_000, 2_000] {
        let (probe, _) = machine.wait(wait).probe().expect("it tries");
        let outputs = machine.step(Event::Probed(probe, Err(Disconnect::Unreachable("no route".to_owned()))));
        assert!(matches!(outputs.link(), Some(Link::Lost(_))));
        assert_eq!((machine.shown(), origin(&machine, "a")), (vec![("a", "1")], Origin::Cache));
    }
    machine.unwatch("a");
    machine.watch("p/");
    assert_eq!(
        machine.shown(),
        [("p/x", "2")],
        "no server has said anything: the file is still what is known"
    );
}

#[test]
fn a_key_that_the_file_lacks_is_synced_and_the_answer_ends_the_file() {
    let mut machine = watching(["new"]);
    let (sync, _) = machine.wait(10).sync().expect("there is no position to resume");
    machine.synced(sync, Ok(state(8, [("new", 8, "3")]))).open().expect("Subscribe is called");
    machine.watch("a");
    assert_eq!(machine.shown(), [("new", "3")], "never two positions at once");
}

#[test]
fn an_answer_to_sync_that_may_be_older_than_the_file_is_not_shown() {
    let mut machine = watching(["new"]);
    let (sync, _) = machine.wait(10).sync().expect("there is no position to resume");
    machine.watch("a");
    let open = machine.synced(sync, Ok(state(4, [("new", 4, "3")]))).open().expect("Subscribe is called");
    assert_eq!((machine.shown(), machine.revision()), (vec![("a", "1")], 5));
    assert_eq!(open.request.resume.expect("a position").revision, 5);
    assert_eq!(open.request.fresh, ["new"]);
    machine.step(Event::Received(open.id, resume(8, [("new", 4, "3")])));
    machine.step(Event::Received(open.id, change(9, [("a", 9, "2")])));
    assert_eq!(machine.shown(), [("a", "2"), ("new", "3")]);
}

#[test]
fn with_a_server_of_the_original_a_value_of_the_file_stays_until_it_is_replaced() {
    let mut machine = watching(["a", "p/"]);
    machine.answers = Some(Peer::Original);
    let opens = machine.wait(10).opens();
    assert_eq!(machine.shown(), [("a", "1"), ("p/x", "2")]);
    let mut said = state(0, [("a", 0, "new")]);
    said.position = None;
    machine.step(Event::Received(opens[0].id, said));
    assert_eq!(machine.shown(), [("a", "new"), ("p/x", "2")]);
    assert_eq!((origin(&machine, "a"), origin(&machine, "p/x")), (Origin::Live, Origin::Cache));
    assert!(!machine.session.awaits_server(), "what it says may be kept");
}

#[test]
fn an_answer_without_the_header_ends_nothing() {
    let mut machine = watching(["new"]);
    machine.answers = None;
    let (sync, _) = machine.wait(10).sync().expect("there is no position to resume");
    machine.watch("a");
    machine.step(Event::Synced(sync, Answer { is_current: false, state: Ok(state(8, [("new", 8, "3")])) }));
    assert_eq!(machine.shown(), [("a", "1")], "whose answer that was is not known");
}

#[test]
fn a_file_that_knows_some_keys_of_a_prefix_does_not_know_the_prefix() {
    let mut machine = watching(["p/"]);
    machine.watch("p/x");
    let file = machine.session.applied().clone();
    let mut narrower = Snapshot::clone(&file);
    narrower.uncover(&Selector::parse("p/").expect("a prefix"));
    narrower.take_from_file(&file, &Selector::parse("p/x").expect("a key"));
    let mut machine = Machine::new(Limits::default());
    machine.session.begin_with(Arc::new(narrower));
    machine.watch("p/");
    assert!(machine.shown().is_empty() && !machine.session.applied().covers("p/y"));
    machine.watch("p/x");
    assert_eq!(machine.shown(), [("p/x", "2")]);
}
