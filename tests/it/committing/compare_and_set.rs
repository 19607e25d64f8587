//! Many clients write a few keys at once, each only where it expects the key to be, over connections that are cut.

use std::sync::Arc;
use std::time::Instant;

use datastream::proto::CommitRequest;
use datastream_server::Config;
use datastream_server::store::{Commit, Operation as Write, Store};
use datastream_server::testing::TestServer;
use datastream_server::testing::faulty::{Bell, FaultyStore};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::register::{Kind, Operation, Told, check};
use super::{STORES, insist, is_lost, size};
use crate::control::{Control, delete, expecting, put};
use crate::cutting_proxy::{Cuts, CuttingProxy};
use crate::wire::{Wire, announced, within};

const CLIENTS: usize = 32;
const KEYS: usize = 8;
/// A connection carries some dozen calls before it is cut.
const CUTS: Cuts = Cuts { requests: 0..16_000, answers: 0..8_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compare_and_set_is_linearizable_over_connections_that_are_cut() {
    for (name, open) in STORES {
        let folder = tempfile::tempdir().expect("a folder");
        judge(name, open(folder.path()), size("DATASTREAM_OPERATIONS", 5_000)).await;
    }
}

/// Where each waits for a disk and for the others.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compare_and_set_on_postgresql_is_linearizable_over_connections_that_are_cut() {
    let database = crate::postgres::Cluster::shared().database();
    let store = crate::store_postgres::on(&database).await;
    judge("postgres", store, size("DATASTREAM_OPERATIONS", 2_500)).await;
}

/// Lets many clients of `store` compete, and judges what each was told.
async fn judge(name: &str, store: Arc<dyn Store>, operations: usize) {
    let server = TestServer::start_with(store, Config::default());
    let proxy = CuttingProxy::start(&server.url(), CUTS).await;
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let client = Caller::new(client, &proxy.url(), began);
        clients.spawn(client.call(operations.div_ceil(CLIENTS)));
    }
    let mut histories = [const { Vec::new() }; KEYS];
    for (key, operation) in clients.join_all().await.into_iter().flatten() {
        histories[key].push(operation);
    }
    for history in &histories {
        check(history).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    println!("{name}, {:.1?}, {} connections cut: {}", began.elapsed(), proxy.cut(), tally(&histories));
    assert!(proxy.cut() > operations / 100, "hardly anything was cut");
}

/// The doorbell is missed, so that the server has not looked when it refuses.
#[tokio::test]
async fn what_a_commit_is_refused_for_can_be_read_at_once() {
    let put_two = || put("a", "int", "2");
    for (what, write, asked) in [
        ("a key elsewhere", Write::put("a", "int", "7"), put_two()),
        ("a key that is gone", Write::delete("a"), put_two()),
        ("no key to delete", Write::delete("a"), delete("a")),
    ] {
        let store = FaultyStore::new();
        store.set_bell(Bell::Silent);
        let server = TestServer::start_with(store.clone(), Config::default());
        let wire = Wire::to(&server.url()).await;
        let control = Control::of(&wire);
        let was = control.commit([put("a", "int", "1")]).await.expect("it is new").revision;
        let made = store.commit(Commit::one(write)).await.expect("it is taken").revision;
        control.commit([expecting(asked, was)]).await.expect_err(what);
        let synced = wire.sync(announced(["a"])).await;
        assert!(synced.position.is_some_and(|position| position.revision >= made), "{what}");
    }
}

/// Says what was seen, which must be some of each kind.
fn tally(histories: &[Vec<Operation>]) -> String {
    let count = |is: fn(&Kind) -> bool| {
        let count = histories.iter().flatten().filter(|operation| is(&operation.kind)).count();
        assert!(count > 20, "only {count} of a kind");
        count
    };
    let made = count(|kind| matches!(kind, Kind::Write { told: Told::Made(_), .. }));
    let conflicts = count(|kind| matches!(kind, Kind::Write { told: Told::Conflict(_), .. }));
    let unknown = count(|kind| matches!(kind, Kind::Write { told: Told::Nothing, .. }));
    let reads = count(|kind| matches!(kind, Kind::Read { .. }));
    format!("{made} made, {conflicts} conflicts, {unknown} of unknown outcome, {reads} reads")
}

/// A client, and where it believes each key to be.
struct Caller {
    number: usize,
    wire: Wire,
    control: Control,
    began: Instant,
    believed: [u64; KEYS],
}

impl Caller {
    fn new(number: usize, url: &str, began: Instant) -> Self {
        let wire = Wire::lazy(url);
        Self { number, control: Control::of(&wire), wire, began, believed: [0; KEYS] }
    }

    async fn call(mut self, operations: usize) -> Vec<(usize, Operation)> {
        let mut history = Vec::new();
        for n in 0..operations {
            let key = fastrand::usize(..KEYS);
            let start = self.now();
            let id = (self.number * operations + n + 1) as u64;
            let kind =
                if fastrand::u8(..8) == 0 { self.read(key).await } else { Some(self.write(key, id).await) };
            // A read whose answer was lost says nothing.
            let Some(kind) = kind else { continue };
            let is_open = matches!(kind, Kind::Write { told: Told::Nothing, .. });
            history.push((key, Operation { start, end: if is_open { u64::MAX } else { self.now() }, kind }));
        }
        history
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// One in four gives up when its first answer is lost; the others ask until they are told.
    async fn write(&mut self, key: usize, id: u64) -> Kind {
        let expected = self.believed[key];
        let request = CommitRequest {
            operations: vec![expecting(put(&key.to_string(), "int", id.to_string()), expected)],
            request_id: format!("{id}"),
            ..CommitRequest::default()
        };
        let told = if fastrand::u8(..4) == 0 {
            within("an answer or its loss", self.control.make(request)).await
        } else {
            insist(&self.control, &request).await
        };
        let told = match told {
            Ok(position) => Told::Made(position.revision),
            Err(status) if is_lost(&status) => Told::Nothing,
            Err(status) => Told::Conflict(where_it_is(&status)),
        };
        if let Told::Made(revision) | Told::Conflict(revision) = told {
            self.believed[key] = revision;
        }
        Kind::Write { id, expected, told }
    }

    async fn read(&mut self, key: usize) -> Option<Kind> {
        let name = key.to_string();
        let mut service = self.wire.service();
        let answer = within("an answer or its loss", service.sync(announced([&name]))).await;
        let data = match answer {
            Ok(answer) => answer.into_inner().data.remove(&name),
            Err(status) if is_lost(&status) => return None,
            Err(status) => panic!("a read was refused: {status:?}"),
        };
        let (revision, id) = data.map_or((0, 0), |data| {
            let text = std::str::from_utf8(&data.value).expect("an int is a text");
            (data.revision, text.parse().expect("it is an int"))
        });
        self.believed[key] = revision;
        Some(Kind::Read { revision, id })
    }
}

fn where_it_is(status: &Status) -> u64 {
    assert!(matches!(status.code(), Code::Aborted | Code::AlreadyExists), "{status:?}");
    let info = status.get_details_error_info().expect("it says where the key is");
    info.metadata["revision"].parse().expect("a revision")
}
