//! The laws of the machine, one by one. Time and randomness are the tests' own.

mod contact;
mod edges;
mod file;
mod machine;
mod original;
mod size;

use std::time::Duration;

use datastream::key::Selector;
use datastream::limit;
use datastream::proto::{DataResponse, Phase};

use super::{Changed, Event, Link, Output, Session};
use crate::config::Limits;
use crate::error::Disconnect;
use crate::status::Peer;
use machine::{Machine, Outputs as _, change, deleted, heartbeat, message, millis, reset, resume, state};

const NOTHING: [(&str, u64, &str); 0] = [];

// First contact.

#[test]
fn first_contact_syncs_then_subscribes_from_its_position() {
    let mut machine = Machine::watching(["a"]);
    let outputs = machine.wait(10);
    assert!(matches!(outputs.link(), Some(Link::Connecting)));
    let (sync, request) = outputs.sync().expect("Sync is called");
    assert_eq!(request.keys, ["a"]);
    assert_eq!(request.resume, Some(datastream::proto::Position::default()), "announced, with nothing yet");

    let outputs = machine.synced(sync, Ok(state(5, [("a", 3, "1")])));
    assert_eq!(machine.shown(), [("a", "1")]);
    assert!(matches!(outputs.link(), Some(Link::Live(Peer::Current))));
    let open = outputs.open().expect("Subscribe is called");
    assert_eq!(open.request.resume.expect("a position").revision, 5);
    assert!(open.request.fresh.is_empty(), "the state covered it");
    assert!(outputs.probe().is_none(), "the server has just proved itself");
}

#[test]
fn a_failed_sync_is_no_obstacle() {
    for why in [Disconnect::Ended, Disconnect::Broken("reset".to_owned())] {
        let mut machine = Machine::watching(["a"]);
        let (sync, _) = machine.wait(10).sync().expect("Sync is called");
        let outputs = machine.synced(sync, Err(why));
        let open = outputs.open().expect("Subscribe is called");
        assert_eq!(open.request.resume.expect("announced").revision, 0);
        assert!(outputs.probe().is_some_and(|(_, reconnect)| reconnect), "the connection is not trusted");
        machine.step(Event::Received(open.id, state(5, [("a", 3, "1")])));
        assert_eq!(machine.shown(), [("a", "1")]);
    }
}

#[test]
fn a_first_server_that_cannot_be_reached_is_asked_again_after_a_wait_and_another_at_once() {
    for servers in [1, 2] {
        let mut machine = Machine::watching(["a"]);
        machine.session.set_servers(servers);
        let (sync, _) = machine.wait(10).sync().expect("Sync is called");
        let outputs = machine.synced(sync, Err(Disconnect::Unreachable("no route".to_owned())));
        assert_eq!(outputs.probe().is_some(), servers == 2);
        assert_eq!(machine.wait(500).probe().is_some(), servers == 1);
    }
}

#[test]
fn an_unreachable_server_is_reported_before_the_stream_fails_too() {
    let mut machine = Machine::watching(["a"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let why = Disconnect::Unreachable("no route".to_owned());
    let outputs = machine.synced(sync, Err(why));
    assert!(matches!(outputs.link(), Some(Link::Lost(_))));
}

#[test]
fn a_sync_that_is_late_is_dropped_and_the_stream_brings_the_state() {
    let mut machine = Machine::watching(["a"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let outputs = machine.wait(5_000);
    assert_eq!(outputs.closed(), [sync]);
    let open = outputs.open().expect("Subscribe is called");
    machine.synced(sync, Ok(state(5, [("a", 3, "late")])));
    assert!(machine.shown().is_empty(), "its answer is nobody's any more");
    machine.step(Event::Received(open.id, state(6, [("a", 6, "2")])));
    assert_eq!(machine.shown(), [("a", "2")]);
}

#[test]
fn a_sync_without_a_usable_position_is_a_failed_one() {
    let without = DataResponse { position: None, ..state(5, [("a", 3, "1")]) };
    let newer_than_itself = state(5, [("a", 6, "1")]);
    for answer in [without, newer_than_itself] {
        let mut machine = Machine::watching(["a"]);
        let (sync, _) = machine.wait(10).sync().expect("Sync is called");
        let open = machine.synced(sync, Ok(answer)).open().expect("Subscribe is called");
        assert!(machine.shown().is_empty());
        assert_eq!(open.request.resume.expect("announced").revision, 0);
    }
}

// Reconnecting.

#[test]
fn the_first_reconnect_waits() {
    let (mut machine, live) = Machine::live(["a"]);
    let outputs = machine.step(Event::Ended(live, Disconnect::Ended));
    assert!(outputs.open().is_none());
    assert!(machine.wait(499).open().is_none());
    let outputs = machine.wait(1);
    let open = outputs.open().expect("a reconnect");
    assert!(outputs.probe().is_some_and(|(_, reconnect)| reconnect));
    assert_eq!(open.request.resume.expect("a position").revision, 5, "from what is applied");
}

#[test]
fn a_stream_that_ended_with_whatever_status_is_a_disconnect() {
    let refused = Disconnect::Refused { code: "UNIMPLEMENTED", text: String::new(), retry_after: None };
    for why in [Disconnect::Ended, Disconnect::Unreachable(String::new()), refused] {
        let (mut machine, live) = Machine::live(["a"]);
        let outputs = machine.step(Event::Ended(live, why.clone()));
        assert!(matches!(outputs.link(), Some(Link::Lost(shown)) if **shown == why));
        assert_eq!(machine.shown(), [("a", "1")], "the last state stays");
        assert!(machine.wait(500).open().is_some());
    }
}

#[test]
fn waits_double_while_no_stream_is_healthy() {
    let (mut machine, mut stream) = Machine::live(["a"]);
    for wait in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        machine.step(Event::Ended(stream, Disconnect::Ended));
        assert!(machine.wait(wait - 1).open().is_none(), "before {wait} ms");
        stream = machine.wait(1).open().expect("a reconnect").id;
    }
}

#[test]
fn only_a_complete_state_and_a_minute_of_health_begin_the_waits_anew() {
    // How long a stream lives, whether its state was complete, and the wait after it.
    for (life, is_complete, wait) in [(59_999, true, 1_000), (60_000, true, 500), (60_000, false, 1_000)] {
        let (mut machine, live) =
            Machine::live_with(["a"], Limits { first_message: millis(600_000), ..endless() });
        machine.step(Event::Ended(live, Disconnect::Ended));
        let again = machine.wait(500).open().expect("a reconnect").id;
        if is_complete {
            machine.step(Event::Received(again, resume(5, NOTHING)));
        }
        machine.wait(life);
        machine.step(Event::Ended(again, Disconnect::Ended));
        assert!(machine.wait(wait - 1).open().is_none(), "{life} {is_complete}");
        assert!(machine.wait(1).open().is_some(), "{life} {is_complete}");
    }
}

#[test]
fn health_counts_although_a_late_key_replaced_the_stream() {
    let (mut machine, live) = Machine::live_with(["a"], endless());
    machine.step(Event::Ended(live, Disconnect::Ended));
    let again = machine.wait(500).open().expect("a reconnect").id;
    machine.step(Event::Received(again, resume(5, NOTHING)));
    machine.wait(60_000);
    machine.watch("b");
    let joined = machine.wait(10).open().expect("a stream for the late key").id;
    machine.step(Event::Received(joined, resume(5, NOTHING)));
    machine.step(Event::Ended(joined, Disconnect::Ended));
    assert!(machine.wait(500).open().is_some(), "as after a first failure");
}

#[test]
fn a_drain_keeps_away_for_its_delay_which_is_at_most_a_minute() {
    for (delay, wait) in [(0, 500), (3_000, 3_500), (3_600_000, 60_500)] {
        let (mut machine, live) = Machine::live_with(["a"], endless());
        let outputs = machine.step(Event::Received(live, drain(delay)));
        assert_eq!(outputs.closed(), [live]);
        assert!(machine.wait(wait - 1).open().is_none(), "{delay}");
        assert!(machine.wait(1).open().is_some(), "{delay}");
    }
}

#[test]
fn a_lost_runtime_is_followed_by_a_new_stream() {
    let (mut machine, _) = Machine::live(["a"]);
    let outputs = machine.step(Event::Lost);
    assert!(matches!(outputs.link(), Some(Link::Lost(_))));
    let outputs = machine.wait(500);
    let open = outputs.open().expect("a new stream");
    assert!(outputs.probe().is_some_and(|(_, reconnect)| reconnect));
    assert_eq!(open.request.resume.expect("a position").revision, 5);
}

#[test]
fn a_runtime_lost_while_sync_is_under_way_is_followed_by_a_stream() {
    let mut machine = Machine::watching(["a"]);
    machine.wait(10).sync().expect("Sync is called");
    let outputs = machine.step(Event::Lost);
    assert!(outputs.probe().is_some_and(|(_, reconnect)| reconnect) && outputs.open().is_some());
}

#[test]
fn keys_that_come_and_go_do_not_shorten_the_wait() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.step(Event::Ended(live, Disconnect::Ended));
    machine.unwatch("a");
    machine.watch("a");
    assert!(machine.wait(499).calls().is_empty());
    let outputs = machine.wait(1);
    assert!(outputs.probe().is_some_and(|(_, reconnect)| reconnect), "the old connection is not trusted");
}

#[test]
fn keys_that_come_back_after_an_outage_are_asked_of_the_server_whose_turn_it_is() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.session.set_servers(2);
    machine.step(Event::Ended(live, Disconnect::Ended));
    machine.unwatch("a");
    machine.watch("a");
    let outputs = machine.wait(500);
    let asks = |server| move |output: &Output| matches!(output, Output::Probe { reconnect, .. } if *reconnect == Some(server));
    assert!(outputs.iter().any(asks(1)) && outputs.sync().is_none(), "{outputs:?}");
    let open = outputs.open().expect("Subscribe is called");
    machine.step(Event::Ended(open.id, Disconnect::Ended));
    assert!(machine.wait(1_000).iter().any(asks(0)), "its loss is its own");
}

// Silence.

#[test]
fn a_silent_stream_is_dead_after_three_heartbeats() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.wait(14_999);
    machine.step(Event::Received(live, heartbeat(5)));
    assert!(machine.wait(14_999).closed().is_empty(), "the heartbeat was a sign of life");
    let outputs = machine.wait(1);
    assert_eq!(outputs.closed(), [live]);
    assert!(matches!(outputs.link(), Some(Link::Lost(why)) if **why == Disconnect::Silent));
}

#[test]
fn an_idle_limit_of_ones_own_goes_before_that_of_the_server() {
    let (mut machine, live) =
        Machine::live_with(["a"], Limits { idle: Some(millis(700)), ..Limits::default() });
    assert!(machine.wait(699).closed().is_empty());
    assert_eq!(machine.wait(1).closed(), [live]);
}

#[test]
fn the_limit_of_the_first_message_covers_the_headers() {
    let mut machine = Machine::watching(["a"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let open = machine.synced(sync, Err(Disconnect::Ended)).open().expect("Subscribe");
    assert!(machine.wait(9_999).closed().is_empty());
    assert_eq!(machine.wait(1).closed(), [open.id]);
}

#[test]
fn headers_and_then_silence_is_a_dead_stream() {
    let mut machine = Machine::watching(["a"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let open = machine.synced(sync, Err(Disconnect::Ended)).open().expect("Subscribe");
    machine.step(Event::Opened(open.id, machine::heartbeats(20)));
    assert!(machine.wait(9_999).closed().is_empty(), "a state may take longer than three short heartbeats");
    assert_eq!(machine.wait(1).closed(), [open.id]);
}

#[test]
fn a_server_that_names_no_heartbeats_may_be_silent() {
    let mut machine = Machine::watching(["a"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let open = machine.synced(sync, Ok(state(5, NOTHING))).open().expect("Subscribe");
    machine.step(Event::Opened(open.id, super::Opening::default()));
    machine.step(Event::Received(open.id, resume(5, NOTHING)));
    assert!(machine.wait(3_600_000).closed().is_empty());
}

#[test]
fn a_delivery_that_never_ends_is_given_up_after_ten_minutes() {
    let (mut machine, live) = Machine::live(["a"]);
    for part in 0..600 {
        let outputs =
            machine.step(Event::Received(live, DataResponse { more: true, ..change(9, [("a", 6, "2")]) }));
        assert!(outputs.closed().is_empty(), "part {part}");
        machine.wait(1_000);
    }
    assert!(machine.session.live.is_none());
    assert_eq!(machine.shown(), [("a", "1")], "nothing of it was shown");
}

#[test]
fn limits_without_end_overflow_nothing() {
    let (mut machine, live) = Machine::live_with(["a"], endless());
    machine.wait(1_000);
    machine.step(Event::Opened(live, machine::heartbeats(u64::MAX)));
    machine.step(Event::Ended(live, Disconnect::Ended));
    let open = machine.wait(500).open().expect("a reconnect");
    machine.step(Event::Opened(open.id, machine::heartbeats(u64::MAX)));
    assert!(machine.wait(1_000).closed().is_empty());
}

// What a stream may say.

#[test]
fn a_broken_rule_drops_the_stream_and_keeps_the_state() {
    let part = DataResponse { more: true, ..change(6, [("a", 6, "2")]) };
    let table: [(&str, Vec<DataResponse>); 12] = [
        ("a heartbeat inside a delivery", vec![part.clone(), heartbeat(6)]),
        ("a heartbeat that lowers", vec![heartbeat(4)]),
        ("a heartbeat of another history", vec![machine::elsewhere(heartbeat(5))]),
        ("a heartbeat without a position", vec![message(Phase::Heartbeat, None, NOTHING)]),
        ("a change that lowers", vec![change(4, NOTHING)]),
        ("a change of another history", vec![machine::elsewhere(change(5, NOTHING))]),
        ("a change without a position", vec![message(Phase::Change, None, NOTHING)]),
        ("a value newer than its delivery", vec![change(6, [("a", 7, "2")])]),
        ("a phase that changes half-way", vec![part, reset(6, NOTHING)]),
        ("a second resumption", vec![resume(6, NOTHING)]),
        ("a second state", vec![state(6, [("a", 6, "2")])]),
        ("an original server", vec![message(Phase::Unspecified, Some(6), [("a", 6, "2")])]),
    ];
    for (what, messages) in table {
        let (mut machine, live) = Machine::live(["a"]);
        let (last, before) = messages.split_last().expect("a message");
        for message in before {
            assert!(machine.step(Event::Received(live, message.clone())).closed().is_empty(), "{what}");
        }
        let outputs = machine.step(Event::Received(live, last.clone()));
        assert_eq!(outputs.closed(), [live], "{what}");
        let link = outputs.link();
        assert!(matches!(link, Some(Link::Lost(why)) if matches!(**why, Disconnect::Violation(_))), "{what}");
        assert_eq!(machine.shown(), [("a", "1")], "{what}");
        assert!(machine.wait(500).open().is_some(), "{what}: it tries again");
    }
}

#[test]
fn only_a_reset_lowers_the_revision() {
    let (mut machine, live) = Machine::live(["a"]);
    let outputs = machine.step(Event::Received(live, machine::elsewhere(reset(2, [("a", 2, "other")]))));
    assert!(outputs.closed().is_empty());
    assert_eq!(machine.revision(), 2);
    assert_eq!(machine.shown(), [("a", "other")]);
}

#[test]
fn a_reset_takes_away_what_it_does_not_hold() {
    let (mut machine, live) = Machine::live(["a", "b"]);
    machine.step(Event::Received(live, change(6, [("b", 6, "2")])));
    machine.step(Event::Received(live, reset(7, [("a", 3, "1")])));
    assert_eq!(machine.shown(), [("a", "1")]);
}

#[test]
fn duplicates_and_what_is_older_or_unknown_do_no_harm() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.step(Event::Received(live, change(7, [("a", 7, "new")])));
    for _ in 0..1_000 {
        let outputs = machine.step(Event::Received(live, change(7, [("a", 7, "again")])));
        assert!(outputs.closed().is_empty());
    }
    machine.step(Event::Received(live, change(8, [("a", 4, "older"), ("unknown", 8, "x")])));
    machine.step(Event::Received(live, deleted(change(9, NOTHING), "never/there", 9)));
    assert_eq!(machine.shown(), [("a", "new")]);
    assert_eq!(machine.revision(), 9);
}

#[test]
fn a_deleted_key_is_not_revived_by_an_older_value() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.step(Event::Received(live, deleted(change(7, NOTHING), "a", 7)));
    machine.step(Event::Received(live, change(8, [("a", 6, "older")])));
    assert!(machine.shown().is_empty());
}

#[test]
fn a_half_delivery_is_invisible_and_lost_with_its_stream() {
    let (mut machine, live) = Machine::live(["a", "b"]);
    let part = DataResponse { more: true, ..change(6, [("a", 6, "2")]) };
    let outputs = machine.step(Event::Received(live, part));
    assert!(outputs.applied().is_none());
    machine.step(Event::Ended(live, Disconnect::Ended));
    assert_eq!(machine.shown(), [("a", "1")]);
    let open = machine.wait(500).open().expect("a reconnect");
    assert_eq!(open.request.resume.expect("a position").revision, 5);
}

#[test]
fn the_parts_of_a_delivery_are_shown_in_one_step() {
    let (mut machine, live) = Machine::live(["a", "b"]);
    machine.step(Event::Received(live, DataResponse { more: true, ..change(6, [("a", 6, "2")]) }));
    let outputs = machine.step(Event::Received(live, change(6, [("b", 6, "3")])));
    let changed = Changed::Keys(vec!["a".into(), "b".into()]);
    assert_eq!(outputs.applied(), Some(&changed));
    assert_eq!(machine.shown(), [("a", "2"), ("b", "3")]);
}

#[test]
fn a_heartbeat_moves_the_position_of_the_next_resume() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.step(Event::Received(live, heartbeat(900)));
    machine.step(Event::Ended(live, Disconnect::Ended));
    let open = machine.wait(500).open().expect("a reconnect");
    assert_eq!(open.request.resume.expect("a position").revision, 900);
}

#[test]
fn denied_entries_are_those_of_the_last_first_delivery() {
    let (mut machine, live) = Machine::live(["a", "b"]);
    assert!(!machine.session.applied().denies("b"));
    machine.step(Event::Ended(live, Disconnect::Ended));
    let id = machine.wait(500).open().expect("a reconnect").id;
    machine.step(Event::Received(id, DataResponse { denied: vec!["b".to_owned()], ..resume(5, NOTHING) }));
    assert!(machine.session.applied().denies("b"));
    machine.step(Event::Received(id, change(6, [("a", 6, "2")])));
    assert!(machine.session.applied().denies("b"), "a change says nothing of it");
    machine.step(Event::Received(id, reset(7, [("a", 6, "2")])));
    assert!(!machine.session.applied().denies("b"));
}

// Keys that come and go.

#[test]
fn keys_watched_within_ten_milliseconds_are_one_request() {
    let mut machine = Machine::watching(["a"]);
    machine.wait(5);
    machine.watch("b");
    assert!(machine.wait(4).calls().is_empty());
    let (_, request) = machine.wait(1).sync().expect("Sync is called");
    assert_eq!(request.keys, ["a", "b"]);
}

#[test]
fn a_late_key_joins_in_full_while_the_old_stream_goes_on() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let outputs = machine.wait(10);
    let open = outputs.open().expect("a stream that joins");
    assert!(outputs.closed().is_empty(), "make before break");
    assert!(outputs.probe().is_none(), "it goes to the server of the live one");
    assert_eq!(open.request.keys, ["a", "b"]);
    assert_eq!(open.request.fresh, ["b"]);
    machine.step(Event::Received(live, change(6, [("a", 6, "2")])));
    assert_eq!(machine.shown(), [("a", "2")], "the old stream still brings news");
    assert!(!machine.session.applied().covers("b"), "nothing is known of the late key yet");
}

#[test]
fn a_joined_stream_takes_over_in_one_step_and_closes_the_old() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let open = machine.wait(10).open().expect("a stream that joins");
    let outputs = machine.step(Event::Received(open.id, resume(6, [("a", 6, "2"), ("b", 2, "3")])));
    assert_eq!(outputs.applied(), Some(&Changed::All));
    assert_eq!(outputs.closed(), [live]);
    assert_eq!(machine.shown(), [("a", "2"), ("b", "3")]);
    machine.step(Event::Received(live, change(7, [("a", 7, "of the old stream")])));
    assert_eq!(machine.shown(), [("a", "2"), ("b", "3")]);
}

#[test]
fn a_joined_stream_below_what_is_shown_waits() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let open = machine.wait(10).open().expect("a stream that joins");
    machine.step(Event::Received(live, change(8, [("a", 8, "8")])));
    let outputs = machine.step(Event::Received(open.id, resume(6, [("a", 6, "6"), ("b", 2, "3")])));
    assert!(outputs.applied().is_none(), "it would go back");
    assert_eq!(machine.shown(), [("a", "8")]);
    let outputs = machine.step(Event::Received(open.id, change(8, [("a", 8, "8")])));
    assert_eq!(outputs.closed(), [live]);
    assert_eq!(machine.shown(), [("a", "8"), ("b", "3")]);
}

#[test]
fn a_joined_stream_that_waits_may_catch_up_by_a_heartbeat() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let open = machine.wait(10).open().expect("a stream that joins");
    machine.step(Event::Received(live, heartbeat(8)));
    machine.step(Event::Received(open.id, resume(6, [("b", 2, "3")])));
    assert!(!machine.session.applied().covers("b"));
    machine.step(Event::Received(open.id, heartbeat(8)));
    assert_eq!(machine.shown(), [("a", "1"), ("b", "3")]);
}

#[test]
fn a_reset_on_the_live_stream_starts_the_join_anew() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let joining = machine.wait(10).open().expect("a stream that joins");
    let outputs = machine.step(Event::Received(live, machine::elsewhere(reset(2, [("a", 2, "x")]))));
    assert_eq!(outputs.closed(), [joining.id], "it continues a history that is over");
    let again = machine.wait(10).open().expect("a new one");
    assert_eq!(again.request.resume.expect("a position").revision, 2);
    assert_eq!(again.request.fresh, ["b"]);
}

#[test]
fn a_reset_on_a_joining_stream_takes_over_at_once() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let joining = machine.wait(10).open().expect("a stream that joins");
    let message = machine::elsewhere(reset(2, [("a", 2, "x"), ("b", 2, "y")]));
    let outputs = machine.step(Event::Received(joining.id, message));
    assert_eq!(outputs.closed(), [live]);
    assert_eq!(machine.shown(), [("a", "x"), ("b", "y")]);
    assert_eq!(machine.revision(), 2);
}

#[test]
fn a_key_watched_while_another_joins_is_next() {
    let (mut machine, _) = Machine::live(["a"]);
    machine.watch("b");
    let joining = machine.wait(10).open().expect("a stream that joins");
    machine.watch("c");
    assert!(machine.wait(1_000).open().is_none(), "one after the other");
    machine.step(Event::Received(joining.id, resume(5, [("b", 2, "2")])));
    let next = machine.wait(10).open().expect("the next");
    assert_eq!(next.request.fresh, ["c"]);
}

#[test]
fn a_join_that_fails_says_why_and_the_live_stream_goes_on() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let joining = machine.wait(10).open().expect("a stream that joins");
    let why =
        Disconnect::Refused { code: "RESOURCE_EXHAUSTED", text: "too many".to_owned(), retry_after: None };
    let outputs = machine.step(Event::Ended(joining.id, why));
    assert!(outputs.link().is_none(), "nothing is lost");
    assert!(outputs.iter().any(|output| matches!(output, Output::Trouble(_))));
    machine.step(Event::Received(live, change(6, [("a", 6, "2")])));
    assert_eq!(machine.shown(), [("a", "2")]);
    assert_eq!(machine.wait(500).open().expect("another try").request.fresh, ["b"]);
}

#[test]
fn a_key_without_handles_leaves_at_once_and_the_next_request_leaves_it_out() {
    let (mut machine, live) = Machine::live(["a", "b"]);
    machine.step(Event::Received(live, change(6, [("b", 6, "2")])));
    let outputs = machine.unwatch("b");
    assert!(outputs.calls().is_empty() && outputs.closed().is_empty());
    assert_eq!(machine.shown(), [("a", "1")]);
    assert!(!machine.session.applied().covers("b"));
    machine.step(Event::Received(live, change(7, [("b", 7, "still sent")])));
    assert_eq!(machine.shown(), [("a", "1")]);
    machine.step(Event::Ended(live, Disconnect::Ended));
    let open = machine.wait(500).open().expect("a reconnect");
    assert_eq!((open.request.keys, open.request.fresh), (vec!["a".to_owned()], vec![]));
}

#[test]
fn a_key_that_left_and_came_back_is_asked_for_in_full() {
    let (mut machine, live) = Machine::live(["a", "b"]);
    machine.step(Event::Received(live, change(6, [("b", 6, "2")])));
    machine.unwatch("b");
    machine.watch("b");
    assert!(!machine.session.applied().covers("b"));
    assert_eq!(machine.wait(10).open().expect("a stream that joins").request.fresh, ["b"]);
}

#[test]
fn a_key_that_leaves_during_a_delivery_is_not_in_it() {
    let (mut machine, live) = Machine::live(["a", "b"]);
    machine.step(Event::Received(live, DataResponse { more: true, ..change(6, [("b", 6, "2")]) }));
    machine.unwatch("b");
    machine.step(Event::Received(live, change(6, [("a", 6, "2")])));
    assert_eq!(machine.shown(), [("a", "2")]);
}

#[test]
fn a_key_that_leaves_during_sync_is_not_shown_by_it() {
    let mut machine = Machine::watching(["a", "b"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    machine.unwatch("b");
    machine.synced(sync, Ok(state(5, [("a", 3, "1"), ("b", 3, "2")])));
    assert_eq!(machine.shown(), [("a", "1")]);
    assert!(!machine.session.applied().covers("b"));
}

#[test]
fn a_prefix_covers_what_is_below_it() {
    let (mut machine, live) = Machine::live(["a", "p/"]);
    machine.step(Event::Received(live, change(6, [("p/x", 6, "1"), ("p/y/z", 6, "2"), ("q", 6, "3")])));
    assert_eq!(machine.shown(), [("a", "1"), ("p/x", "1"), ("p/y/z", "2")]);
    machine.watch("p/x");
    assert!(machine.wait(10).calls().is_empty(), "it is covered");
    machine.unwatch("p/");
    assert_eq!(machine.shown(), [("a", "1"), ("p/x", "1")], "the key that is watched itself stays");
}

#[test]
fn nothing_watched_is_no_stream() {
    let (mut machine, live) = Machine::live(["a"]);
    let outputs = machine.unwatch("a");
    assert_eq!(outputs.closed(), [live]);
    assert!(matches!(outputs.link(), Some(Link::Idle)));
    assert!(machine.shown().is_empty());
    assert!(machine.wait(3_600_000).calls().is_empty());
    assert_eq!(machine.wake_at, None, "and nothing to wake for");
    machine.watch("a");
    assert!(machine.wait(10).sync().is_some(), "first contact again");
}

#[test]
fn a_request_has_room_for_ten_thousand_keys_and_a_mebibyte() {
    let mut machine = Machine::new(Limits::default());
    assert!(machine.session.has_room("k"));
    (0..limit::KEYS).for_each(|n| drop(machine.watch(&format!("k{n}"))));
    assert!(!machine.session.has_room("k"));
    machine.unwatch("k0");
    assert!(machine.session.has_room("k"));

    let mut machine = Machine::new(Limits::default());
    let long = |n: usize| format!("{n:0>512}");
    let count = limit::KEYS_BYTES / 512;
    (0..count).for_each(|n| drop(machine.watch(&long(n))));
    assert!(!machine.session.has_room("k"));
    machine.watch(&long(0));
    machine.unwatch(&long(0));
    assert!(machine.session.has_room("k"), "a key counts once");
}

// Freshness and doubt.

#[test]
fn a_confirmation_counts_from_before_the_state_was_read() {
    let mut machine = Machine::watching(["a"]);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    machine.wait(100);
    assert_eq!(machine.session.confirmed(), None);
    machine.synced(sync, Ok(state(5, NOTHING)));
    assert_eq!(machine.session.confirmed(), Some((millis(10), Duration::ZERO)));
}

#[test]
fn a_delivery_confirms_when_it_is_complete_and_from_its_beginning() {
    let (mut machine, live) = Machine::live(["a"]);
    let before = machine.session.confirmed();
    machine.wait(100);
    let began = machine.now;
    machine.step(Event::Received(live, DataResponse { more: true, ..change(6, NOTHING) }));
    assert_eq!(machine.session.confirmed(), before, "a part confirms nothing");
    machine.wait(100);
    let source_age = Some(prost_types::Duration { seconds: 7, nanos: 0 });
    machine.step(Event::Received(live, DataResponse { source_age, ..change(6, NOTHING) }));
    assert_eq!(machine.session.confirmed(), Some((began, Duration::from_secs(7))));
}

#[test]
fn a_write_that_did_not_come_is_asked_for_once_a_minute() {
    let (mut machine, live) = Machine::live(["a"]);
    let open = machine.step(Event::Doubted).open().expect("a new stream at once");
    assert_eq!(open.request.resume.expect("announced").revision, 0, "it asks for everything");
    let outputs = machine.step(Event::Received(open.id, state(6, [("a", 6, "mine")])));
    assert_eq!(outputs.closed(), [live]);
    assert_eq!(machine.shown(), [("a", "mine")]);
    assert!(machine.step(Event::Doubted).calls().is_empty(), "not again and again");
    assert!(machine.wait(5_000).calls().is_empty());
}

#[test]
fn doubt_never_takes_the_client_back() {
    let (mut machine, live) = Machine::live(["a"]);
    let open = machine.step(Event::Doubted).open().expect("a new stream");
    let outputs = machine.step(Event::Received(open.id, state(4, NOTHING)));
    assert!(outputs.applied().is_none() && outputs.closed().is_empty());
    assert_eq!(machine.shown(), [("a", "1")]);
    machine.step(Event::Received(live, change(6, [("a", 6, "2")])));
    assert_eq!(machine.shown(), [("a", "2")]);
}

#[test]
fn doubt_ends_with_the_stream_that_was_doubted() {
    let (mut machine, live) = Machine::live(["a"]);
    machine.watch("b");
    let next = machine.wait(10).open().expect("a stream that joins").id;
    machine.step(Event::Received(live, drain(30_000)));
    machine.step(Event::Received(next, resume(5, NOTHING)));
    assert!(machine.step(Event::Doubted).calls().is_empty(), "the server keeps the client away");
    machine.step(Event::Ended(next, Disconnect::Ended));
    let open = machine.wait(30_500).open().expect("a reconnect");
    assert_eq!(open.request.resume.expect("a position").revision, 5, "the server judges what is shown");
}

#[test]
fn a_stream_that_is_behind_and_alone_is_given_up_and_the_server_judges() {
    let (mut machine, live) = Machine::live(["a"]);
    let open = machine.step(Event::Doubted).open().expect("a new stream");
    machine.step(Event::Received(open.id, state(4, NOTHING)));
    let outputs = machine.step(Event::Ended(live, Disconnect::Ended));
    assert_eq!(outputs.closed(), [open.id]);
    assert!(matches!(outputs.link(), Some(Link::Lost(why)) if **why == Disconnect::Behind));
    assert_eq!(machine.shown(), [("a", "1")]);
    let again = machine.wait(500).open().expect("a reconnect");
    assert_eq!(again.request.resume.expect("a position").revision, 5, "from what is shown");
}

fn endless() -> Limits {
    let long = Duration::MAX;
    Limits {
        sync: long,
        first_message: long,
        idle: Some(long),
        ready: long,
        seen: long,
        connect: long,
        state_bytes: usize::MAX,
        commit: long,
    }
}

fn drain(delay: u64) -> DataResponse {
    let delay = Some(prost_types::Duration { seconds: (delay / 1_000).cast_signed(), nanos: 0 });
    DataResponse { delay, ..message(Phase::Drain, None, NOTHING) }
}

#[test]
fn a_session_without_keys_does_nothing() {
    let mut session = Session::new(Limits::default(), String::new());
    let step = session.step(super::Input { now: Duration::ZERO, random: 0.5, event: Event::Woken });
    assert!(step.outputs.is_empty() && step.wake_at.is_none());
    assert!(!session.wants(&"a".into()));
    let unwatched = Event::Unwatched(vec![Selector::parse("a").expect("a key")]);
    let step = session.step(super::Input { now: Duration::ZERO, random: 0.5, event: unwatched });
    assert!(step.outputs.calls().is_empty());
}
