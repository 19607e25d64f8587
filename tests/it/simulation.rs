//! The client and the server that ship, in a network that is not there.
//!
//! One seed makes one run: two servers on one store, or one of them on a replica that lags, and some clients, in
//! virtual time on one thread. The network delays, loses, holds and parts; servers and clients crash and come back;
//! the store fails, forgets, and goes back to older copies. The truth and the laws are those of the [model](crate::model);
//! here they are checked from outside, on what applications see. At the end all faults are over, and every client must show what
//! the store holds.
//!
//! Each seed runs twice, and what was noted must be the same. So a run is a process of its own, in which nothing is random that
//! the seed does not say (`chance.c`).
//!
//! `DATASTREAM_SEEDS` says how many seeds to run; `DATASTREAM_SEED` runs one of them, with what was noted.

mod action;
mod app;
mod chance;
mod counts;
mod fault;
mod host;
mod laws;
mod line;
mod operator;
mod run;
mod stage;
mod store;
mod write;

use std::collections::BTreeMap;
use std::env;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use chance::{Chance, Said};
use counts::Happening;
use run::Run;

/// How many seeds the gate runs.
const SEEDS: u64 = 300;
/// How many runs there are at a time.
const AT_A_TIME: usize = 2;

const NAME: &str = "simulation::every_seed_keeps_the_laws_and_converges_and_is_the_same_twice";

#[test]
fn every_seed_keeps_the_laws_and_converges_and_is_the_same_twice() {
    if let Some(seed) = number(chance::INSIDE) {
        return Run::new(seed, env::var_os(chance::SHOWN).is_some()).run();
    }
    let chance = match Chance::take_away() {
        Ok(chance) => chance,
        Err(why) => {
            let line = format!("\nskipped: {NAME}: {why}\n");
            return std::io::stderr().write_all(line.as_bytes()).expect("there is a stderr");
        }
    };
    if let Some(seed) = number("DATASTREAM_SEED") {
        return print!("{}", chance.run(NAME, seed, true).expect("the seed keeps the laws").text);
    }
    let seeds = number("DATASTREAM_SEEDS").unwrap_or(SEEDS);
    let counts = run_all(&chance, seeds);
    println!("{seeds} seeds, each twice: {}", counts::shown(&counts));
    let missing = Happening::ALL.iter().filter(|happening| !counts.contains_key(&happening.to_string()));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty() || seeds < SEEDS, "never came about: {missing:?}");
}

/// Runs each seed twice. Returns how often what came about, over all of them.
fn run_all(chance: &Chance, seeds: u64) -> BTreeMap<String, u64> {
    let next = AtomicU64::new(0);
    let runner = || {
        let mut counts = BTreeMap::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return counts;
            }
            let said = twice(chance, seed);
            for (what, count) in said.counts() {
                *counts.entry(what).or_insert(0) += count;
            }
        }
    };
    let mut counts = BTreeMap::new();
    thread::scope(|scope| {
        let runners: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(runner)).collect();
        for runner in runners {
            for (what, count) in runner.join().expect("every seed keeps the laws") {
                *counts.entry(what).or_insert(0) += count;
            }
        }
    });
    counts
}

fn twice(chance: &Chance, seed: u64) -> Said {
    let reproduce = format!("DATASTREAM_SEED={seed} cargo test --test it simulation:: -- --nocapture");
    let run = || {
        chance.run(NAME, seed, false).unwrap_or_else(|_| {
            let shown = chance.run(NAME, seed, true).map_or_else(|text| text, |said| said.text);
            panic!("a law is broken; to see it again: {reproduce}\n{shown}")
        })
    };
    let (said, again) = (run(), run());
    assert_eq!(said.text, again.text, "two runs of one seed differ: {reproduce}");
    said
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
