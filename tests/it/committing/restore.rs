//! An older copy of the database takes its place, under a running server and under a stopped one, and life goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datastream::proto::{CommitRequest, Phase};
use datastream_client::{Client, Entries, Watch};
use rusqlite::Connection;
use tokio::task::JoinHandle;

use super::{RETRY, insist, size};
use crate::control::{Control, delete, put};
use crate::file_server::{FileServer, store_of};
use crate::mirror::Mirror;
use crate::wire::{Wire, within};

/// Above the longest pause of a client, which is half a minute.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// Commits before the copy is made, after it, and after it was restored.
const COMMITS: usize = 8;

/// How the copy gets to its place.
type Restore = fn(&mut FileServer, &Path, &Path);

const WAYS: [(&str, Restore); 4] = [
    (".restore under a running server", |_, copy, path| {
        let restore = format!(".restore '{}'", copy.display());
        let done = Command::new("sqlite3").arg(path).arg(restore).status();
        assert!(done.expect("sqlite3 is installed").success());
    }),
    ("a move under a running server", |_, copy, path| std::fs::rename(copy, path).expect("a move")),
    ("a move under a stopped server", |server, copy, path| {
        server.stop();
        std::fs::rename(copy, path).expect("a move");
        server.start_again();
    }),
    ("a move after a crash, without the log", |server, copy, path| {
        server.kill();
        for log in ["-wal", "-shm"] {
            // There is none if the server had just emptied it.
            let _ = std::fs::remove_file(format!("{}{log}", path.display()));
        }
        std::fs::rename(copy, path).expect("a move");
        server.start_again();
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_resets_only_who_is_ahead_of_it_and_each_once() {
    let (began, rounds) = (Instant::now(), size("DATASTREAM_RESTORES", 1));
    for _ in 0..rounds {
        for (way, restore) in WAYS {
            Scene::start().await.play(way, restore).await;
        }
    }
    println!("{rounds} restores in each of {} ways, {:.1?}", WAYS.len(), began.elapsed());
}

/// A server on a file, and who follows it from the beginning.
struct Scene {
    folder: tempfile::TempDir,
    server: FileServer,
    control: Control,
    /// Where each commit ended, with what was held there.
    bookmarks: Vec<Mirror>,
    live: Follower,
    shown: Watch<Entries<String>>,
}

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = FileServer::start(folder.path());
        let url = server.url();
        let shown = Client::connect(&url).watch_prefix("all/");
        let control = Control::of(&Wire::lazy(&url));
        let live = Follower::start(&url, Mirror::of(&["all/"]));
        Self { folder, server, control, bookmarks: Vec::new(), live, shown }
    }

    async fn play(mut self, way: &str, restore: Restore) {
        self.commit("before").await;
        let copy = self.copy();
        let common = self.bookmarks.len();
        self.commit("lost").await;
        self.converges(way).await;
        let path = store_of(self.folder.path());
        restore(&mut self.server, &copy, &path);
        // Until the server has seen it nobody else comes: he would be told of the history that is about to end.
        self.live.eventually(way, |mirror| mirror.resets > 0).await;
        let all = std::mem::take(&mut self.bookmarks);
        let at_once = self.come_back(&all);
        self.commit("after").await;
        let later = self.come_back(&all);
        for (n, follower) in at_once.iter().chain(&later).enumerate() {
            let is_ahead = n % all.len() >= common;
            let who = format!("{way}: bookmark {n}, ahead of the copy: {is_ahead}");
            let rows = self.rows();
            follower.eventually(&who, |mirror| texts(mirror) == rows).await;
            let first = if is_ahead { Phase::Reset } else { Phase::Resume };
            follower.check(&who, |mirror, phase| phase == first && mirror.resets == usize::from(is_ahead));
        }
        self.converges(way).await;
        self.live.check(way, |mirror, _| mirror.resets == 1);
    }

    /// Some commits of several keys, of which one is new, and later one is deleted; a bookmark at each.
    async fn commit(&mut self, value: &str) {
        for n in 0..COMMITS {
            let text = format!("{value} {n}");
            let mut operations = vec![
                put("all/changed", "string", text.clone()),
                put(&format!("all/{value}/{n}"), "string", text.clone()),
            ];
            if value != "before" {
                operations.push(delete(&format!("all/before/{}", n / 2)));
            }
            let request = CommitRequest { operations, request_id: text, ..CommitRequest::default() };
            let position = insist(&self.control, &request).await.expect("it is taken");
            self.live.eventually("the bookmark", |mirror| mirror.position == position).await;
            self.bookmarks.push(self.live.mirror());
        }
    }

    /// A copy of the database as it is now, made as SQLite wants it.
    fn copy(&self) -> PathBuf {
        let copy = self.folder.path().join("copy.db");
        let file = Connection::open(store_of(self.folder.path())).expect("the file opens");
        file.execute("VACUUM INTO ?1", [copy.to_str().expect("UTF-8")]).expect("a copy");
        copy
    }

    /// What the table holds, read past the server.
    fn rows(&self) -> BTreeMap<String, String> {
        let file = Connection::open(store_of(self.folder.path())).expect("the file opens");
        let mut query = file.prepare("SELECT key, CAST(value AS TEXT) FROM data").expect("the table");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).expect("rows")
    }

    /// Clients that were away since each of these.
    fn come_back(&self, bookmarks: &[Mirror]) -> Vec<Follower> {
        bookmarks.iter().map(|mirror| Follower::start(&self.server.url(), mirror.clone())).collect()
    }

    /// Who was there all the time holds what the table holds.
    async fn converges(&self, way: &str) {
        let rows = self.rows();
        self.live.eventually(way, |mirror| texts(mirror) == rows).await;
        let poll = async {
            let shows = |entries: &Entries<String>| {
                entries.iter().map(|(key, text)| (key.to_owned(), text.clone())).eq(rows.clone())
            };
            while !self.shown.load().as_ref().is_some_and(shows) {
                tokio::time::sleep(RETRY).await;
            }
        };
        let shown = tokio::time::timeout(CONVERGENCE, poll).await;
        shown.unwrap_or_else(|_| panic!("{way}: a client does not show what the table holds"));
    }
}

fn texts(mirror: &Mirror) -> BTreeMap<String, String> {
    let text = |(key, value): (&str, &[u8])| (key.to_owned(), String::from_utf8_lossy(value).into_owned());
    mirror.values().into_iter().map(text).collect()
}

/// A raw client that comes back as soon as it can. Its mirror, and how its first delivery came.
struct Follower {
    state: Arc<Mutex<(Mirror, Option<Phase>)>>,
    following: JoinHandle<()>,
}

impl Follower {
    fn start(url: &str, mirror: Mirror) -> Self {
        let state = Arc::new(Mutex::new((mirror, None)));
        let following = tokio::spawn(follow(Wire::lazy(url), state.clone()));
        Self { state, following }
    }

    fn mirror(&self) -> Mirror {
        self.state.lock().expect("no check failed").0.clone()
    }

    async fn eventually(&self, who: &str, holds: impl Fn(&Mirror) -> bool) {
        let poll = async {
            while !holds(&self.state.lock().expect("no check failed").0) {
                tokio::time::sleep(RETRY).await;
            }
        };
        let held = tokio::time::timeout(CONVERGENCE, poll).await;
        held.unwrap_or_else(|_| panic!("{who}: never, but {:?}", self.mirror()));
    }

    fn check(&self, who: &str, holds: impl Fn(&Mirror, Phase) -> bool) {
        let (mirror, first) = &*self.state.lock().expect("no check failed");
        assert!(holds(mirror, first.expect("something came")), "{who}: first {first:?}, then {mirror:?}");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn follow(wire: Wire, state: Arc<Mutex<(Mirror, Option<Phase>)>>) {
    loop {
        let request = state.lock().expect("no check failed").0.request();
        if let Ok(mut stream) = within("headers", wire.try_subscribe(request)).await {
            while let Ok(delivery) = stream.try_next().await {
                let (mirror, first) = &mut *state.lock().expect("no check failed");
                first.get_or_insert(delivery.phase);
                mirror.apply(delivery);
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
