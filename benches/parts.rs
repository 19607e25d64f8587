//! What the parts of the way of an update cost, each by itself.
//!
//! `cargo bench --bench parts`: an update is committed to SQLite, joined into a message, decoded, applied by a client and
//! read. Nothing is judged here: a machine is slow or fast as a whole.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use datastream::key::Selector;
use datastream::proto::{self, Data, DataResponse, Phase};
use datastream::value;
use datastream_client::session::{Answer, Event, Input, Opening, Output, Session};
use datastream_client::{Limits, Watch};
use datastream_server::entry::Entry;
use datastream_server::frame;
use datastream_server::store::{Change, Commit, Operation, Store as _, Stored};
use datastream_server::stores::sqlite::SqliteStore;
use futures_util::future::join_all;

/// How many commits wait together: as many as share a sync when 64 clients push.
const GROUP: u64 = 64;
/// How many keys a client holds.
const KEYS: u64 = 1000;
const KEY: &str = "service/setting-500";

fn main() {
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    let mut criterion = criterion.configure_from_args();
    commit(&mut criterion);
    entry_and_frame(&mut criterion);
    apply(&mut criterion);
    read(&mut criterion);
    decode(&mut criterion);
    criterion.final_summary();
}

/// Durable commits of one key each, with capture and history.
fn commit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("settings.db")).expect("a new file");
    let mut written = 0;
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(GROUP));
    group.bench_function("sqlite, 64 that wait together", |bencher| {
        bencher.iter(|| {
            written += 1;
            let put = |n| Operation::put(format!("service/setting-{n}").as_str(), "int", written.to_string());
            let commits = (0..GROUP).map(|n| store.commit(Commit::one(put(n))));
            let made = runtime.block_on(join_all(commits));
            assert!(made.iter().all(Result::is_ok), "a commit is made");
        });
    });
    group.finish();
}

fn entry_and_frame(criterion: &mut Criterion) {
    let change = |n: u64| Change {
        key: format!("service/setting-{n}").into(),
        revision: n,
        time: SystemTime::UNIX_EPOCH,
        value: Some(Stored { value: Bytes::from_static(b"12345"), value_type: "int".into() }),
        too_large: None,
    };
    criterion.bench_function("entry", |bencher| {
        bencher.iter_batched(|| change(500), Entry::new, BatchSize::SmallInput);
    });
    let parts: Vec<_> = (0..10).map(|n| Entry::new(change(n)).encoded).collect();
    let tail = message(Phase::Change, 10, Vec::new());
    criterion.bench_function("frame of ten entries", |bencher| {
        bencher.iter(|| frame::join(black_box(&parts), black_box(&tail)));
    });
}

/// A change of one of the keys that a client holds, from the message to the value that its handle shows.
fn apply(criterion: &mut Criterion) {
    let (mut session, stream) = following();
    let watch = Watch::<i64>::detached(KEY);
    let mut revision = 1;
    criterion.bench_function("apply", |bencher| {
        bencher.iter(|| {
            revision += 1;
            let changed = message(Phase::Change, revision, vec![entry(500, revision)]);
            step(&mut session, Event::Received(stream, changed));
            watch.offer(session.applied());
        });
    });
    assert_eq!(watch.get(), Some(revision.cast_signed()), "what came last is shown");
}

/// A session that holds all keys, and its stream.
fn following() -> (Session, u64) {
    let mut session = Session::new(Limits::default(), "bench".to_owned());
    let watched = Event::Watched(Selector::parse("service/").expect("a prefix"));
    session.step(Input { now: Duration::ZERO, random: 0.5, event: watched });
    let outputs = step(&mut session, Event::Woken);
    let sync =
        outputs.iter().find_map(|output| if let Output::Sync(id, _) = output { Some(*id) } else { None });
    let state = message(Phase::State, 1, (0..KEYS).map(|n| entry(n, 1)).collect());
    let answer = Answer { is_current: true, state: Ok(state) };
    let outputs = step(&mut session, Event::Synced(sync.expect("Sync is called"), answer));
    let open =
        outputs.iter().find_map(|output| if let Output::Open { id, .. } = output { Some(*id) } else { None });
    let stream = open.expect("a stream is opened");
    step(&mut session, Event::Opened(stream, Opening { is_current: true, heartbeat: None }));
    step(&mut session, Event::Received(stream, message(Phase::Resume, 1, Vec::new())));
    (session, stream)
}

/// A second after the beginning, when keys that were watched together have been collected.
fn step(session: &mut Session, event: Event) -> Vec<Output> {
    session.step(Input { now: Duration::from_secs(1), random: 0.5, event }).outputs
}

/// As an application reads; `reads` compares that with other ways.
fn read(criterion: &mut Criterion) {
    let watch = Watch::fixed(10_i64);
    criterion.bench_function("read", |bencher| bencher.iter(|| black_box(&watch).get()));
}

fn decode(criterion: &mut Criterion) {
    let (int, string) = (Bytes::from_static(b"12345"), Bytes::from_static(b"a name of some length"));
    criterion.bench_function("decode of an int", |bencher| {
        bencher.iter(|| value::decode::<i64>(black_box("int"), black_box(&int)));
    });
    criterion.bench_function("decode of a string", |bencher| {
        bencher.iter(|| value::decode::<String>(black_box("string"), black_box(&string)));
    });
}

fn entry(n: u64, revision: u64) -> (String, Data) {
    let key = format!("service/setting-{n}");
    let value = Bytes::from(revision.to_string());
    (key.clone(), Data { key, value, value_type: "int".to_owned(), revision, ..Data::default() })
}

fn message(phase: Phase, revision: u64, data: Vec<(String, Data)>) -> DataResponse {
    let data: HashMap<_, _> = data.into_iter().collect();
    let position = Some(proto::Position { revision, token: Bytes::from_static(b"here") });
    DataResponse { data, position, phase: phase.into(), ..DataResponse::default() }
}
