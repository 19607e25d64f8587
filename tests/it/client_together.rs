//! Keys that are always committed together are read together: by a snapshot, a struct, a combination and a map.

mod readers;

use std::path::Path;
use std::sync::Arc;

use datastream_client::{Client, Origin};
use datastream_server::Config;
use datastream_server::store::{Commit, Operation, Store as _};
use datastream_server::testing::TestServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::faulty_store::FaultyStore;
use crate::scripted::{self, Entry, Subscribed, change, reset, state};
use crate::wire::{eventually, within};
use readers::{Reading, Ways, read_while};

/// How many reads each of these tests makes: half of `DATASTREAM_READS`, or of the size of the gate.
fn reads() -> u64 {
    let reads = std::env::var("DATASTREAM_READS");
    reads.map_or(10_000_000, |reads| reads.parse().expect("DATASTREAM_READS is a number")) / 2
}

fn both(revision: u64, text: &str) -> [Entry<'_>; 2] {
    [("p/a", revision, "int", text), ("p/b", revision, "int", text)]
}

/// Writes both keys at once, mostly by changes, and by a reset every now and then.
async fn write(stream: &Subscribed, ways: &mut Ways, reading: &Reading) {
    for round in 6.. {
        let text = round.to_string();
        match round % 16 {
            0 => stream.say(reset(round, both(round, &text))),
            _ => stream.say(change(round, both(round, &text))),
        }
        within("it arrives", ways.both.changed()).await;
        if reading.is_enough() {
            return;
        }
    }
}

#[test]
fn what_is_committed_together_is_read_together_through_changes_and_resets() {
    let runtime = Runtime::new().expect("a runtime");
    let (stream, mut ways, _script) = runtime.block_on(async {
        let (client, mut script) = scripted::client();
        let ways = Ways::of(&client);
        let stream = script.accept(state(5, both(5, "5"))).await;
        ways.ready().await;
        (stream, ways, script)
    });
    read_while(&ways.clone(), reads(), |reading| {
        runtime.block_on(write(&stream, &mut ways, reading));
    });
}

/// A server whose store is replaced, its restarts, and a client with a file, which is replaced as well.
struct Scene {
    store: Arc<FaultyStore>,
    server: TestServer,
    folder: TempDir,
    value: u64,
    /// How often there was another history, handles that were late, and a start from the file.
    counts: [u64; 3],
}

impl Scene {
    async fn start() -> Self {
        let store = FaultyStore::new();
        let folder = tempfile::tempdir().expect("a folder");
        let server = TestServer::start_with(store.clone(), Config::default());
        let mut scene = Self { store, server, folder, value: 0, counts: [0; 3] };
        scene.commit().await;
        scene
    }

    fn cache(&self) -> impl AsRef<Path> + use<> {
        self.folder.path().join("cache")
    }

    /// A client that keeps a file, and knows one of the keys before it knows the other.
    async fn client(&self) -> Client {
        let client = Client::builder(self.server.url()).cache_file(self.cache().as_ref()).connect();
        let a = client.watch::<u64>("p/a");
        within("the first key", a.ready()).await.expect("it is there");
        client
    }

    /// Gives both keys the next value.
    async fn commit(&mut self) {
        self.value += 1;
        let put = |key| Operation::put(key, "int", self.value.to_string());
        let operations = ["p/a", "p/b"].map(put).into_iter().collect();
        self.store.commit(Commit { operations, ..Commit::default() }).await.expect("it is committed");
    }

    /// One of the ways in which more happens than a commit. Returns what is to be read from now on.
    async fn disturb(&mut self, round: u64, ways: &Ways) -> Ways {
        let kind = (round % 3) as usize;
        self.counts[kind] += 1;
        match kind {
            0 => {
                self.store.replace();
                self.commit().await;
                ways.clone()
            }
            1 => {
                let late = ways.client.watch::<i64>(format!("late/{round}"));
                let ways = Ways::of(&ways.client);
                drop(late);
                ways
            }
            _ => self.begin_with_the_file(ways).await,
        }
    }

    /// Ends the client, whose handles go on to be read, and starts another while the server is down.
    async fn begin_with_the_file(&mut self, ways: &Ways) -> Ways {
        within("the file is written", ways.client.close()).await;
        self.server.kill();
        let client = self.client().await;
        let ways = Ways::of(&client);
        ways.ready().await;
        assert_eq!(ways.both.status().origin, Origin::Cache);
        self.commit().await;
        self.server.restart();
        ways
    }
}

#[test]
fn what_is_committed_together_is_read_together_through_new_histories_restarts_and_late_handles() {
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let mut scene = runtime.block_on(Scene::start());
    let client = runtime.block_on(scene.client());
    let mut ways = Ways::of(&client);
    runtime.block_on(ways.ready());
    drop(client);
    read_while(&ways.clone(), reads(), |reading| {
        let disturbed = async {
            for round in 0.. {
                for _ in 0..20 {
                    scene.commit().await;
                    eventually("it arrives", || ways.show(scene.value)).await;
                }
                if round >= 6 && reading.is_enough() {
                    return;
                }
                ways = scene.disturb(round, &ways).await;
                reading.show(&ways);
                eventually("all of it arrives", || ways.show(scene.value)).await;
            }
        };
        runtime.block_on(disturbed);
    });
    let [histories, late, files] = scene.counts;
    println!(
        "{} commits, {histories} histories, {late} sets of late handles, {files} starts from the file",
        scene.value
    );
}
