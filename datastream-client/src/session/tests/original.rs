//! A server of the original: one stream for each key, as few of them as can be.

use bytes::Bytes;
use datastream::limit;
use datastream::proto::{Data, DataRequest, DataResponse};

use super::machine::{Machine, Outputs as _, heartbeats, reset, state};
use crate::error::Disconnect;
use crate::session::{Answer, Changed, Event, Link, Opening, Output, StreamId};
use crate::status::Peer;

/// One that follows keys of a server of the original, which has said nothing yet; and their streams.
fn following<const N: usize>(keys: [&str; N]) -> (Machine, Vec<StreamId>) {
    let mut machine = Machine::watching(keys);
    machine.answers = Some(Peer::Original);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let why = Disconnect::Refused { code: "INTERNAL", text: String::new(), retry_after: None };
    let outputs = machine.step(Event::Synced(sync, Answer { is_current: false, state: Err(why) }));
    assert!(matches!(outputs.link(), Some(Link::Live(Peer::Original))));
    let streams = outputs.opens().into_iter().map(|open| open.id).collect();
    (machine, streams)
}

/// What such a server says: entries without revisions, no position, no phase.
fn said<const N: usize>(entries: [(&str, &str); N]) -> DataResponse {
    let entry = |(key, text): (&str, &str)| {
        let value = Bytes::copy_from_slice(text.as_bytes());
        let data = Data { key: key.to_owned(), value, value_type: "string".to_owned(), ..Data::default() };
        (key.to_owned(), data)
    };
    DataResponse { data: entries.into_iter().map(entry).collect(), ..DataResponse::default() }
}

fn says<const N: usize>(machine: &mut Machine, id: StreamId, entries: [(&str, &str); N]) -> Vec<Output> {
    machine.step(Event::Received(id, said(entries)))
}

fn keys(outputs: &Vec<Output>) -> Vec<String> {
    outputs.opens().into_iter().flat_map(|open| open.request.keys).collect()
}

fn is_stale(machine: &Machine, key: &str) -> bool {
    machine.session.applied().interrupted_at(key).is_some()
}

#[test]
fn each_entry_has_a_stream_of_its_own_asked_for_without_our_additions() {
    let mut machine = Machine::watching(["a", "b", "p/"]);
    machine.answers = Some(Peer::Original);
    let (sync, _) = machine.wait(10).sync().expect("Sync is called");
    let outputs = machine.step(Event::Synced(sync, Answer { is_current: false, state: Ok(said([])) }));
    for (open, key) in outputs.opens().into_iter().zip(["a", "b", "p/"]) {
        assert_eq!(open.request, DataRequest { keys: vec![key.to_owned()], ..DataRequest::default() });
    }
    assert_eq!(outputs.opens().len(), 3);
}

#[test]
fn each_message_is_a_delivery_and_what_arrives_last_counts() {
    let (mut machine, streams) = following(["a", "b"]);
    assert!(!machine.session.applied().covers("a"), "what was not answered is not known");
    let outputs = says(&mut machine, streams[0], [("a", "2")]);
    assert_eq!(outputs.applied(), Some(&Changed::Keys(vec!["a".into()])));
    assert_eq!(machine.shown(), [("a", "2")]);
    assert!(!machine.session.applied().covers("b"));
    says(&mut machine, streams[1], [("b", "1"), ("a", "not asked for here")]);
    assert_eq!(machine.shown(), [("a", "2"), ("b", "1")]);
    says(&mut machine, streams[0], [("a", "1")]);
    assert_eq!(machine.shown(), [("a", "1"), ("b", "1")]);
    assert_eq!(machine.session.applied().position(), None);
    assert_eq!(machine.session.confirmed(), None, "it never confirms");
}

#[test]
fn silence_is_no_sign_of_death() {
    let (mut machine, streams) = following(["a", "b"]);
    assert!(machine.wait(3_600_000).is_empty());
    says(&mut machine, streams[0], [("a", "1")]);
    assert!(machine.wait(3_600_000).is_empty());
    assert_eq!((machine.wake_at, machine.session.alive_until()), (None, None));
    assert_eq!(machine.shown(), [("a", "1")]);
}

#[test]
fn a_late_key_is_asked_for_alone_and_at_once() {
    let (mut machine, _) = following(["a"]);
    let outputs = machine.watch("b");
    assert_eq!(keys(&outputs), ["b"]);
    assert!(outputs.probe().is_none());
}

#[test]
fn handles_come_and_go_and_the_stream_stays() {
    let (mut machine, streams) = following(["a", "b"]);
    says(&mut machine, streams[0], [("a", "1")]);
    says(&mut machine, streams[1], [("b", "1")]);
    let outputs = machine.unwatch("b");
    assert!(outputs.closed().is_empty());
    assert_eq!(machine.shown(), [("a", "1")]);
    says(&mut machine, streams[1], [("b", "2")]);
    assert_eq!(machine.shown(), [("a", "1")], "nobody wants it");
    let outputs = machine.watch("b");
    assert!(outputs.calls().is_empty(), "it is not asked for again");
    assert_eq!(machine.shown(), [("a", "1"), ("b", "2")], "its last value is shown");
    assert!(!is_stale(&machine, "b"));
}

#[test]
fn the_streams_outlive_the_last_handle() {
    let (mut machine, streams) = following(["a"]);
    says(&mut machine, streams[0], [("a", "1")]);
    let outputs = machine.unwatch("a");
    assert!(outputs.closed().is_empty() && machine.shown().is_empty());
    assert!(matches!(outputs.link(), Some(Link::Idle)));
    says(&mut machine, streams[0], [("a", "2")]);
    let outputs = machine.watch("a");
    assert!(outputs.calls().is_empty());
    assert!(matches!(outputs.link(), Some(Link::Live(Peer::Original))));
    assert_eq!(machine.shown(), [("a", "2")]);
}

#[test]
fn a_server_that_is_lost_while_nothing_is_watched_is_not_looked_for() {
    let (mut machine, streams) = following(["a"]);
    machine.unwatch("a");
    let outputs = machine.step(Event::Ended(streams[0], Disconnect::Ended));
    assert!(outputs.link().is_none());
    assert!(machine.wait(60_000).calls().is_empty());
    machine.watch("a");
    let outputs = machine.wait(10);
    assert!(outputs.probe().is_some_and(|(_, reconnect)| reconnect), "its connection is gone");
}

#[test]
fn a_stream_that_ends_alone_is_asked_for_again_alone_after_a_wait() {
    let (mut machine, streams) = following(["a", "b"]);
    says(&mut machine, streams[0], [("a", "1")]);
    says(&mut machine, streams[1], [("b", "1")]);
    let outputs = machine.step(Event::Ended(streams[1], Disconnect::Ended));
    assert!(outputs.link().is_none(), "the other is followed");
    assert!(outputs.iter().any(|output| matches!(output, Output::Trouble(_))));
    assert_eq!((is_stale(&machine, "a"), is_stale(&machine, "b")), (false, true));
    assert!(machine.wait(499).calls().is_empty());
    let outputs = machine.wait(1);
    assert_eq!(keys(&outputs), ["b"]);
    assert!(outputs.probe().is_none(), "the server is known");
    assert!(is_stale(&machine, "b"), "nothing is known of the time between");
    let again = outputs.open().expect("it was asked for").id;
    let outputs = says(&mut machine, again, [("b", "2")]);
    assert!(matches!(outputs.link(), Some(Link::Live(Peer::Original))), "the trouble is over");
    assert!(!is_stale(&machine, "b"));
    assert_eq!(machine.shown(), [("a", "1"), ("b", "2")]);
}

#[test]
fn the_waits_of_one_key_double_and_concern_no_other() {
    let (mut machine, streams) = following(["a", "b", "c"]);
    let mut stream = streams[1];
    for wait in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        machine.step(Event::Ended(stream, Disconnect::Ended));
        assert!(machine.wait(wait - 1).calls().is_empty(), "before {wait} ms");
        stream = machine.wait(1).open().expect("it is asked for again").id;
    }
    machine.step(Event::Ended(streams[2], Disconnect::Ended));
    assert_eq!(keys(&machine.wait(500)), ["c"]);
    says(&mut machine, stream, [("b", "1")]);
    machine.wait(60_000);
    machine.step(Event::Ended(stream, Disconnect::Ended));
    assert_eq!(keys(&machine.wait(500)), ["b"], "a minute of health begins the waits anew");
}

#[test]
fn a_key_that_waits_and_is_left_is_not_asked_for_again() {
    let (mut machine, streams) = following(["a", "b"]);
    machine.step(Event::Ended(streams[1], Disconnect::Ended));
    machine.unwatch("b");
    assert!(machine.wait(60_000).calls().is_empty());
    assert_eq!(keys(&machine.watch("b")), ["b"], "then it is new");
}

#[test]
fn the_end_of_a_stream_that_nobody_wants_is_no_trouble() {
    let (mut machine, streams) = following(["a", "b"]);
    says(&mut machine, streams[1], [("b", "1")]);
    machine.unwatch("b");
    assert!(machine.step(Event::Ended(streams[1], Disconnect::Ended)).is_empty());
    assert!(machine.wait(60_000).calls().is_empty());
    assert_eq!(keys(&machine.watch("b")), ["b"]);
    assert!(!machine.session.applied().covers("b"), "what it was is not what it is");
}

#[test]
fn a_restart_is_one_wait_one_probe_and_one_stream_for_each_key() {
    let (mut machine, streams) = following(["a", "b", "c", "gone"]);
    says(&mut machine, streams[0], [("a", "1")]);
    machine.unwatch("gone");
    for stream in &streams[..3] {
        assert!(machine.step(Event::Ended(*stream, Disconnect::Ended)).link().is_none());
    }
    let outputs = machine.step(Event::Ended(streams[3], Disconnect::Ended));
    assert!(matches!(outputs.link(), Some(Link::Lost(_))));
    assert_eq!(machine.shown(), [("a", "1")], "the last values stay");
    assert!(machine.wait(499).calls().is_empty(), "the ends of many are one failure");
    let outputs = machine.wait(1);
    assert!(outputs.probe().is_some_and(|(_, reconnect)| reconnect));
    assert_eq!(keys(&outputs), ["a", "b", "c"], "without what nobody wants");
    assert_eq!(machine.shown(), [("a", "1")]);
    assert!(is_stale(&machine, "a"), "it has not said so again");
    says(&mut machine, outputs.opens()[0].id, [("a", "1")]);
    assert!(!is_stale(&machine, "a"));
}

#[test]
fn only_a_minute_of_health_begins_the_waits_of_reconnects_anew() {
    let (mut machine, mut streams) = following(["a"]);
    for (life, wait) in [(59_999, 500), (59_999, 1_000), (60_000, 500)] {
        says(&mut machine, streams[0], [("a", "1")]);
        machine.wait(life);
        machine.step(Event::Ended(streams[0], Disconnect::Ended));
        assert!(machine.wait(wait - 1).calls().is_empty(), "before {wait} ms");
        streams = machine.wait(1).opens().into_iter().map(|open| open.id).collect();
        assert_eq!(streams.len(), 1, "after {wait} ms");
    }
}

#[test]
fn a_lost_runtime_is_followed_by_another_judgement() {
    let (mut machine, _) = following(["a", "b"]);
    let outputs = machine.step(Event::Lost);
    assert!(matches!(outputs.link(), Some(Link::Lost(why)) if **why == Disconnect::Interrupted));
    let outputs = machine.wait(500);
    assert!(outputs.probe().is_some());
    assert_eq!(keys(&outputs), ["a", "b"]);
}

// The server is another one.

#[test]
fn rolled_back_to_the_original_the_last_values_stay_until_each_is_replaced() {
    let (mut machine, live) = Machine::live(["a", "b", "missing"]);
    machine.step(Event::Received(live, super::change(6, [("b", 6, "2")])));
    machine.answers = Some(Peer::Original);
    machine.step(Event::Ended(live, Disconnect::Ended));
    let outputs = machine.wait(500);
    assert_eq!(keys(&outputs), ["a", "b", "missing"]);
    assert_eq!(machine.shown(), [("a", "1"), ("b", "2")]);
    assert_eq!((is_stale(&machine, "a"), is_stale(&machine, "b")), (true, true));
    assert!(!machine.session.applied().covers("missing"), "such a server cannot say that");
    let applied = machine.session.applied();
    assert_eq!((applied.position(), machine.session.confirmed()), (None, None));
    says(&mut machine, outputs.opens()[0].id, [("a", "0")]);
    assert_eq!(machine.shown(), [("a", "0"), ("b", "2")], "although it has no revision");
    assert_eq!((is_stale(&machine, "a"), is_stale(&machine, "b")), (false, true));
}

#[test]
fn upgraded_from_the_original_a_whole_state_is_swapped_in_at_once() {
    for first in [state(7, [("a", 3, "7")]), reset(7, [("a", 3, "7")])] {
        let (mut machine, streams) = following(["a", "b"]);
        says(&mut machine, streams[0], [("a", "1")]);
        says(&mut machine, streams[1], [("b", "1")]);
        machine.answers = Some(Peer::Current);
        machine.step(Event::Ended(streams[0], Disconnect::Ended));
        machine.step(Event::Ended(streams[1], Disconnect::Ended));
        let open = machine.wait(500).open().expect("Subscribe is called");
        assert_eq!(
            open.request.resume,
            Some(datastream::proto::Position::default()),
            "it asks for everything"
        );
        assert_eq!((open.request.keys.len(), open.request.fresh.len()), (2, 0));
        assert_eq!(machine.shown(), [("a", "1"), ("b", "1")]);
        let outputs = machine.step(Event::Received(open.id, first));
        assert!(matches!(outputs.link(), Some(Link::Live(Peer::Current))));
        assert_eq!(machine.shown(), [("a", "7")]);
        assert!(machine.session.applied().covers("b"), "now it is known to be gone");
        assert!(!is_stale(&machine, "a") && !is_stale(&machine, "b"));
    }
}

#[test]
fn headers_of_ours_on_a_stream_of_the_original_are_judged_anew() {
    let (mut machine, streams) = following(["a", "b"]);
    says(&mut machine, streams[0], [("a", "1")]);
    machine.answers = Some(Peer::Current);
    let outputs = machine.step(Event::Opened(streams[1], heartbeats(5_000)));
    let mut closed = outputs.closed();
    closed.sort_unstable();
    assert_eq!(closed, streams);
    assert!(matches!(outputs.link(), Some(Link::Lost(_))));
    assert_eq!(machine.shown(), [("a", "1")]);
    let open = machine.wait(500).open().expect("Subscribe is called");
    assert_eq!(open.request.resume, Some(datastream::proto::Position::default()));
}

#[test]
fn headers_that_prove_nothing_and_those_of_a_stream_that_ended_judge_nobody() {
    let (mut machine, streams) = following(["a", "b"]);
    machine.step(Event::Opened(streams[0], Opening::default()));
    machine.step(Event::Ended(streams[1], Disconnect::Ended));
    assert!(machine.step(Event::Opened(streams[1], heartbeats(5_000))).closed().is_empty());
    says(&mut machine, streams[0], [("a", "1")]);
    assert_eq!(machine.shown(), [("a", "1")]);
}

#[test]
fn all_is_followed_again_once_the_last_value_was_repeated_and_no_sooner() {
    let (mut machine, streams) = following(["a", "b", "c"]);
    for (stream, key) in streams.iter().zip(["a", "b", "c"]) {
        assert!(says(&mut machine, *stream, [(key, "1")]).link().is_none(), "nothing was lost");
    }
    machine.step(Event::Ended(streams[1], Disconnect::Ended));
    machine.step(Event::Ended(streams[2], Disconnect::Ended));
    let again = machine.wait(500).opens();
    assert!(says(&mut machine, streams[0], [("a", "2")]).link().is_none());
    assert!(says(&mut machine, again[0].id, [("b", "2")]).link().is_none(), "one is still to be repeated");
    assert!(says(&mut machine, again[1].id, [("c", "2")]).link().is_some());
}

#[test]
fn what_waits_and_gives_way_is_asked_for_once_when_it_comes_back() {
    let (mut machine, _) = following(["kept", "a"]);
    let stream = machine.watch("0").open().expect("it is asked for").id;
    machine.step(Event::Ended(stream, Disconnect::Ended));
    machine.unwatch("0");
    for n in 3..limit::KEYS {
        machine.watch(&format!("k{n}"));
        machine.unwatch(&format!("k{n}"));
    }
    assert!(machine.watch("one/more").closed().is_empty(), "it has no stream to be closed");
    assert_eq!(keys(&machine.watch("0")), ["0"]);
    assert!(machine.wait(500).calls().is_empty());
}

#[test]
fn a_key_that_is_watched_again_while_it_waits_is_stale() {
    let (mut machine, streams) = following(["a", "b"]);
    says(&mut machine, streams[1], [("b", "1")]);
    machine.step(Event::Ended(streams[1], Disconnect::Ended));
    machine.unwatch("b");
    machine.watch("b");
    assert_eq!((machine.shown(), is_stale(&machine, "b")), (vec![("b", "1")], true));
}

#[test]
fn what_was_lost_and_nobody_wants_is_not_waited_for() {
    let (mut machine, streams) = following(["a", "b", "c"]);
    says(&mut machine, streams[2], [("c", "1")]);
    machine.step(Event::Ended(streams[1], Disconnect::Ended));
    machine.step(Event::Ended(streams[2], Disconnect::Ended));
    machine.unwatch("c");
    let again = machine.wait(500).open().expect("it is asked for again");
    assert!(says(&mut machine, again.id, [("b", "1")]).link().is_some(), "all that is wanted is followed");
}

#[test]
fn what_nobody_wants_gives_way_to_what_somebody_does() {
    let (mut machine, streams) = following(["kept"]);
    let asked = |n: usize| format!("k{n:05}");
    let mut first = None;
    for n in 0..limit::KEYS - 1 {
        let outputs = machine.watch(&asked(n));
        assert!(outputs.closed().is_empty());
        first = first.or(outputs.open().map(|open| open.id));
        machine.unwatch(&asked(n));
    }
    let outputs = machine.watch("one/more");
    let first = first.expect("the first was asked for");
    assert_eq!(outputs.closed(), [first]);
    assert_eq!(keys(&outputs), ["one/more"]);
    says(&mut machine, first, [(&asked(0), "what was still on its way")]);
    let outputs = machine.watch(&asked(0));
    assert_eq!((outputs.closed().len(), keys(&outputs)), (1, vec![asked(0)]), "it is asked for again");
    says(&mut machine, streams[0], [("kept", "1")]);
    assert_eq!(machine.shown(), [("kept", "1")]);
}
