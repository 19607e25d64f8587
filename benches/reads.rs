//! What a read of a handle costs, beside the alternatives, in one run.
//!
//! `cargo bench --bench reads`. A machine is slow or fast as a whole, so the ratios are what can be compared: of a `get` to a
//! raw `arc_swap` load, which is what a handle is made of, and of a cached read to a plain atomic load. The client is
//! one without a server, so that nothing else runs: what is read is the same. Ends with 1 if a limit is broken.

use std::collections::HashMap;
use std::hint::{black_box, spin_loop};
use std::process::ExitCode;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::Criterion;
use datastream_client::Client;

/// How much of a raw `arc_swap` load a `get` may cost, and of a plain atomic load a cached read.
const GET: f64 = 1.3;
const CACHED: f64 = 2.0;
const MANY: i64 = 1_000_000;
/// The time between two writes: 100,000 in a second.
const PACE: Duration = Duration::from_micros(10);
const KEY: &str = "max_connections";

fn main() -> ExitCode {
    let criterion =
        Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    let mut table = Table { criterion: criterion.configure_from_args(), rows: Vec::new() };
    alone(&mut table);
    among_many(&mut table);
    while_written(&mut table);
    on_two_threads(&mut table);
    table.criterion.final_summary();
    table.judge()
}

fn alone(table: &mut Table) {
    let client = Client::fixed([(KEY, 10_i64.into()), ("name", "a name".to_owned().into())]);
    let (max, name) = (client.watch::<i64>(KEY), client.watch::<String>("name"));
    let (with_default, young) =
        (client.watch::<i64>("not/there").or(7), max.clone().max_age(Duration::from_secs(3600)));
    let (mut cached, mut cached_young) = (max.cached(), young.cached());
    let mut cached_or = max.clone().or(7).cached();
    let (atomic, raw) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64));
    let (_sender, receiver) = tokio::sync::watch::channel(10_i64);
    let map = locked_map();

    table.time("alone", "atomic load", || atomic.load(Ordering::Relaxed));
    table.time("alone", "cached get", || *cached.get());
    table.time("alone", "cached get of a default", || *cached_or.get());
    table.time("alone", "arc_swap load", || **raw.load());
    table.time("alone", "get", || max.get());
    table.time("alone", "get with a max_age", || young.get());
    table.time("alone", "cached get with a max_age", || *cached_young.get());
    table.time("alone", "get of a default", || with_default.get());
    table.time("alone", "load of a String", || name.load().as_ref().map(String::len));
    table.time("alone", "tokio watch borrow", || *receiver.borrow());
    table.time("alone", "RwLock<HashMap> get", || look_up(&map));
}

/// The same reads, of a client that holds 10^6 settings.
fn among_many(table: &mut Table) {
    let others = (1..MANY).map(|n| (format!("settings/number-{n}"), n.into()));
    let client = Client::fixed(others.chain([(KEY.to_owned(), 10_i64.into())]));
    let max = client.watch::<i64>(KEY);
    let mut cached = max.cached();
    let (atomic, raw) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64));
    let among = "among 10^6 keys";
    table.time(among, "atomic load", || atomic.load(Ordering::Relaxed));
    table.time(among, "cached get", || *cached.get());
    table.time(among, "arc_swap load", || **raw.load());
    table.time(among, "get", || max.get());
}

/// The same reads, while another thread writes what is read 100,000 times in a second.
fn while_written(table: &mut Table) {
    let client = Client::fixed([(KEY, 10_i64.into())]);
    let max = client.watch::<i64>(KEY);
    let mut cached = max.cached();
    let (atomic, raw) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64));
    let written = "while written";
    let store = |n| atomic.store(n, Ordering::Relaxed);
    written_by(store, || table.time(written, "atomic load", || atomic.load(Ordering::Relaxed)));
    let set = |n: i64| client.set(KEY, n);
    written_by(set, || table.time(written, "cached get", || *cached.get()));
    written_by(|n| raw.store(n.into()), || table.time(written, "arc_swap load", || **raw.load()));
    written_by(set, || table.time(written, "get", || max.get()));
}

/// The same reads, while another thread does nothing but read as well.
fn on_two_threads(table: &mut Table) {
    let client = Client::fixed([(KEY, 10_i64.into())]);
    let max = client.watch::<i64>(KEY);
    let (mut cached, mut other_cached) = (max.cached(), max.cached());
    let (atomic, raw) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64));
    let (_sender, receiver) = tokio::sync::watch::channel(10_i64);
    let map = locked_map();
    let two = "on 2 threads";
    let load = || atomic.load(Ordering::Relaxed);
    read_beside(load, || table.time(two, "atomic load", load));
    read_beside(|| *other_cached.get(), || table.time(two, "cached get", || *cached.get()));
    read_beside(|| **raw.load(), || table.time(two, "arc_swap load", || **raw.load()));
    read_beside(|| max.get(), || table.time(two, "get", || max.get()));
    read_beside(|| *receiver.borrow(), || table.time(two, "tokio watch borrow", || *receiver.borrow()));
    read_beside(|| look_up(&map), || table.time(two, "RwLock<HashMap> get", || look_up(&map)));
}

/// What many an application has instead: all settings behind one lock.
fn locked_map() -> RwLock<HashMap<String, i64>> {
    RwLock::new((0..1000).map(|n| (format!("settings/number-{n}"), n)).collect())
}

fn look_up(map: &RwLock<HashMap<String, i64>>) -> Option<i64> {
    map.read().expect("nobody panics").get(black_box("settings/number-500")).copied()
}

/// Measures while another thread writes.
fn written_by(write: impl Fn(i64) + Send, measure: impl FnOnce()) {
    beside(measure, move |goes_on| {
        let began = Instant::now();
        for n in 0_u32.. {
            while goes_on() && began.elapsed() < PACE * n {
                spin_loop();
            }
            if !goes_on() {
                return;
            }
            write(i64::from(n));
        }
    });
}

/// Measures while another thread reads.
fn read_beside<R>(mut read: impl FnMut() -> R + Send, measure: impl FnOnce()) {
    beside(measure, move |goes_on| {
        while goes_on() {
            (0..1000).for_each(|_| drop(black_box(read())));
        }
    });
}

/// Measures while another thread works, which is asked to end after it.
fn beside(measure: impl FnOnce(), work: impl FnOnce(&dyn Fn() -> bool) + Send) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| work(&|| !is_over.load(Ordering::Relaxed)));
        measure();
        is_over.store(true, Ordering::Relaxed);
    });
}

/// What each contender takes, in nanoseconds: its quickest tenth, since other work on the machine only adds to it.
struct Table {
    criterion: Criterion,
    rows: Vec<(&'static str, &'static str, f64)>,
}

impl Table {
    fn time<R>(&mut self, group: &'static str, name: &'static str, mut read: impl FnMut() -> R) {
        let mut samples = Vec::new();
        self.criterion.bench_function(&format!("{group}/{name}"), |bencher| {
            bencher.iter_custom(|reads| {
                let began = Instant::now();
                (0..reads).for_each(|_| drop(black_box(read())));
                let took = began.elapsed();
                samples.push(took.as_secs_f64() * 1e9 / reads as f64);
                took
            });
        });
        samples.sort_by(f64::total_cmp);
        self.rows.extend(samples.get(samples.len() / 10).map(|quick| (group, name, *quick)));
    }

    fn of(&self, group: &str, name: &str) -> f64 {
        let row = self.rows.iter().find(|row| (row.0, row.1) == (group, name));
        row.map_or(f64::NAN, |row| row.2)
    }

    /// Prints all of it, and whether the limits hold in each group.
    fn judge(&self) -> ExitCode {
        println!("\n{:<42} {:>8} {:>16} {:>20}", "", "ns", "of atomic load", "of an arc_swap load");
        let mut holds = true;
        for &(group, name, ns) in &self.rows {
            let (atomic, raw) = (ns / self.of(group, "atomic load"), ns / self.of(group, "arc_swap load"));
            let verdict = match name {
                "get" => raw <= GET,
                "cached get" => atomic <= CACHED,
                _ => true,
            };
            holds &= verdict;
            let missed = if verdict { "" } else { " FAIL" };
            println!("{:<42} {ns:>8.2} {atomic:>16.2} {raw:>20.2}{missed}", format!("{group}: {name}"));
        }
        println!(
            "{} get at most {GET} x an arc_swap load, cached at most {CACHED} x an atomic load",
            if holds { "PASS" } else { "FAIL" }
        );
        ExitCode::from(u8::from(!holds))
    }
}
