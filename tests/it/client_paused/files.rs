//! A client that keeps its last known good state in a file, and begins with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datastream_client::{Client, Disconnect, Origin, State, Unavailable, WriteError};
use tempfile::TempDir;

use super::{pass, settle};
use crate::captured_log;
use crate::scripted::{self, Script, change, reset, resume, state};
use crate::wire::within;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A client that keeps its state in `path`, and its server.
fn keeping(path: &Path) -> (Client, Script) {
    let (handed, script) = scripted::transport();
    (Client::builder("http://here:1").cache_file(path).connect_over(handed), script)
}

/// A file in which `a` is 1 and `n` is 70000, at revision 5.
async fn kept(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("cache");
    let (client, mut script) = keeping(&path);
    let _handles = (client.watch::<i64>("a"), client.watch::<i64>("n"));
    let _stream = script.accept(state(5, [("a", 3, "int", "1"), ("n", 4, "int", "70000")])).await;
    settle().await;
    path
}

/// The handles of a client that ends, and the end of it.
async fn end<T>(client: Client, handles: T, mut script: Script) {
    drop((client, handles));
    while script.next().await.is_some() {}
    settle().await;
}

fn files_in(folder: &TempDir) -> usize {
    fs::read_dir(folder.path()).expect("the folder is there").count()
}

#[tokio::test(start_paused = true)]
async fn with_everything_down_an_application_starts_from_its_last_run() {
    let folder = folder();
    let path = kept(&folder).await;
    let (client, mut script) = keeping(&path);
    let (a, new) = (client.watch::<i64>("a"), client.watch::<i64>("new"));
    within("ready", a.ready()).await.expect("the file has it");
    settle().await;
    let status = a.status();
    assert_eq!((a.get(), status.state, status.origin), (Some(1), State::Stale, Origin::Cache));
    assert_eq!((status.revision, client.status().state), (Some(3), State::Stale));
    assert!(status.age.is_some(), "it was confirmed once");
    assert_eq!((client.snapshot().get::<i64>("a"), client.snapshot().covers("new")), (Ok(Some(1)), false));
    assert!(matches!(new.try_get(), Err(Unavailable::NotReady { .. })));
    assert_eq!(new.status().state, State::NotReady);
    for _ in 0..3 {
        script.subscribe().await.end(Disconnect::Ended);
    }
    settle().await;
    assert_eq!((a.get(), a.status().state), (Some(1), State::Stale));
}

/// Who looks in the midst of that, before the client has said of itself that it is stale, is not told otherwise.
#[tokio::test(start_paused = true)]
async fn what_comes_from_a_file_is_stale_from_its_first_moment() {
    let folder = folder();
    let path = kept(&folder).await;
    let (client, _script) = keeping(&path);
    let a = client.watch::<i64>("a");
    let (looked, seen) = std::sync::mpsc::channel();
    let (this, whole) = (a.clone(), client.clone());
    let _mapped = a.map(move |_| looked.send((this.status().state, whole.status().state)));
    within("ready", a.ready()).await.expect("the file has it");
    assert_eq!(seen.try_recv(), Ok((State::Stale, State::NotReady)));
}

#[tokio::test(start_paused = true)]
async fn with_the_first_complete_state_all_keys_swap_at_once() {
    let folder = folder();
    let path = kept(&folder).await;
    let (client, mut script) = keeping(&path);
    let (a, n, new) = (client.watch::<i64>("a"), client.watch::<i64>("n"), client.watch::<i64>("new"));
    let stream = script.subscribe().await;
    assert_eq!(stream.request.resume.as_ref().map(|position| position.revision), Some(5), "Sync is skipped");
    assert_eq!(stream.request.fresh, ["new"]);
    let mut part = resume(9, [("a", 9, "int", "2")]);
    (part.more, part.position) = (true, None);
    stream.say(part);
    settle().await;
    assert_eq!((a.get(), n.get(), new.get()), (Some(1), Some(70000), None));
    stream.say(resume(9, [("new", 1, "int", "3")]));
    settle().await;
    assert_eq!((a.get(), n.get(), new.get()), (Some(2), Some(70000), Some(3)));
    for status in [a.status(), n.status(), new.status()] {
        assert_eq!((status.state, status.origin), (State::Ready, Origin::Live));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_lies_only_in_the_file_is_not_ready_until_it_is_live() {
    let folder = folder();
    let path = kept(&folder).await;
    let (client, mut script) = keeping(&path);
    let a = client.watch::<i64>("a");
    let stream = script.subscribe().await;
    let n = client.watch::<i64>("n");
    settle().await;
    assert_eq!((n.get(), n.status().origin), (Some(70000), Origin::Cache));
    stream.say(resume(6, [("a", 6, "int", "2")]));
    settle().await;
    assert_eq!((a.get(), n.get()), (Some(2), None));
    assert!(matches!(n.try_get(), Err(Unavailable::NotReady { .. })));
    let joining = script.subscribe().await;
    assert_eq!(joining.request.fresh, ["n"]);
    joining.say(resume(6, [("n", 4, "int", "70000")]));
    settle().await;
    assert_eq!((n.get(), n.status().origin), (Some(70000), Origin::Live));
}

#[tokio::test(start_paused = true)]
async fn a_handle_whose_newest_value_is_refused_has_its_last_good_after_a_restart() {
    let folder = folder();
    let path = folder.path().join("cache");
    let (client, mut script) = keeping(&path);
    let handles = (client.watch::<u16>("n"), client.watch::<i64>("n"));
    let stream = script.accept(state(5, [("n", 4, "int", "100")])).await;
    stream.say(change(6, [("n", 6, "int", "70000")]));
    settle().await;
    assert_eq!((handles.0.get(), handles.1.get()), (Some(100), Some(70000)));
    end(client, handles, script).await;

    // Once more: what was good before is also kept by a run that never saw it live.
    for _ in 0..2 {
        let (client, mut script) = keeping(&path);
        let (narrow, wide) = (client.watch::<u16>("n"), client.watch::<i64>("n"));
        let stream = script.subscribe().await;
        settle().await;
        assert_eq!((narrow.get(), wide.get()), (Some(100), Some(70000)));
        assert_eq!((narrow.status().revision, narrow.status().origin), (Some(4), Origin::Cache));
        let refused = narrow.status().refusal.expect("the newest cannot be used");
        assert_eq!(refused.revision, 6);
        stream.say(resume(6, []));
        settle().await;
        assert_eq!((narrow.get(), wide.get()), (Some(100), Some(70000)));
        assert_eq!(wide.status().origin, Origin::Live);
        end(client, (narrow, wide), script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_leaves_its_newest_state_and_drops_no_key_of_it() {
    let folder = folder();
    let path = folder.path().join("cache");
    let (client, mut script) = keeping(&path);
    let (a, n) = (client.watch::<i64>("a"), client.watch::<i64>("n"));
    let stream = script.accept(state(5, [("a", 3, "int", "1"), ("n", 4, "int", "2")])).await;
    settle().await;
    stream.say(change(6, [("a", 6, "int", "7")]));
    settle().await;
    // Handles that go one by one are not a client that wants less.
    drop(a);
    settle().await;
    end(client, n, script).await;
    let (client, _script) = keeping(&path);
    let (a, n) = (client.watch::<i64>("a"), client.watch::<i64>("n"));
    settle().await;
    assert_eq!((a.get(), n.get()), (Some(7), Some(2)));
    assert_eq!(files_in(&folder), 1, "nothing else is left");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_between_two_writes_does_not_narrow_its_file() {
    let folder = folder();
    let path = kept(&folder).await;
    let (client, mut script) = keeping(&path);
    let (a, n) = (client.watch::<i64>("a"), client.watch::<i64>("n"));
    let stream = script.subscribe().await;
    stream.say(resume(6, [("a", 6, "int", "6")]));
    settle().await;
    drop(a);
    settle().await;
    stream.say(change(7, [("n", 7, "int", "7")]));
    settle().await;
    end(client, n, script).await;
    let (client, _script) = keeping(&path);
    let (a, n) = (client.watch::<i64>("a"), client.watch::<i64>("n"));
    settle().await;
    assert_eq!((a.get(), n.get()), (Some(6), Some(70000)), "all of it is as it was some seconds before");
}

#[tokio::test(start_paused = true)]
async fn the_file_is_written_at_most_once_per_interval_and_has_the_latest_then() {
    let folder = folder();
    let path = folder.path().join("cache");
    let (client, mut script) = keeping(&path);
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 4, "int", "0")])).await;
    settle().await;
    let first = fs::read(&path).expect("the first state is written at once");
    for second in 1..=9 {
        stream.say(change(5 + second, [("n", 5 + second, "int", "1")]));
        pass(Duration::from_secs(1)).await;
        assert_eq!(fs::read(&path).expect("it is there"), first, "after {second} s");
    }
    pass(Duration::from_secs(2)).await;
    let second = fs::read(&path).expect("it is there");
    assert_ne!(second, first);
    stream.say(scripted::heartbeat(50));
    pass(Duration::from_secs(60)).await;
    assert_eq!(fs::read(&path).expect("it is there"), second, "a position alone is not worth a write");
    end(client, n, script).await;
    let (client, mut script) = keeping(&path);
    let _n = client.watch::<i64>("n");
    let request = script.subscribe().await.request;
    assert_eq!(request.resume.map(|position| position.revision), Some(50), "but the last write has it");
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn only_its_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = kept(&folder).await;
    let mode = fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_used_is_as_none_and_the_next_good_state_replaces_it() {
    captured_log::capture();
    let folder = folder();
    let good = fs::read(kept(&folder).await).expect("it is there");
    let flipped: Vec<_> =
        good.iter().enumerate().map(|(i, byte)| byte ^ u8::from(i == good.len() - 2)).collect();
    let table: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("cut", good[..good.len() - 3].to_vec()),
        ("flipped", flipped),
        ("newer", [&b"datastream-settings 9 "[..], &good[22..]].concat()),
        ("foreign", b"[settings]\nn = 5\n".to_vec()),
    ];
    for (name, bytes) in table {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).expect("the folder can be written");
        let (client, mut script) = keeping(&path);
        let n = client.watch::<i64>("n");
        let (_, sync) = script.sync().await;
        assert_eq!(
            (n.get(), fs::read(&path).expect("it is there")),
            (None, bytes),
            "{name}: it stays meanwhile"
        );
        let warnings = captured_log::lines_with(&format!("{}", path.display()));
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        assert!(!warnings[0].contains("70000"), "{name}");
        sync.send(Ok(state(5, [("n", 4, "int", "1")]))).expect("the client waits");
        settle().await;
        end(client, n, script).await;
        let (client, _script) = keeping(&path);
        let n = client.watch::<i64>("n");
        settle().await;
        assert_eq!(n.get(), Some(1), "{name}: a good one took its place");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_of_another_server_is_not_used() {
    let folder = folder();
    let path = kept(&folder).await;
    let (handed, mut script) = scripted::transport();
    let client = Client::builder("http://there:1").cache_file(&path).connect_over(handed);
    let n = client.watch::<i64>("n");
    script.sync().await;
    assert_eq!(n.get(), None);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_directory_or_a_link_in_the_place_of_the_cache_is_no_cache() {
    captured_log::capture();
    let folder = folder();
    let target = kept(&folder).await;
    let (link, directory) = (folder.path().join("link"), folder.path().join("directory"));
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    fs::create_dir(&directory).expect("a directory");
    for path in [&link, &directory] {
        let (client, mut script) = keeping(path);
        let n = client.watch::<i64>("n");
        let stream = script.accept(state(5, [("n", 4, "int", "8")])).await;
        settle().await;
        assert_eq!(n.get(), Some(8));
        stream.say(change(6, [("n", 6, "int", "9")]));
        pass(Duration::from_secs(60)).await;
        assert_eq!(n.get(), Some(9), "the application goes on");
        end(client, n, script).await;
    }
    assert!(
        fs::symlink_metadata(&link).expect("it is there").is_file(),
        "the link is replaced, and not followed"
    );
    let (client, _script) = keeping(&target);
    let n = client.watch::<i64>("n");
    settle().await;
    assert_eq!(n.get(), Some(70000), "what it led to is as it was");
    let tries = captured_log::lines_with(&format!("{}", directory.display()));
    let refused = tries.iter().filter(|line| line.contains("is tried again")).count();
    assert_eq!(
        (refused, directory.is_dir()),
        (1, true),
        "one warning, however often it was tried: {tries:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_cannot_be_written_is_tried_again() {
    captured_log::capture();
    let folder = folder();
    let missing = folder.path().join("missing");
    let path = missing.join("cache");
    let (client, mut script) = keeping(&path);
    let n = client.watch::<i64>("n");
    let _stream = script.accept(state(5, [("n", 4, "int", "8")])).await;
    pass(Duration::from_secs(60)).await;
    assert_eq!((n.get(), n.status().state), (Some(8), State::Ready));
    fs::create_dir(&missing).expect("a folder");
    pass(Duration::from_secs(11)).await;
    assert!(path.is_file(), "without any change");
    let lines = captured_log::lines_with(&format!("{}", path.display()));
    assert_eq!(lines.len(), 2, "one line when it began, one when it ended: {lines:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_a_write_that_fails_waits_before_the_next() {
    let folder = folder();
    let missing = folder.path().join("missing");
    let path = missing.join("cache");
    let (handed, mut script) = scripted::transport();
    let builder = Client::builder("http://here:1").cache_file(&path).cache_interval(Duration::ZERO);
    let client = builder.connect_over(handed);
    let n = client.watch::<i64>("n");
    let _stream = script.accept(state(5, [("n", 4, "int", "8")])).await;
    settle().await;
    fs::create_dir(&missing).expect("a folder");
    settle().await;
    assert!(!path.exists(), "it waits for its time");
    pass(Duration::from_secs(2)).await;
    assert!(path.is_file());
    drop(n);
}

#[tokio::test(start_paused = true)]
async fn with_an_interval_without_end_the_first_state_and_the_last_are_written() {
    let folder = folder();
    let path = folder.path().join("cache");
    let (handed, mut script) = scripted::transport();
    let builder = Client::builder("http://here:1").cache_file(&path).cache_interval(Duration::MAX);
    let client = builder.connect_over(handed);
    let n = client.watch::<i64>("n");
    let stream = script.accept(state(5, [("n", 4, "int", "8")])).await;
    settle().await;
    let first = fs::read(&path).expect("it is there");
    stream.say(change(6, [("n", 6, "int", "9")]));
    pass(Duration::from_secs(3600)).await;
    assert_eq!((n.get(), n.status().state), (Some(9), State::Ready), "the worker goes on");
    assert_eq!(fs::read(&path).expect("it is there"), first);
    end(client, n, script).await;
    assert_ne!(fs::read(&path).expect("it is there"), first);
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_file_is_used_where_there_is_no_cache_and_stays_as_it_is() {
    let folder = folder();
    let path = folder.path().join("bootstrap");
    let (client, mut script) = scripted::client();
    let n = client.watch::<i64>("n");
    assert!(matches!(within("written", client.write_bootstrap(&path)).await, Err(WriteError::NothingKnown)));
    let _stream = script.accept(state(5, [("n", 4, "int", "8")])).await;
    settle().await;
    within("written", client.write_bootstrap(&path)).await.expect("the folder can be written");
    let nowhere = within("written", client.write_bootstrap(folder.path().join("no/where"))).await;
    assert!(matches!(nowhere, Err(WriteError::Unwritable { .. })));
    end(client, n, script).await;

    let bootstrap = fs::read(&path).expect("it is there");
    let cache = folder.path().join("cache");
    for origin in [Origin::Bootstrap, Origin::Cache] {
        let (handed, mut script) = scripted::transport();
        let builder = Client::builder("http://elsewhere:1").bootstrap_file(&path).cache_file(&cache);
        let client = builder.connect_over(handed);
        let n = client.watch::<i64>("n");
        let stream = script.subscribe().await;
        assert_eq!((n.get().is_some(), n.status().origin, n.status().state), (true, origin, State::Stale));
        stream.say(reset(2, [("n", 2, "int", "9")]));
        settle().await;
        assert_eq!(n.get(), Some(9));
        end(client, n, script).await;
    }
    assert_eq!(fs::read(&path).expect("it is there"), bootstrap);
}

#[test]
fn a_runtime_that_ends_together_with_its_client_leaves_the_newest_state() {
    let folder = folder();
    let path = folder.path().join("cache");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let before = runtime().expect("a runtime");
    before.block_on(async {
        let (client, mut script) = keeping(&path);
        let n = client.watch::<i64>("n");
        let stream = script.accept(state(5, [("n", 4, "int", "1")])).await;
        settle().await;
        stream.say(change(6, [("n", 6, "int", "2")]));
        settle().await;
        assert_eq!(n.get(), Some(2));
    });
    drop(before);
    runtime().expect("a runtime").block_on(async {
        let (client, _script) = keeping(&path);
        let n = client.watch::<i64>("n");
        settle().await;
        assert_eq!(n.get(), Some(2));
    });
}
