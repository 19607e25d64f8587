//! A client without a server, for the tests of applications: no runtime, no network, no time.

use datastream_client::{
    CallError, Client, Commit, Declared, Fixed, Key, Origin, Seen, State, Unavailable, WatchOr,
};
use futures_util::{FutureExt as _, StreamExt as _};

const MAX: Key<i64> = Key::new("max_connections", 100);

fn two() -> Fixed {
    Client::fixed([("max_connections", 10_i64.into()), ("name", "x".to_owned().into())])
}

/// The code of an application: it knows nothing of tests.
fn follow(client: &Client) -> WatchOr<i64> {
    client.watch(MAX)
}

#[test]
fn a_handle_shows_what_was_set_as_soon_as_it_is_set() {
    let settings = two();
    let max = follow(&settings);
    assert_eq!(max.get(), 10);
    settings.set("max_connections", 20_i64);
    assert_eq!(max.get(), 20);
    settings.delete("max_connections");
    assert_eq!((max.get(), max.status().origin), (100, Origin::Default));
    settings.delete("max_connections");
    settings.set("max_connections", 30_i64);
    assert_eq!((max.get(), settings.clone().watch(MAX).get()), (30, 30));
}

#[test]
fn every_wait_is_over_at_once() {
    let settings = two();
    let (mut max, missing) = (settings.watch::<i64>("max_connections"), settings.watch::<i64>("missing"));
    assert_eq!(max.ready().now_or_never(), Some(Ok(())));
    assert!(matches!(missing.ready().now_or_never(), Some(Err(Unavailable::Missing { .. }))));
    assert!(matches!(missing.ready_blocking(), Err(Unavailable::Missing { .. })));
    assert_eq!(max.changed().now_or_never(), None, "nothing changed");
    settings.set("max_connections", 20_i64);
    assert_eq!(max.changed().now_or_never(), Some(()));
    let mut values = max.stream();
    assert_eq!(values.next().now_or_never().flatten().flatten().as_deref(), Some(&20));
    settings.set("missing", 1_i64);
    let all = settings.ready_all(std::time::Duration::MAX).now_or_never();
    assert_eq!(all, Some(Ok(())));
}

#[test]
fn its_status_is_ready_and_its_origin_fixed_unless_a_value_is_refused() {
    let settings = two();
    let (max, narrow) = (settings.watch::<i64>("max_connections"), settings.watch::<u8>("max_connections"));
    let status = max.status();
    assert_eq!((status.state, status.origin, status.age), (State::Ready, Origin::Fixed, None));
    assert_eq!(settings.status().state, State::Ready);
    settings.set("max_connections", 256_i64);
    assert_eq!((max.get(), narrow.get(), narrow.status().state), (Some(256), Some(10), State::Error));
    settings.set("max_connections", "ten".to_owned());
    assert!(max.status().refusal.is_some());
}

#[test]
fn derived_handles_snapshots_and_checks_work_as_with_a_server() {
    let settings = two();
    let (max, young) = (settings.watch(MAX), settings.watch(MAX).max_age(std::time::Duration::ZERO));
    let double = max.map(|max| max * 2);
    assert_eq!((double.get(), young.get()), (20, 10));
    settings.set("max_connections", 11_i64);
    assert_eq!((double.get(), young.get()), (22, 11));
    assert_eq!(settings.snapshot().get::<String>("name"), Ok(Some("x".to_owned())));
    let (max, text): (&dyn Declared, _) = (&MAX, Key::new("name", 1_i64));
    let found = settings.check(&[max, &text]).now_or_never().and_then(Result::ok).expect("at once");
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["`name` has another type"]);
}

#[test]
fn a_write_of_the_application_is_seen_and_keeps_the_type() {
    let settings = two();
    let client: &Client = &settings;
    let max = client.watch::<i64>("max_connections");
    let written = client.set("max_connections", 11_i64).now_or_never().expect("at once").expect("written");
    assert_eq!((written.seen, max.get()), (Seen::Applied, Some(11)));
    let refused = client.set("max_connections", true).now_or_never().expect("at once");
    assert!(matches!(refused, Err(CallError::TypeChange(_))), "{refused:?}");
    let written = client.set("other", true).now_or_never().expect("at once").expect("written");
    assert_eq!(written.seen, Seen::NotWatched);
    assert_eq!(client.capabilities().now_or_never().and_then(Result::ok).map(|list| list.len()), Some(3));
}

#[test]
fn a_closed_one_keeps_its_values_and_says_so() {
    let settings = two();
    let max = settings.watch::<i64>("max_connections");
    assert_eq!(settings.close().now_or_never(), Some(()));
    assert_eq!((max.get(), max.status().state), (Some(10), State::Stale));
    let refused = Client::set(&settings, "name", 1_i64).now_or_never().expect("at once");
    assert!(matches!(refused, Err(CallError::Closed)));
}

#[test]
fn clients_share_nothing_and_threads_share_a_client() {
    std::thread::scope(|scope| {
        for n in 0..8_i64 {
            scope.spawn(move || {
                let settings = Client::fixed([("n", n.into())]);
                std::thread::scope(|inner| {
                    let reader =
                        || (0..100).for_each(|_| assert!(settings.watch::<i64>("n").get() >= Some(n)));
                    inner.spawn(reader);
                    (n..n + 100).for_each(|value| settings.set("n", value));
                });
                assert_eq!(settings.watch::<i64>("n").get(), Some(n + 99));
            });
        }
    });
}

#[test]
#[should_panic(expected = "`a//b` is no key")]
fn a_mistake_in_the_test_is_named() {
    let _ = Client::fixed([("a//b", 1_i64.into())]);
}

#[test]
fn a_commit_without_a_server_is_decided_as_a_server_would() {
    let settings = two();
    let (max, name) = (settings.watch::<i64>("max_connections"), settings.watch::<String>("name"));
    let send = |commit: Commit| commit.send().now_or_never().expect("there is nothing to wait for");
    let revision = settings.snapshot().held("max_connections").expect("it is there").revision;

    let refused =
        send(settings.commit().put("max_connections", 20_i64).delete("name").must_not_exist("name"));
    assert!(matches!(refused, Err(CallError::Exists { key, .. }) if key == "name"));
    let refused =
        send(settings.commit().put("max_connections", 20_i64).expect_revision("max_connections", 99));
    assert!(matches!(refused, Err(CallError::Conflict { revision: at, .. }) if at == revision));
    let refused = send(settings.commit().delete("gone").expect_revision("gone", 1));
    assert!(matches!(refused, Err(CallError::NotFound { .. })));
    assert_eq!(max.get(), Some(10), "all or nothing");

    let commit = settings.commit().put("max_connections", 20_i64).delete("name").put("new", true);
    let written = send(commit.expect_revision("max_connections", revision)).expect("made");
    assert_eq!((written.seen, max.get(), name.get()), (Seen::Applied, Some(20), None));
    let nothing = send(settings.commit().put_text("max_connections", "", "20").delete("name")).expect("made");
    assert_eq!(nothing.position, written.position);
    let retyped = settings.commit().put("max_connections", "many".to_owned());
    assert!(matches!(send(retyped), Err(CallError::TypeChange(_))));
    let retyped = settings.commit().put("new", "many".to_owned()).retype("new");
    assert!(send(retyped).is_ok());
}

#[test]
fn an_update_without_a_server_needs_no_runtime() {
    let settings = two();
    let add = |n: Option<i64>| Some(n.unwrap_or(0) + 1);
    for expected in [11, 12] {
        let updated = settings.update("max_connections", add).now_or_never().expect("no waiting");
        assert_eq!(updated.expect("updated").expect("it is another one").seen, Seen::NotWatched);
        assert_eq!(settings.watch::<i64>("max_connections").get(), Some(expected));
    }
    let deleted = settings.update("max_connections", |_: Option<i64>| None).now_or_never();
    assert!(deleted.expect("no waiting").expect("deleted").is_some());
    assert_eq!(settings.watch::<i64>("max_connections").get(), None);
}

#[test]
fn what_only_a_server_knows_is_not_supported() {
    let settings = two();
    let status = settings.server_status().now_or_never().expect("no waiting");
    assert!(matches!(status, Err(CallError::Unsupported(_))));
    let first = settings.history("name").next().now_or_never().flatten().expect("an error");
    assert!(matches!(first, Err(CallError::Unsupported(_))));
}
