//! A crowd writes one table: sixteen programs that know nothing of us, and two servers. What they commit is one history,
//! for clients that hop from one server to the other, and whatever ends meanwhile.
//!
//! `DATASTREAM_COMMITS` and `DATASTREAM_ROUNDS` say how much is done; without them it is what the gate does.
//! `DATASTREAM_SEED` repeats what each of the crowd tries, but not who comes first.

mod faults;
mod held;
mod ledger;
mod member;
mod observer;
mod scene;
mod serializable;
mod switch;
mod tally;
mod transaction;
mod watcher;
mod writer;

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::scene::Scene;
use self::watcher::Watcher;

/// How long to wait before something is tried again.
const RETRY: Duration = Duration::from_millis(2);
/// How many commits a round of faults has.
const ROUND: usize = 320;
/// How often an application is sent to the other server: after each time its client waits longer before it connects.
const HOPS: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crowd_commits_is_one_history_without_a_gap_and_reaches_every_client() {
    let (began, seed) = (Instant::now(), seed());
    let mut scene = Scene::start(seed, size("DATASTREAM_COMMITS", 5000)).await;
    let [one, other] = scene.urls();
    let watchers = [Watcher::start(&one).await, Watcher::start(&other).await];
    let mut writers = scene.write(false);
    for hop in 1..=HOPS {
        let commits = scene.total() * hop / (HOPS + 1);
        while_writing(&mut writers, scene.tally.reaches(commits)).await;
        let urls = if hop % 2 == 0 { [&one, &other] } else { [&other, &one] };
        watchers.iter().zip(urls).for_each(|(watcher, url)| watcher.hop(url));
    }
    let total = scene.total();
    while_writing(&mut writers, scene.tally.reaches(total)).await;
    let table = scene.check().await;
    ledger::check_once(&scene.database, total, scene.tally.unanswered.get());
    for watcher in watchers {
        watcher.shows(&table).await;
    }
    let circles = ledger::check_deadlocks(&scene.database);
    println!("{}, {circles} deadlocks in the log of the database, {:.1?}", scene.tally, began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crowd_commits_is_one_history_whatever_ends_meanwhile() {
    let (began, seed, rounds) = (Instant::now(), seed(), size("DATASTREAM_ROUNDS", 5));
    let mut scene = Scene::start(seed, rounds * ROUND).await;
    let mut writers = scene.write(true);
    let faults = faults::sequence(&mut scene.rng, rounds);
    for (round, fault) in faults.into_iter().enumerate() {
        let moment = round * ROUND + scene.rng.usize(..ROUND);
        while_writing(&mut writers, scene.tally.reaches(moment as u64)).await;
        fault.strike(&mut scene);
    }
    let total = scene.total();
    while_writing(&mut writers, scene.tally.reaches(total)).await;
    scene.check().await;
    let circles = ledger::check_deadlocks(&scene.database);
    println!(
        "{rounds} faults, {}, {circles} deadlocks in the log of the database, {:.1?}",
        scene.tally,
        began.elapsed()
    );
}

/// Waits for what the writers come to, and fails where one of them does.
async fn while_writing(writers: &mut JoinSet<()>, reached: impl Future<Output = ()>) {
    let mut reached = std::pin::pin!(reached);
    loop {
        tokio::select! {
            biased;
            Some(ended) = writers.join_next() => ended.expect("a writer keeps its laws"),
            () = &mut reached => return,
        }
    }
}

/// The size of a test: what the environment says, or what the gate does.
fn size(variable: &str, gate: usize) -> usize {
    std::env::var(variable)
        .map_or(gate, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Printed, so that a test that failed can be repeated.
fn seed() -> u64 {
    let seed = std::env::var("DATASTREAM_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("DATASTREAM_SEED is a number"));
    println!("DATASTREAM_SEED={seed}");
    seed
}
