//! What a read costs, in one process: `compare` starts it for each round and judges the ratios.
//!
//! Each line is a group, a contender and nanoseconds: the quickest tenth of the samples, since other work on the machine only
//! adds to it. A contender is read as an application reads it, by what it was given once.

#![forbid(unsafe_code)]

mod beside;
#[cfg(feature = "launchdarkly")]
mod flags;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::RwLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use arc_swap::ArcSwap;
use datastream_client::Client;

use crate::beside::{read_beside, written_by};

const KEY: &str = "max_connections";
/// An `i64`, and not an `Option` of it.
const OR: &str = "cached get of a default";
const MANY: i64 = 1_000_000;
const SAMPLES: usize = 30;
const SAMPLE: Duration = Duration::from_millis(10);
/// How many reads there are between two looks at the clock.
const BATCH: u32 = 10_000;

fn main() -> Result<()> {
    alone();
    among_many();
    while_written();
    on_two_threads();
    #[cfg(feature = "launchdarkly")]
    flags::measure()?;
    Ok(())
}

fn alone() {
    let client = Client::fixed([(KEY, 10_i64.into())]);
    let max = client.watch::<i64>(KEY);
    let (mut cached, mut cached_or) = (max.cached(), max.clone().or(7).cached());
    let (atomic, raw, map) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64), locked_map());
    time("alone", "atomic load", || atomic.load(Ordering::Relaxed));
    time("alone", "cached get", || *cached.get());
    time("alone", OR, || *cached_or.get());
    time("alone", "ArcSwap load", || **raw.load());
    time("alone", "get", || max.get());
    time("alone", "RwLock<HashMap> get", || look_up(&map));
}

/// Of a client that holds 10^6 settings.
fn among_many() {
    let others = (1..MANY).map(|n| (format!("settings/number-{n}"), n.into()));
    let client = Client::fixed(others.chain([(KEY.to_owned(), 10_i64.into())]));
    let max = client.watch::<i64>(KEY);
    let (mut cached, mut cached_or) = (max.cached(), max.clone().or(7).cached());
    let (atomic, raw) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64));
    let among = "among 10^6 keys";
    time(among, "atomic load", || atomic.load(Ordering::Relaxed));
    time(among, "cached get", || *cached.get());
    time(among, OR, || *cached_or.get());
    time(among, "ArcSwap load", || **raw.load());
    time(among, "get", || max.get());
}

/// While another thread writes what is read 100,000 times in a second.
fn while_written() {
    let client = Client::fixed([(KEY, 10_i64.into())]);
    let max = client.watch::<i64>(KEY);
    let (mut cached, mut cached_or) = (max.cached(), max.clone().or(7).cached());
    let (atomic, raw) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64));
    // The same writer beside each: on cores that share what they calculate with, its work slows down any reader.
    let write = |n: i64| {
        client.set(KEY, n);
        raw.store(n.into());
        atomic.store(n, Ordering::Relaxed);
    };
    let written = "while written";
    written_by(write, || time(written, "atomic load", || atomic.load(Ordering::Relaxed)));
    written_by(write, || time(written, "cached get", || *cached.get()));
    written_by(write, || time(written, OR, || *cached_or.get()));
    written_by(write, || time(written, "ArcSwap load", || **raw.load()));
    written_by(write, || time(written, "get", || max.get()));
}

/// While another thread reads as well.
fn on_two_threads() {
    let client = Client::fixed([(KEY, 10_i64.into())]);
    let max = client.watch::<i64>(KEY);
    let (mut cached, mut other) = (max.cached(), max.cached());
    let [mut cached_or, mut other_or] = [0; 2].map(|default| max.clone().or(default).cached());
    let (atomic, raw, map) = (AtomicI64::new(10), ArcSwap::from_pointee(10_i64), locked_map());
    let (two, load) = ("on 2 threads", || atomic.load(Ordering::Relaxed));
    read_beside(load, || time(two, "atomic load", load));
    read_beside(|| *other.get(), || time(two, "cached get", || *cached.get()));
    read_beside(|| *other_or.get(), || time(two, OR, || *cached_or.get()));
    read_beside(|| **raw.load(), || time(two, "ArcSwap load", || **raw.load()));
    read_beside(|| max.get(), || time(two, "get", || max.get()));
    read_beside(|| look_up(&map), || time(two, "RwLock<HashMap> get", || look_up(&map)));
}

/// What many an application has: all settings behind one lock.
fn locked_map() -> RwLock<HashMap<String, i64>> {
    RwLock::new((0..1000).map(|n| (format!("settings/number-{n}"), n)).collect())
}

fn look_up(map: &RwLock<HashMap<String, i64>>) -> Option<i64> {
    map.read().ok()?.get(black_box("settings/number-500")).copied()
}

/// Measures and prints.
fn time<R>(group: &str, name: &str, mut read: impl FnMut() -> R) {
    let mut samples: Vec<f64> = (0..SAMPLES).map(|_| sample(&mut read)).collect();
    samples.sort_by(f64::total_cmp);
    println!("{group}\t{name}\t{}", samples[SAMPLES / 10]);
}

/// A function of its own for each read: what is inlined into the same one would change each other.
#[inline(never)]
fn sample<R>(read: &mut impl FnMut() -> R) -> f64 {
    let (began, mut batches) = (Instant::now(), 0_u32);
    loop {
        (0..BATCH).for_each(|_| drop(black_box(read())));
        batches += 1;
        let took = began.elapsed();
        if took > SAMPLE {
            return took.as_secs_f64() * 1e9 / f64::from(batches) / f64::from(BATCH);
        }
    }
}
