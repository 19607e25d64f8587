//! What a handle reads, and what it waits for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use datastream::proto::DataResponse;
use datastream_client::{
    Client, Disconnect, Origin, State, Unavailable, Value, ValueError, ValueType, Watch,
};
use futures_util::{FutureExt as _, StreamExt as _};

use super::{pass, settle};
use crate::captured_log;
use crate::scripted::{Entry, change, client, deletion, reset, resume, state};
use crate::wire::within;

const TEN: Entry<'_> = ("n", 3, "int", "10");

#[tokio::test(start_paused = true)]
async fn a_value_is_read_as_its_type() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    assert_eq!(n.get(), None, "nothing is known before the server has answered");
    assert!(matches!(n.try_get(), Err(Unavailable::NotReady { .. })));
    script.accept(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    assert_eq!(n.get(), Some(10));
    assert_eq!(n.try_get(), Ok(10));
    assert_eq!(n.load().as_ref(), Some(&10));
    assert_eq!(n.load().into_arc().as_deref(), Some(&10));
}

#[tokio::test(start_paused = true)]
async fn a_default_is_read_until_there_is_a_value_and_when_it_is_gone() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n").or(7);
    assert_eq!((n.get(), n.status().origin), (7, Origin::Default));
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    assert_eq!((n.get(), n.status().origin), (10, Origin::Live));
    stream.say(deletion(6, "n"));
    settle().await;
    assert_eq!((n.get(), n.status().origin), (7, Origin::Default));
}

#[tokio::test(start_paused = true)]
async fn a_missing_key_is_missing_as_soon_as_a_state_lacks_it_and_heals() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [])).await;
    let before = tokio::time::Instant::now();
    assert!(matches!(within("ready", n.ready()).await, Err(Unavailable::Missing { key }) if key == "n"));
    assert_eq!(before.elapsed(), Duration::ZERO, "it did not wait for its time to be over");
    stream.say(change(6, [("n", 6, "int", "1")]));
    settle().await;
    within("ready", n.ready()).await.expect("it was born");
}

#[tokio::test(start_paused = true)]
async fn a_value_of_another_type_fails_ready_and_heals() {
    let (client, mut script) = client();
    let n = client.watch::<u16>("n");
    let stream = script.accept(state(5, [("n", 3, "int", "70000")])).await;
    let why = within("ready", n.ready()).await.expect_err("it does not fit");
    let Unavailable::Unusable { source, .. } = &why else { panic!("{why}") };
    assert!(matches!(source, ValueError::OutOfRange { .. }));
    assert!(!format!("{why} {source}").contains("70000"), "a value never reaches an error text");
    stream.say(change(6, [("n", 6, "int", "80")]));
    settle().await;
    assert_eq!((n.ready().await, n.get()), (Ok(()), Some(80)));
}

#[tokio::test(start_paused = true)]
async fn a_denied_key_is_denied_and_blinds_no_other() {
    let (client, mut script) = client();
    let (n, secret) = (client.watch::<i64>("n"), client.watch::<i64>("secret"));
    let denied = vec!["secret".to_owned()];
    script.accept(DataResponse { denied: denied.clone(), ..state(5, [TEN]) }).await;
    assert!(matches!(within("ready", secret.ready()).await, Err(Unavailable::Denied { .. })));
    within("ready", n.ready()).await.expect("the other is there");
}

#[tokio::test(start_paused = true)]
async fn ready_gives_up_after_ten_seconds_and_says_why() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let started = tokio::time::Instant::now();
    let waiting = tokio::spawn({
        let n = n.clone();
        async move { n.ready().await }
    });
    let (_, sync) = script.sync().await;
    let refused = Disconnect::Unreachable("connection refused".to_owned());
    sync.send(Err(refused.clone())).expect("the client waits");
    script.subscribe().await.end(refused);
    let error = waiting.await.expect("no panic").expect_err("nothing came");
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn changed_loses_no_change_between_its_calls() {
    let (client, mut script) = client();
    let mut n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [TEN])).await;
    within("the first value", n.changed()).await;
    for round in 6..20 {
        let text = round.to_string();
        stream.say(change(round, [("n", round, "int", &text)]));
        settle().await; // It comes while nobody waits.
        within("a change", n.changed()).await;
        assert_eq!(n.get(), Some(round.cast_signed()));
    }
    assert!(n.changed().now_or_never().is_none(), "and reports none twice");
}

#[tokio::test(start_paused = true)]
async fn changed_is_cancel_safe() {
    let (client, mut script) = client();
    let mut n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [TEN])).await;
    within("the first value", n.changed()).await;
    assert!(n.changed().now_or_never().is_none());
    stream.say(change(6, [("n", 6, "int", "6")]));
    settle().await;
    assert!(n.changed().now_or_never().is_some(), "the change of the dropped call is not lost");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_mere_revision_are_no_change() {
    let (client, mut script) = client();
    let mut n = client.watch::<u16>("n");
    let stream = script.accept(state(5, [TEN])).await;
    within("the first value", n.changed()).await;
    stream.say(change(6, [("n", 6, "int", "70000")]));
    settle().await;
    assert!(n.changed().now_or_never().is_none(), "a refusal");
    stream.say(change(7, [("n", 7, "int", "11")]));
    within("a good value", n.changed()).await;
    stream.say(reset(2, [("n", 2, "int", "11")]));
    settle().await;
    assert_eq!(n.status().revision, Some(2));
    assert!(n.changed().now_or_never().is_none(), "the same value in another history");
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_the_present_and_shows_a_deletion() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    let mut values = n.stream();
    let mut next = async || within("a value", values.next()).await.expect("it never ends");
    assert_eq!(next().await.as_deref(), Some(&10));
    stream.say(change(6, [("n", 6, "int", "11")]));
    assert_eq!(next().await.as_deref(), Some(&11));
    stream.say(deletion(7, "n"));
    assert_eq!(next().await, None);
    (8..100).for_each(|round| stream.say(change(round, [("n", round, "int", &round.to_string())])));
    settle().await;
    assert_eq!(next().await.as_deref(), Some(&99), "a slow reader sees the latest");
}

#[tokio::test(start_paused = true)]
async fn a_handle_with_a_default_reads_waits_and_streams_as_one_without() {
    let (client, mut script) = client();
    let mut n = client.watch::<i64>("n").or(7);
    assert_eq!(*n.load(), 7);
    assert!(n.changed().now_or_never().is_none());
    let mut values = n.stream();
    let mut next = async || *within("a value", values.next()).await.expect("it never ends");
    let stream = script.accept(state(5, [TEN])).await;
    within("ready", n.ready()).await.expect("it is there");
    assert_eq!((*n.load(), next().await), (10, 10));
    within("the first value", n.changed()).await;
    stream.say(deletion(6, "n"));
    assert_eq!(next().await, 7);
    assert_eq!(*n.load(), 7);
    assert!(matches!(within("ready", n.ready()).await, Err(Unavailable::Missing { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_debug_shows_is_escaped_and_cut_and_is_no_value() {
    let (client, _script) = client();
    let nasty = format!("{}\u{1b}\u{202e}", "x".repeat(1 << 16));
    let secret = client.watch::<String>(&nasty).or("hunter2".to_owned());
    let builder = Client::builder(format!("http://me:hunter2@host/{nasty}")).client_name("\u{1b}");
    for shown in [format!("{secret:?}"), format!("{:?}", secret.watch()), format!("{builder:?}")] {
        assert!(!shown.contains("hunter2") && shown.len() < 1_000, "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    }
    let n = format!("{:?}", client.watch::<i64>("n").or(7));
    assert!(n.contains(r#"key: "n""#) && n.contains("has_value: false") && !n.contains('7'), "{n}");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_value_stays_through_refusal_reset_and_reconnect() {
    let (client, mut script) = client();
    let n = client.watch::<u16>("n");
    let stream = script.accept(state(5, [TEN])).await;
    stream.say(change(6, [("n", 6, "int", "70000")]));
    settle().await;
    assert_eq!((n.get(), n.status().refusal.map(|refusal| refusal.revision)), (Some(10), Some(6)));
    stream.say(reset(3, [("n", 2, "string", "ten")]));
    settle().await;
    assert_eq!((n.get(), n.status().refusal.map(|refusal| refusal.revision)), (Some(10), Some(2)));
    stream.end(Disconnect::Ended);
    settle().await;
    assert_eq!((n.get(), n.status().state), (Some(10), State::Stale));
    let again = script.subscribe().await;
    again.say(resume(3, []));
    settle().await;
    assert_eq!((n.get(), n.status().state), (Some(10), State::Error));
    again.say(change(4, [("n", 4, "int", "11")]));
    settle().await;
    assert_eq!((n.get(), n.status().refusal), (Some(11), None));
}

#[tokio::test(start_paused = true)]
async fn a_decoding_that_panics_refuses_its_value_and_nothing_else() {
    #[derive(Clone, Debug)]
    struct Panics;

    impl Value for Panics {
        const READS: &'static [ValueType] = i64::READS;
        const WRITES: ValueType = i64::WRITES;

        fn from_text(value_type: ValueType, text: &Bytes) -> Result<Self, ValueError> {
            match i64::from_text(value_type, text)? {
                13 => panic!("on purpose"),
                _ => Ok(Self),
            }
        }

        fn to_text(&self) -> Result<Bytes, ValueError> {
            Err(ValueError::refused::<Self>("it is only read"))
        }
    }

    let (client, mut script) = client();
    let (good, bad) = (client.watch::<i64>("n"), client.watch::<Panics>("n"));
    let stream = script.accept(state(5, [("n", 3, "int", "13")])).await;
    settle().await;
    assert_eq!(good.get(), Some(13));
    assert!(matches!(bad.try_get(), Err(Unavailable::Unusable { .. })));
    stream.say(change(6, [("n", 6, "int", "14")]));
    settle().await;
    assert_eq!(good.get(), Some(14));
    assert!(bad.get().is_some(), "it heals");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_panics_when_it_is_dropped_harms_no_other_and_is_logged() {
    captured_log::capture();
    struct Bomb;

    impl Value for Bomb {
        const READS: &'static [ValueType] = i64::READS;
        const WRITES: ValueType = i64::WRITES;

        fn from_text(_: ValueType, _: &Bytes) -> Result<Self, ValueError> {
            Ok(Self)
        }

        fn to_text(&self) -> Result<Bytes, ValueError> {
            Err(ValueError::refused::<Self>("it is only read"))
        }
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    let (client, mut script) = client();
    let (good, bomb) = (client.watch::<i64>("n"), client.watch::<Bomb>("n"));
    let mapped = good.map(|_| Bomb);
    let stream = script.accept(state(5, [TEN])).await;
    stream.say(change(6, [("n", 6, "int", "11")]));
    settle().await;
    assert_eq!((good.get(), bomb.load().as_ref().is_some()), (Some(11), true), "it was replaced");
    stream.say(deletion(7, "n"));
    stream.say(change(8, [("other", 8, "int", "1")]));
    settle().await;
    assert_eq!((good.get(), bomb.load().as_ref().is_some()), (None, false), "it is gone");
    stream.say(change(9, [("n", 9, "int", "12")]));
    settle().await;
    assert_eq!(good.get(), Some(12), "the client goes on");
    assert!(!captured_log::lines_with("a value panicked when it was dropped").is_empty());
    std::mem::forget([bomb.load().into_arc(), mapped.load().into_arc()]);
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_is_shown_before_the_handles() {
    static CLIENT: OnceLock<Client> = OnceLock::new();

    /// The value that the snapshot held while this one was made, to be shown by a handle.
    struct AtDecoding(Option<i64>);

    impl Value for AtDecoding {
        const READS: &'static [ValueType] = i64::READS;
        const WRITES: ValueType = i64::WRITES;

        fn from_text(_: ValueType, _: &Bytes) -> Result<Self, ValueError> {
            CLIENT.get().map_or(Ok(Self(None)), |client| client.snapshot().get("n").map(Self))
        }

        fn to_text(&self) -> Result<Bytes, ValueError> {
            Err(ValueError::refused::<Self>("it is only read"))
        }
    }

    let (client, mut script) = client();
    let _ = CLIENT.set(client.clone());
    let n = client.watch::<AtDecoding>("n");
    let stream = script.accept(state(5, [TEN])).await;
    stream.say(change(6, [("n", 6, "int", "11")]));
    settle().await;
    assert_eq!(n.load().as_ref().and_then(|seen| seen.0), Some(11));
}

#[tokio::test(start_paused = true)]
async fn a_value_never_reaches_a_log_an_error_or_a_debug_text() {
    captured_log::capture();
    let secret = "hunter2-of-the-client";
    let (client, mut script) = client();
    let (text, number) = (client.watch::<String>("log/secret"), client.watch::<i64>("log/secret"));
    let _stream = script.accept(state(5, [("log/secret", 3, "string", secret)])).await;
    settle().await;
    assert_eq!(text.get().as_deref(), Some(secret));
    let error = number.try_get().expect_err("it is no number");
    let status = number.status();
    let shown =
        format!("{text:?} {number:?} {client:?} {error:?} {error} {status:?} {:?}", client.snapshot());
    assert!(shown.contains("log/secret") && !shown.contains(secret), "{shown}");
    assert!(!captured_log::lines_with("log/secret").is_empty(), "the refusal is logged");
    assert!(captured_log::lines_with(secret).is_empty());
}

#[tokio::test(start_paused = true)]
async fn handles_of_one_key_and_type_share_one_decoding() {
    static DECODED: AtomicUsize = AtomicUsize::new(0);

    #[derive(Clone, Debug)]
    struct Counted(i64);

    impl Value for Counted {
        const READS: &'static [ValueType] = i64::READS;
        const WRITES: ValueType = i64::WRITES;

        fn from_text(value_type: ValueType, text: &Bytes) -> Result<Self, ValueError> {
            DECODED.fetch_add(1, Ordering::Relaxed);
            i64::from_text(value_type, text).map(Self)
        }

        fn to_text(&self) -> Result<Bytes, ValueError> {
            self.0.to_text()
        }
    }

    let (client, mut script) = client();
    let first = client.watch::<Counted>("n");
    let second = client.watch::<Counted>("n");
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    let third = client.watch::<Counted>("n");
    assert_eq!(third.get().map(|counted| counted.0), Some(10), "a later handle reads at once");
    assert_eq!(DECODED.load(Ordering::Relaxed), 1);
    let (first, second) = (first.load().into_arc(), second.load().into_arc());
    assert!(first.zip(second).is_some_and(|(first, second)| std::sync::Arc::ptr_eq(&first, &second)));
    (0..10).for_each(|_| stream.say(change(6, [("other", 6, "int", "1")])));
    stream.say(resume(5, []));
    settle().await;
    assert_eq!(DECODED.load(Ordering::Relaxed), 1, "nothing is decoded twice");
}

#[tokio::test(start_paused = true)]
async fn two_types_on_one_key_each_have_their_last_good_value() {
    let (client, mut script) = client();
    let (wide, narrow) = (client.watch::<i64>("n"), client.watch::<u16>("n"));
    let stream = script.accept(state(5, [TEN])).await;
    stream.say(change(6, [("n", 6, "int", "70000")]));
    settle().await;
    assert_eq!((wide.get(), narrow.get()), (Some(70_000), Some(10)));
    assert_eq!((wide.status().refusal, narrow.status().refusal.is_some()), (None, true));
    assert_eq!((wide.status().revision, narrow.status().revision), (Some(6), Some(3)));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_never_straddles_a_commit() {
    let (client, mut script) = client();
    let (mut a, b) = (client.watch::<u64>("a"), client.watch::<u64>("b"));
    let stream = script.accept(state(5, [("a", 5, "int", "5"), ("b", 5, "int", "5")])).await;
    within("the first value", a.changed()).await;
    for revision in 6..50 {
        let text = revision.to_string();
        let half = change(revision, [("b", revision, "int", &text)]);
        stream.say(DataResponse { more: true, position: None, ..half });
        settle().await;
        let before = client.snapshot();
        assert_eq!(before.get::<u64>("b"), Ok(Some(revision - 1)), "half a delivery is invisible");
        stream.say(change(revision, [("a", revision, "int", &text)]));
        within("a change", a.changed()).await;
        // Whoever is woken by a handle finds its value in the snapshot, with the others of its commit.
        let snapshot = client.snapshot();
        assert_eq!(snapshot.get::<u64>("a"), Ok(Some(revision)));
        assert_eq!(snapshot.get::<u64>("b"), Ok(Some(revision)));
        assert_eq!(snapshot.position().map(|position| position.revision), Some(revision));
        assert_eq!(before.get::<u64>("a"), Ok(Some(revision - 1)), "a snapshot stays what it was");
    }
    assert_eq!(b.get(), Some(49));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_handle_is_ready_and_never_changes() {
    let mut fixed = Watch::fixed(100_i64);
    fixed.ready().await.expect("it has its value");
    fixed.ready_blocking().expect("it has its value");
    assert_eq!((fixed.get(), fixed.clone().or(1).get()), (Some(100), 100));
    let status = fixed.status();
    assert_eq!((status.state, status.origin, status.age), (State::Ready, Origin::Fixed, None));
    assert_eq!((status.unavailable, status.refusal), (None, None));
    assert!(tokio::time::timeout(Duration::from_secs(3600), fixed.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn inside_a_runtime_a_blocking_wait_says_so_and_does_not_block() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let error = n.ready_blocking().expect_err("it would block the runtime");
    assert!(error.to_string().contains("await `ready`"), "{error}");
    script.accept(state(5, [TEN])).await;
    settle().await;
    n.ready_blocking().expect("what is known needs no waiting");
}

#[tokio::test(start_paused = true)]
async fn a_late_handle_of_a_live_client_joins_and_becomes_ready() {
    let (client, mut script) = client();
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [TEN])).await;
    settle().await;
    let late = client.watch::<i64>("late");
    let joining = script.subscribe().await;
    assert_eq!(joining.request.fresh, ["late"]);
    stream.say(change(6, [("n", 6, "int", "11")]));
    pass(Duration::from_secs(1)).await;
    assert_eq!((n.get(), late.get()), (Some(11), None));
    joining.say(resume(6, [("n", 6, "int", "11"), ("late", 1, "int", "1")]));
    within("ready", late.ready()).await.expect("it joined");
    assert_eq!(late.get(), Some(1));
    stream.dropped().await;
}
