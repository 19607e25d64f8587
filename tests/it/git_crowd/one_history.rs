//! Two servers and a person commit to one branch, the same keys and others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastream_client::{Client, Entries};
use datastream_server::Config;
use datastream_server::store::Store;
use datastream_server::stores::git::{Address, GitStore};
use datastream_server::testing::TestServer;
use tokio::task::{JoinSet, spawn_blocking};
use tonic::Code;

use super::{files, messages, named};
use crate::committing::size;
use crate::control::{Control, expecting, put};
use crate::git::{Person, Repository};
use crate::mirror::Mirror;
use crate::wire::{Wire, announced, eventually, within};

/// Who writes through each server.
const WRITERS: usize = 2;
/// Keys that all of them write.
const SHARED: usize = 3;
/// Of so many commits one is that person's.
const BY_HAND: usize = 5;

/// What a writer was told.
#[derive(Default)]
struct Told {
    made: Vec<String>,
    /// Refused, since somebody else has written the same key.
    lost: Vec<String>,
    /// How many of those that were made count up.
    counted: usize,
}

/// Somebody who commits through one server.
struct Writer {
    number: usize,
    wire: Wire,
    control: Control,
}

impl Writer {
    async fn run(self, commits: usize) -> Told {
        let mut told = Told::default();
        for number in 0..commits {
            let id = format!("writer {} commit {number}", self.number);
            let own = put(&format!("own/{}/{number}", self.number), "string", id.clone());
            let shared = put(&format!("shared/{}", fastrand::usize(..SHARED)), "string", id.clone());
            let kind = fastrand::u8(..4);
            let operations = match kind {
                0 => vec![own],
                1 => vec![shared],
                2 => vec![own, shared],
                _ => vec![self.count_up().await],
            };
            match within("a commit", self.control.make(named(&id, operations))).await {
                Ok(_) => {
                    told.counted += usize::from(kind == 3);
                    told.made.push(id);
                }
                Err(refused) => {
                    assert!(refused.code() == Code::Aborted && kind != 0, "{id}: {refused:?}");
                    told.lost.push(id);
                }
            }
        }
        told
    }

    async fn count_up(&self) -> datastream::proto::Operation {
        let counter = self.wire.sync(announced(["counter"])).await.data.remove("counter");
        let counter = counter.expect("nobody deletes it");
        let value: i64 =
            std::str::from_utf8(&counter.value).ok().and_then(|n| n.parse().ok()).expect("an int");
        expecting(put("counter", "int", (value + 1).to_string()), counter.revision)
    }
}

/// Somebody who knows nothing of all this.
fn work_by_hand(person: &Person, commits: usize) {
    for number in 0..commits {
        let value = format!("by hand {number}");
        let own = format!("hand/{number}");
        match number % 2 {
            0 => person.commit(&[(&own, &value)]),
            _ => person.commit(&[(&own, &value), ("shared/0", &value)]),
        }
    }
}

/// A server, and who follows it from the beginning.
struct Member {
    store: Arc<dyn Store>,
    server: TestServer,
    wire: Wire,
    mirror: Mirror,
    client: Client,
}

impl Member {
    async fn start(repository: &Repository, name: &str) -> Self {
        let address = Address::parse(&repository.remote(name)).expect("an address");
        let store: Arc<dyn Store> = Arc::new(GitStore::open(&address).await.expect("it can be served"));
        let config = Config::default().heartbeat(Duration::from_millis(200));
        let server = TestServer::start_with(store.clone(), config);
        let wire = Wire::to(&server.url()).await;
        let client = Client::connect(server.url());
        Self { store, server, wire, mirror: Mirror::of(&[]), client }
    }

    /// Follows all, until it holds what the branch does.
    async fn follow(mut self, mut done: tokio::sync::watch::Receiver<Option<BTreeMap<String, String>>>) {
        let own = self.client.watch_prefix::<String>("own/");
        let mut stream = self.wire.subscribe(self.mirror.request()).await;
        loop {
            let next = stream.next();
            tokio::select! {
                delivery = next => self.mirror.apply(delivery),
                _ = done.changed() => break,
            }
        }
        let files = done.borrow().clone().expect("it is told");
        // What was being read when the word came may be lost: begin where it stood.
        let mut stream = self.wire.subscribe(self.mirror.request()).await;
        let is_same = |mirror: &Mirror| {
            let held = mirror.values();
            let held = held.iter().map(|(key, value)| (*key, *value));
            held.eq(files.iter().map(|(key, value)| (&**key, value.as_bytes())))
        };
        within("a raw client holds what the branch holds", async {
            while !is_same(&self.mirror) {
                self.mirror.apply(stream.next().await);
            }
        })
        .await;
        assert_eq!(self.mirror.resets, 0, "somebody had to begin anew");
        let owned: BTreeMap<_, _> = files.iter().filter(|(key, _)| key.starts_with("own/")).collect();
        let shows = |shown: &Entries<String>| {
            shown.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
                == owned.iter().map(|(key, value)| ((*key).clone(), (*value).clone())).collect()
        };
        eventually("a client shows it", || own.get().is_some_and(|own| shows(&own))).await;
        let snapshot = self.store.load().await.expect("load");
        let live = snapshot.changes.iter().filter(|change| change.value.is_some()).count();
        assert_eq!((live, snapshot.position.revision), (files.len(), self.mirror.position.revision));
        drop(self.server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_servers_and_a_person_commit_is_one_history_without_a_loss_and_reaches_everybody() {
    let (commits, began) = (size("DATASTREAM_COMMITS", 50), Instant::now());
    let repository = Repository::empty();
    let first = Member::start(&repository, "first").await;
    Control::of(&first.wire).commit([put("counter", "int", "0")]).await.expect("the branch is made");
    let second = Member::start(&repository, "second").await;
    let wires = [first.wire.clone(), second.wire.clone()];
    let (done, told) = tokio::sync::watch::channel(None);
    let mut followers: JoinSet<()> =
        [first, second].into_iter().map(|member| member.follow(told.clone())).collect();

    let by_hand = commits / BY_HAND;
    let share = (commits - by_hand).div_ceil(2 * WRITERS);
    let mut writers: JoinSet<Told> = (0..2 * WRITERS)
        .map(|number| {
            let wire = wires[number % 2].clone();
            Writer { number, control: Control::of(&wire), wire }.run(share)
        })
        .collect();
    let person = repository.person();
    let person = spawn_blocking(move || {
        work_by_hand(&person, by_hand);
        person
    });
    let (mut made, mut lost, mut counted) = (Vec::new(), Vec::new(), 0);
    while let Some(writer) = writers.join_next().await {
        let told = writer.expect("the laws hold");
        made.extend(told.made);
        lost.extend(told.lost);
        counted += told.counted;
    }
    let person = person.await.expect("it is pushed");

    let (messages, files) = (messages(&repository), files(&repository));
    assert!(made.iter().all(|id| messages.get(id) == Some(&1)), "an acknowledged commit is there once");
    assert!(!lost.iter().any(|id| messages.contains_key(id)), "what was refused is not there");
    assert_eq!(repository.commits(), made.len() + by_hand + 1, "and nothing else is");
    assert_eq!(files["counter"], counted.to_string());
    done.send_replace(Some(files));
    while let Some(follower) = followers.join_next().await {
        follower.expect("it converges");
    }
    person.git(&["pull", "-q", "origin", "main"]);
    assert_eq!(person.git(&["rev-parse", "HEAD"]), repository.git(&["rev-parse", "main"]));
    println!(
        "{} commits through two servers, {by_hand} by hand, {} gave way to others of the same key, {:.1?}",
        made.len(),
        lost.len(),
        began.elapsed()
    );
}
