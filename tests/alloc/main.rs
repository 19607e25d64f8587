//! Reads allocate nothing, while the values are being replaced.
//!
//! The only test binary beside `tests/it`: counting needs a global allocator of its own, and every other test
//! would run on it. It counts what the reading thread allocates, and nothing of any other.

use std::array;
use std::hint::black_box;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use datastream_client::{Client, Json, Value, Watch, combine};
use datastream_server::testing::TestServer;
use serde::{Deserialize, Serialize};

const DEADLINE: Duration = Duration::from_secs(30);

/// How many values a reader sees arrive, at least, while it is counted.
const ARRIVALS: u64 = 20;

/// More than arc-swap has fast slots for in one thread (8): what goes beyond takes its slower path.
const NESTED: usize = 32;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Pool {
    name: String,
    hosts: Vec<String>,
}

fn pool(n: i64) -> Json<Pool> {
    Json(Pool { name: format!("pool {n}"), hosts: vec!["a".repeat(20), "b".repeat(20)] })
}

/// How often `read` allocates while a writer replaces the value of `watch` with what `make` makes.
fn allocations<T>(server: &TestServer, key: &str, make: fn(i64) -> T, read: impl Fn(&Watch<T>) + Send) -> u64
where
    T: Value,
{
    server.set(key, make(0));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let watch = Client::connect(server.url()).watch::<T>(key);
    runtime.block_on(watch.ready()).expect("the key is there");

    std::thread::scope(|scope| {
        let reader = scope.spawn(|| count_while_values_arrive(&watch, read));
        (1..).take_while(|_| !reader.is_finished()).for_each(|n| server.set(key, make(n)));
        reader.join().expect("the values arrive")
    })
}

fn count_while_values_arrive<T>(watch: &Watch<T>, read: impl Fn(&Watch<T>)) -> u64 {
    // The very first read of a thread registers it, and that allocates.
    drop(watch.load());
    let began = Instant::now();
    let (mut total, mut arrived, mut shown) = (0, 0, None);
    while arrived < ARRIVALS {
        assert!(began.elapsed() < DEADLINE, "only {arrived} values arrived");
        total += measure(|| (0..1000).for_each(|_| read(watch))).count_total;
        let revision = watch.status().revision;
        arrived += u64::from(revision != shown);
        shown = revision;
    }
    total
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn get_of_copy_types_allocates_nothing() {
    fn get<T: Copy>(watch: &Watch<T>) {
        black_box(watch.get());
    }
    let server = TestServer::start();
    assert_eq!(allocations(&server, "int", |n| n, get), 0);
    assert_eq!(allocations(&server, "float", |n| n as f64, get), 0);
    assert_eq!(allocations(&server, "bool", |n| n % 2 == 0, get), 0);
    assert_eq!(allocations(&server, "duration", |n| Duration::from_millis(n.unsigned_abs()), get), 0);
}

#[test]
fn load_of_any_type_allocates_nothing() {
    fn load<T>(watch: &Watch<T>) {
        black_box(watch.load().as_ref().expect("there is always a value"));
    }
    let server = TestServer::start();
    assert_eq!(allocations(&server, "int", |n| n, load), 0);
    assert_eq!(allocations(&server, "string", |n| format!("the {n}th text"), load), 0);
    assert_eq!(allocations(&server, "bytes", |n| n.to_be_bytes().repeat(100), load), 0);
    assert_eq!(allocations(&server, "json", pool, load), 0);
}

#[test]
fn get_with_a_default_allocates_nothing_with_and_without_a_value() {
    let server = TestServer::start();
    let client = Client::connect(server.url());
    let absent = client.watch::<i64>("absent").or(7);
    assert_eq!(absent.get(), 7);
    assert_eq!(measure(|| assert_eq!(absent.get(), 7)).count_total, 0);

    let present = client.watch::<i64>("int").or(7);
    assert_eq!(measure(|| assert_eq!(*absent.load(), 7)).count_total, 0);
    let get = |_: &Watch<i64>| assert!(present.get() >= 0 && *present.load() >= 0);
    assert_eq!(allocations(&server, "int", |n| n, get), 0);
}

#[test]
fn cached_reads_allocate_nothing() {
    let server = TestServer::start().with("int", 1_i64).with("text", "a text".to_owned());
    let client = Client::connect(server.url());
    let (int, text) = (client.watch::<i64>("int"), client.watch::<String>("text"));
    int.ready_blocking().and_then(|()| text.ready_blocking()).expect("the keys are there");
    let (mut int, mut text) = (int.cached(), text.or(String::new()).cached());
    let read = || assert_eq!((*int.get(), text.get().as_str()), (Some(1), "a text"));
    assert_eq!(measure(read).count_total, 0);
}

#[test]
fn a_limit_of_age_allocates_nothing_at_reads_in_time_and_too_late() {
    let server = TestServer::start().with("int", 1_i64);
    let watch = Client::connect(server.url()).watch::<i64>("int");
    watch.ready_blocking().expect("the key is there");
    let (young, old) = (watch.clone().max_age(Duration::MAX), watch.max_age(Duration::ZERO));
    let began = Instant::now();
    while old.get().is_some() {
        assert!(began.elapsed() < DEADLINE, "it is never too old");
        std::thread::yield_now();
    }
    assert_eq!(measure(|| assert_eq!((young.get(), old.get()), (Some(1), None))).count_total, 0);
    assert_eq!(
        measure(|| assert!(young.load().as_ref().is_some() && old.load().as_ref().is_none())).count_total,
        0
    );
}

#[test]
fn many_values_held_at_once_allocate_nothing() {
    let server = TestServer::start();
    let nested = |watch: &Watch<String>| drop(black_box(array::from_fn::<_, NESTED, _>(|_| watch.load())));
    assert_eq!(allocations(&server, "string", |n| format!("the {n}th text"), nested), 0);
}

/// What a thread pays once, whatever it reads later: the documentation of `load` speaks of it.
#[test]
fn only_the_first_read_of_a_thread_allocates() {
    let watch = Watch::fixed(1_i64);
    let (first, later) = std::thread::scope(|scope| {
        let read = || (measure(|| drop(watch.load())), measure(|| drop(watch.load())));
        scope.spawn(read).join().expect("it reads")
    });
    assert!(first.count_total <= 1, "{first:?}");
    assert_eq!(later.count_total, 0);
}

#[test]
fn reads_of_structs_combinations_and_maps_allocate_nothing() {
    #[derive(Clone, Copy, Deserialize)]
    struct Limits {
        max: i64,
    }

    let server = TestServer::start().with("limits/max", 1_i64);
    let client = Client::connect(server.url());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let max = client.watch::<i64>("limits/max");
    let (bound, map) = (client.bind::<Limits>("limits/"), client.watch_prefix::<i64>("limits/"));
    let both = combine((&max, &bound));
    runtime.block_on(async { tokio::join!(both.ready(), map.ready()) }).1.expect("they are there");

    let read = |_: &Watch<i64>| {
        black_box((bound.get().map(|limits| limits.max), both.get()));
        black_box((bound.load().as_ref().is_some(), both.load().as_ref().is_some()));
        assert!(map.load().as_ref().is_some_and(|map| map.get("limits/max").is_some()));
    };
    assert_eq!(allocations(&server, "limits/max", |n| n, read), 0);
}
