//! What people and scripts do to the files.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastream_client::Client;
use datastream_server::Config;
use datastream_server::store::{Operation, Store, StoreError};
use datastream_server::stores::directory::{self, Options};
use datastream_server::testing::TestServer;

use crate::process::Server;

use super::{DEADLINE, Folder, changes, commit, head, known, setting, state};

/// How long an edit may take to a client.
const AT_ONCE: Duration = Duration::from_millis(200);
/// A pause of a writer after which what it has written so far may be taken for all: half of what is waited for, since
/// who waits may be late as well.
const HELD_UP: Duration = Duration::from_millis(10);

async fn next(store: &Arc<dyn Store>, expected: &[(String, String, String)]) {
    let arrives = async {
        while known(store).await != expected {
            store.rung().await;
        }
    };
    let arrived = tokio::time::timeout(DEADLINE, arrives).await;
    assert!(arrived.is_ok(), "{:?} is not {expected:?}", known(store).await);
}

/// A quarter of them in 200 ms: a machine that is busy with other tests may delay some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_reaches_a_client_at_once() {
    let folder = Folder::new();
    folder.write("deep/a", "0");
    let server = TestServer::start_with(folder.store().await, Config::default());
    let client = Client::connect(server.url());
    let watch = client.watch::<i64>("deep/a");
    let mut took = Vec::new();
    let is_shown = async |expected| {
        let began = Instant::now();
        while watch.get() != Some(expected) {
            assert!(began.elapsed() < DEADLINE, "{expected} does not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    };
    is_shown(0).await;
    for n in 1..=15 {
        folder.write("deep/a", n.to_string());
        took.push(is_shown(n).await);
    }
    took.sort();
    println!("an edit: {:?} to {:?}, the median {:?}", took[0], took[14], took[7]);
    assert!(took[3] < AT_ONCE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_to_files_and_folders_arrives() {
    let folder = Folder::new();
    let store = folder.store().await;
    folder.write("new/folder/a", "1");
    next(&store, &[setting("new/folder/a", "text/plain", "1")]).await;
    fs::rename(folder.file("new"), folder.file("other")).expect("renamed");
    next(&store, &[setting("other/folder/a", "text/plain", "1")]).await;
    folder.write("other/folder/b", "2");
    fs::write(folder.file("draft"), "3").expect("written");
    fs::rename(folder.file("draft"), folder.file("other/folder/a")).expect("renamed");
    next(
        &store,
        &[setting("other/folder/a", "text/plain", "3"), setting("other/folder/b", "text/plain", "2")],
    )
    .await;
    fs::remove_dir_all(folder.file("other")).expect("removed");
    next(&store, &[]).await;
}

/// What one look finds is one commit.
#[tokio::test]
async fn what_changed_between_two_looks_is_one_commit() {
    let folder = Folder::new();
    let store = folder.store().await;
    let before = head(&store).await;
    for n in 0..100 {
        folder.write(&format!("{n}"), "1");
    }
    store.refresh().await.expect("it can look");
    let batch = changes(&store, &before).await;
    assert!(batch.positions.len() <= 2, "the bell may have rung on the way: {}", batch.positions.len());
    assert_eq!(state(&store).await.len(), 100);
}

/// As many editors do, and a shell: first the file is emptied. A machine that is busy may hold a writer up for longer than
/// it is waited for: each time that it did, a part may be seen. It may hold up the one who looks, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_in_steps_is_not_seen_in_between() {
    let folder = Folder::new();
    folder.write("a", "00000000");
    let store = folder.store().await;
    let before = head(&store).await;
    let mut held_up = 0;
    for n in 1..=20 {
        let mut file = fs::File::create(folder.file("a")).expect("it is emptied");
        for _ in 0..4 {
            let began = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            write!(file, "{n:02}").expect("it is written");
            held_up += usize::from(began.elapsed() >= HELD_UP);
        }
        drop(file);
        next(&store, &[setting("a", "text/plain", &format!("{n:02}").repeat(4))]).await;
    }
    let seen = changes(&store, &before).await.changes;
    let sizes: Vec<_> = seen.iter().filter_map(|change| Some(change.value.as_ref()?.value.len())).collect();
    let whole = sizes.iter().filter(|size| **size == 8).count();
    assert!(whole == 20 && sizes.len() <= 25 + held_up, "{sizes:?}, held up {held_up} times");
}

/// Its own looks ring for no other: less than 0.2 % of a processor, apart from the poll.
#[test]
fn a_folder_in_which_nothing_happens_costs_nothing() {
    let folder = Folder::new();
    for n in 0..1000 {
        folder.write(&format!("{}/{n}", n % 10), "1");
    }
    let flag = format!("file:{}?poll=1h", folder.path().display());
    let server = Server::start(&["--store", &flag, "--listen", "127.0.0.1:0"]);
    // What was written so lately is looked at again.
    let (started, mut settled) = (Instant::now(), None);
    while settled != Some(server.cpu_steps()) {
        assert!(started.elapsed() < DEADLINE, "it does not come to rest");
        settled = Some(server.cpu_steps());
        std::thread::sleep(Duration::from_millis(500));
    }
    let began = server.cpu_steps();
    std::thread::sleep(Duration::from_secs(5));
    assert!(server.cpu_steps() - began <= 1, "{} steps", server.cpu_steps() - began);
}

/// Two writes of one length within one step of the system's clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_right_after_a_look_is_not_overlooked() {
    let folder = Folder::new();
    folder.write("a", "000");
    let store = folder.store().await;
    for n in 1..=100 {
        folder.write("a", format!("{n:03}"));
        store.refresh().await.expect("it can look");
        let last = format!("{:03}", n + 500);
        folder.write("a", &last);
        assert_eq!(state(&store).await, [setting("a", "text/plain", &last)]);
    }
}

/// The last state stays, with its age; what comes back is followed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_goes_away_is_not_taken_for_deletions() {
    let folder = Folder::new();
    folder.write("a", "1");
    let options = Options { poll: Duration::from_millis(100) };
    let store = directory::open(&folder.path(), options).await.expect("it can be served");
    let elsewhere = folder.0.path().join("elsewhere");
    fs::rename(folder.path(), &elsewhere).expect("moved");
    let is_away = async |why: &str| {
        let error = store.refresh().await.expect_err("it is away");
        assert!(
            matches!(error, StoreError::Unavailable(_)) && format!("{error:?}").contains(why),
            "{error:?}"
        );
        store.changes(&head(&store).await).await.expect_err("what was read is old");
        assert_eq!(known(&store).await, [setting("a", "text/plain", "1")]);
        let put = datastream_server::store::Commit::one(Operation::put("b", "int", "1"));
        store.commit(put).await.expect_err("it would be lost");
    };
    is_away("No such file").await;
    // As where a disk is not mounted.
    fs::create_dir(folder.path()).expect("a folder");
    is_away("is something not mounted?").await;
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    // What a server left there, and what a new disk brings, are no settings.
    fs::create_dir(folder.path().join(".datastream")).expect("a folder");
    fs::create_dir(folder.path().join("lost+found")).expect("a folder");
    is_away("is something not mounted?").await;
    fs::remove_dir_all(folder.path()).expect("removed");
    fs::rename(&elsewhere, folder.path()).expect("moved back");
    assert_eq!(state(&store).await, [setting("a", "text/plain", "1")]);
    // Another one, such as of the next release.
    fs::rename(folder.path(), &elsewhere).expect("moved");
    folder.write("a", "2");
    assert_eq!(state(&store).await, [setting("a", "text/plain", "2")]);
    commit(&store, Operation::put("b", "text/plain", "1")).await;
    folder.write("c", "3");
    let all = ["a", "b", "c"].iter().zip(["2", "1", "3"]);
    next(&store, &all.map(|(key, text)| setting(key, "text/plain", text)).collect::<Vec<_>>()).await;
}

/// One that is made anew may have the number of the one before, at which the bell hung; whether it was missed meanwhile or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_made_anew_is_followed() {
    for is_missed in [true, false] {
        let folder = Folder::new();
        folder.write("a", "0");
        let store = folder.store().await;
        for n in 1..=5 {
            fs::remove_dir_all(folder.path()).expect("removed");
            if is_missed {
                store.refresh().await.expect_err("it is away");
            }
            folder.write("a", format!("made {n}"));
            assert_eq!(state(&store).await, [setting("a", "text/plain", &format!("made {n}"))]);
            folder.write("a", format!("edited {n}"));
            next(&store, &[setting("a", "text/plain", &format!("edited {n}"))]).await;
        }
    }
}
