//! The disk of a server that runs is filled and freed, again and again, and put in place read-only.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datastream::proto::Phase;
use rusqlite::Connection;
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::file_server::store_of;
use crate::process::{Server, command};
use crate::pushers::Counters;
use crate::small_disk::SmallDisk;
use crate::wire::{Deliveries, Wire, announced, within};

const COUNTERS: usize = 4;

/// How often the disk is filled: `DATASTREAM_ROUNDS`, or the size of the gate.
fn rounds() -> usize {
    std::env::var("DATASTREAM_ROUNDS")
        .map_or(20, |rounds| rounds.parse().expect("DATASTREAM_ROUNDS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_no_acknowledged_push_and_is_recovered_from_without_a_restart() {
    let Some(disk) = SmallDisk::mount("a full disk").map(Arc::new) else { return };
    let mut served = Served::on(&disk, disk.inside()).await;
    let rounds = rounds();
    for _ in 0..rounds {
        // Or there would be room for pushes in what the log had before.
        disk.sqlite3(&store_of(disk.inside()), "PRAGMA wal_checkpoint(TRUNCATE)");
        let filling = disk.clone();
        let filled = tokio::task::spawn_blocking(move || filling.fill());
        served.is_refused_until_full().await;
        filled.await.expect("it is filled");
        served.goes_on_reading().await;
        disk.free();
        served.pushes().await;
        served.arrives().await;
    }
    println!(
        "{rounds} rounds: {} pushes acknowledged, {} refused",
        served.counters.tally().0,
        served.refused
    );
    served.ends_sound(&disk);
}

/// While the file is open no disk becomes read-only: the system does not mount it so. But another may take its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_comes_back_read_only_takes_no_push_and_is_written_when_it_may_be() {
    let Some(disk) = SmallDisk::mount("a read-only disk") else { return };
    disk.run("mkdir live next");
    let live = disk.inside().join("live");
    let mut served = Served::on(&disk, &live).await;
    let acknowledged = served.counters.acknowledged();
    disk.run("mount -t tmpfs none next && cp live/settings.db* next && mount -o remount,ro next");
    disk.run("mount --move next live");
    let status = served.refusal_with(Code::FailedPrecondition).await;
    assert_eq!(status.get_details_error_info().expect("it says why").reason, "READ_ONLY");
    let synced = served.wire.sync(announced(served.counters.keys())).await;
    let shown = |key: &str| synced.data[key].value == acknowledged[key].to_string();
    assert!(acknowledged.keys().all(|key| shown(key)), "what was read last stays");
    assert!(synced.source_age.is_some(), "and its age is told");
    disk.run("mount -o remount,rw live");
    served.pushes().await;
    served.arrives().await;
    served.server.terminate();
}

/// A server on a small disk, who pushes to it, and who follows it.
struct Served {
    server: Server,
    wire: Wire,
    counters: Counters,
    stream: Deliveries,
    /// What the stream said so far.
    told: BTreeMap<String, i64>,
    refused: usize,
}

impl Served {
    async fn on(disk: &SmallDisk, folder: &Path) -> Self {
        let store = format!("sqlite:{}", store_of(folder).display());
        let flags = ["--listen", "127.0.0.1:0", "--heartbeat", "50ms", "--store", &store];
        let server = Server::spawn(disk.enter(&command(&flags)));
        let wire = Wire::to(&server.url()).await;
        let mut counters = Counters::new(COUNTERS);
        counters.push_once(&wire).await;
        let stream = wire.subscribe(announced(counters.keys())).await;
        Self { server, wire, counters, stream, told: BTreeMap::new(), refused: 0 }
    }

    /// Pushes until each is refused.
    async fn is_refused_until_full(&mut self) {
        let push = async {
            loop {
                let refused = self.counters.push_each(&self.wire).await;
                refused.iter().for_each(says_full);
                self.refused += refused.len();
                if refused.len() == COUNTERS {
                    break;
                }
            }
        };
        within("a disk that is full", push).await;
    }

    /// Pushes until each is refused with `code`; for a moment it may be another.
    async fn refusal_with(&mut self, code: Code) -> Status {
        let push = async {
            loop {
                let refused = self.counters.push_each(&self.wire).await;
                if refused.len() == COUNTERS && refused.iter().all(|status| status.code() == code) {
                    return refused.into_iter().next().expect("there is one");
                }
            }
        };
        within("such a refusal", push).await
    }

    /// Reads and streams go on, and are not told to be old.
    async fn goes_on_reading(&mut self) {
        let synced = self.wire.sync(announced(self.counters.keys())).await;
        assert!(synced.source_age.is_none(), "the store can be read");
        for (key, acknowledged) in self.counters.acknowledged() {
            assert_eq!(synced.data[&key].value, acknowledged.to_string(), "{key}");
        }
        self.arrives().await;
        let heartbeat = async { while self.follow().await != (Phase::Heartbeat, None) {} };
        within("a heartbeat", heartbeat).await;
    }

    /// There is room again, which the first push finds.
    async fn pushes(&mut self) {
        let refused = self.counters.push_each(&self.wire).await;
        assert!(refused.is_empty(), "{refused:?}");
    }

    /// The stream brings what was acknowledged.
    async fn arrives(&mut self) {
        let acknowledged = self.counters.acknowledged();
        let follow = async {
            while self.told != acknowledged {
                self.follow().await;
            }
        };
        within("what was acknowledged", follow).await;
    }

    /// Returns what came, and how old it is said to be.
    async fn follow(&mut self) -> (Phase, Option<prost_types::Duration>) {
        let next = self.stream.next().await;
        self.told.extend(next.data.into_values().map(|data| {
            let text = std::str::from_utf8(&data.value).expect("an int is a text");
            (data.key, text.parse().expect("it is an int"))
        }));
        (next.phase, next.source_age)
    }

    /// After its end the file is whole, and holds what was acknowledged.
    fn ends_sound(mut self, disk: &SmallDisk) {
        drop(self.stream);
        self.server.terminate();
        let copy = TempDir::new().expect("a folder");
        for file in std::fs::read_dir(disk.outside()).expect("the disk").flatten() {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("a copy");
        }
        is_sound(&store_of(copy.path()));
        let acknowledged = self.counters.acknowledged();
        assert_eq!(self.counters.held_in(copy.path()), acknowledged);
    }
}

fn is_sound(file: &Path) {
    let file = Connection::open(file).expect("the file opens");
    let said: String =
        file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
    assert_eq!(said, "ok");
}

fn says_full(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let quota = status.get_details_quota_failure().expect("it says what is exhausted");
    assert_eq!(quota.violations[0].subject, "store");
}
