//! Who is there is known before anything is subscribed.

use super::machine::{Machine, Outputs as _, millis, state};
use crate::error::Disconnect;
use crate::session::{Answer, Event, Link, Output, StreamId};
use crate::status::Peer;

/// One that has called `Sync`, whose probes the test answers.
fn judging() -> (Machine, StreamId) {
    let mut machine = Machine::watching(["a"]);
    machine.answers = None;
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    (machine, sync)
}

fn refused() -> Disconnect {
    Disconnect::Refused { code: "INTERNAL", text: String::new(), retry_after: None }
}

fn answered(machine: &mut Machine, sync: StreamId, answer: Answer) -> Vec<Output> {
    machine.step(Event::Synced(sync, answer))
}

#[test]
fn an_error_with_the_header_proves_a_server_of_ours() {
    let (mut machine, sync) = judging();
    let outputs = answered(&mut machine, sync, Answer { is_current: true, state: Err(refused()) });
    assert!(outputs.probe().is_none());
    let open = outputs.open().expect("Subscribe is called");
    assert_eq!(open.request.resume.expect("announced").revision, 0);
}

#[test]
fn an_answer_without_the_header_is_followed_by_a_probe_on_the_same_connection() {
    for answer in [Err(refused()), Ok(state(5, [("a", 3, "1")]))] {
        let (mut machine, sync) = judging();
        let outputs = answered(&mut machine, sync, Answer { is_current: false, state: answer });
        assert!(outputs.probe().is_some_and(|(_, reconnect)| !reconnect));
        assert!(outputs.open().is_none() && outputs.link().is_none());
        assert!(machine.shown().is_empty(), "whose answer that was is not known");
    }
}

#[test]
fn an_error_of_a_probe_proves_nothing_and_is_retried_after_a_wait() {
    let (mut machine, sync) = judging();
    let (mut probe, _) = answered(&mut machine, sync, Answer { is_current: false, state: Err(refused()) })
        .probe()
        .expect("a probe");
    for wait in [500, 1_000, 2_000] {
        let outputs = machine.step(Event::Probed(probe, Err(refused())));
        assert!(matches!(outputs.link(), Some(Link::Lost(why)) if **why == refused()));
        assert!(outputs.calls().is_empty());
        assert!(machine.wait(wait - 1).calls().is_empty(), "before {wait} ms");
        let outputs = machine.wait(1);
        assert!(outputs.open().is_none(), "nothing is subscribed before it is known to whom");
        probe = outputs.probe().expect("another try").0;
    }
    let outputs = machine.step(Event::Probed(probe, Ok(Peer::Current)));
    assert!(outputs.open().is_some());
}

#[test]
fn a_probe_that_is_late_is_dropped_and_retried_after_a_wait() {
    let (mut machine, sync) = judging();
    let outputs = answered(&mut machine, sync, Answer { is_current: false, state: Err(refused()) });
    let (probe, _) = outputs.probe().expect("a probe");
    let outputs = machine.wait(5_000);
    assert_eq!(outputs.closed(), [probe]);
    assert!(matches!(outputs.link(), Some(Link::Lost(why)) if **why == Disconnect::Silent));
    assert!(machine.step(Event::Probed(probe, Ok(Peer::Current))).is_empty(), "it is nobody's any more");
    assert!(machine.wait(499).calls().is_empty());
    assert!(machine.wait(1).probe().is_some());
}

#[test]
fn every_reconnect_asks_who_is_there_before_it_subscribes() {
    let ended = |machine: &mut Machine, live| machine.step(Event::Ended(live, Disconnect::Ended));
    let silent = |machine: &mut Machine, _| machine.wait(15_000);
    let lost = |machine: &mut Machine, _| machine.step(Event::Lost);
    let losses: [fn(&mut Machine, StreamId) -> Vec<Output>; 3] = [ended, silent, lost];
    for lose in losses {
        let (mut machine, live) = Machine::live(["a"]);
        machine.answers = None;
        assert!(lose(&mut machine, live).calls().is_empty());
        let outputs = machine.wait(500);
        let (probe, reconnect) = outputs.probe().expect("a probe");
        assert!(reconnect && outputs.open().is_none());
        let open = machine.step(Event::Probed(probe, Ok(Peer::Current))).open().expect("Subscribe is called");
        assert_eq!(open.request.resume.expect("a position").revision, 5, "from what is applied");
    }
}

#[test]
fn nothing_else_is_called_while_a_probe_is_under_way() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.answers = None;
    machine.step(Event::Ended(live, Disconnect::Ended));
    let (probe, _) = machine.wait(500).probe().expect("a probe");
    machine.watch("b");
    assert!(machine.wait(1_000).calls().is_empty(), "the stream will bring the late key too");
    let open = machine.step(Event::Probed(probe, Ok(Peer::Current))).open().expect("Subscribe is called");
    assert_eq!(open.request.keys, ["a", "b"]);
    assert_eq!(open.request.fresh, ["b"]);
}

#[test]
fn a_probe_ends_with_the_last_key() {
    let (mut machine, sync) = judging();
    let outputs = answered(&mut machine, sync, Answer { is_current: false, state: Err(refused()) });
    let (probe, _) = outputs.probe().expect("a probe");
    assert_eq!(machine.unwatch("a").closed(), [probe]);
    assert_eq!(machine.wake_at, None);
    assert!(machine.step(Event::Probed(probe, Ok(Peer::Original))).is_empty());
    assert_eq!(machine.now, millis(10));
}
