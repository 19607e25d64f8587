//! A mirror that is killed at any moment: the directory is always one whole state.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datastream_client::Client;
use datastream_server::testing::TestServer;

use super::running::{Mirror, Place, await_that};

/// How many keys change together.
const KEYS: usize = 1_000;

/// Between two commits, and between two readings: the mirror needs the processor too.
const PAUSE: Duration = Duration::from_millis(100);

/// So that the test takes a minute at most, however slow the disk is.
const LONGEST_LIFE: Duration = Duration::from_millis(600);

/// How often the mirror is killed: `DATASTREAM_KILLS`, or the size of the gate.
fn kills() -> usize {
    std::env::var("DATASTREAM_KILLS").map_or(50, |kills| kills.parse().expect("DATASTREAM_KILLS is a number"))
}

/// What the reader and the writer did so far.
#[derive(Default)]
struct Tally {
    is_over: AtomicBool,
    /// The newest number that was committed.
    committed: AtomicU64,
    /// How many whole states were read, and of how many different numbers.
    reads: AtomicU64,
    numbers: AtomicU64,
    /// How many were removed while they were read.
    overtaken: AtomicU64,
}

#[test]
fn a_killed_mirror_leaves_one_whole_state() {
    let server = TestServer::start();
    let (place, tally) = (Place::new(), Tally::default());
    let client = Client::builder(server.url()).own_thread().connect();
    commit(&client, 1);
    std::thread::scope(|scope| {
        // Whatever fails here ends the others as well.
        let _over = Over(&tally);
        scope.spawn(|| write(&client, &tally));
        scope.spawn(|| read_all(&place, &tally));
        // Until its first whole state is there, there is nothing to read.
        let began = Instant::now();
        let mirror = Mirror::start(&place, &server.url(), &[]);
        await_that("the first state", || place.dir().exists());
        let usual = began.elapsed();
        mirror.kill();
        for round in 0..kills() {
            let before = fs::read_link(place.dir()).expect("it is there");
            let mirror = Mirror::start(&place, &server.url(), &[]);
            // Every fifth one lives to show a state, however slow the disk is, and is killed some time after.
            if round % 5 == 0 {
                await_that("another state", || fs::read_link(place.dir()).is_ok_and(|now| now != before));
            }
            std::thread::sleep(moment(usual));
            mirror.kill();
            assert!(whole(&place).is_some(), "nobody overtakes a reader now");
        }
        tally.is_over.store(true, Ordering::Relaxed);
    });
    let _mirror = Mirror::start(&place, &server.url(), &[]);
    let newest = tally.committed.load(Ordering::Relaxed);
    await_that("the last state", || whole(&place) == Some(newest));
    place.settles(2);
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} kills, {newest} commits of {KEYS} keys: {} whole states read, of {} numbers; {} removed meanwhile",
        kills(),
        read(&tally.reads),
        read(&tally.numbers),
        read(&tally.overtaken),
    );
    assert!(read(&tally.numbers) > kills() as u64 / 10, "the directory has hardly changed");
}

/// Ends the threads, however the test ends.
struct Over<'a>(&'a Tally);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// A moment in the life of a mirror, which usually takes so long to show a state.
fn moment(usual: Duration) -> Duration {
    usual.mul_f64(1.5).min(LONGEST_LIFE).mul_f64(fastrand::f64())
}

fn commit(client: &Client, number: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let commit = (0..KEYS).fold(client.commit(), |commit, key| {
        commit.put(format!("configs/{}/{key:03}", key % 10), i64::try_from(number).expect("it is small"))
    });
    runtime.block_on(commit.send()).expect("the server takes it");
}

/// All keys change together, again and again.
fn write(client: &Client, tally: &Tally) {
    tally.committed.store(1, Ordering::Relaxed);
    while !tally.is_over.load(Ordering::Relaxed) {
        let next = tally.committed.load(Ordering::Relaxed) + 1;
        commit(client, next);
        tally.committed.store(next, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}

fn read_all(place: &Place, tally: &Tally) {
    let _over = Over(tally);
    await_that("the first state", || place.dir().exists());
    let mut last = 0;
    while !tally.is_over.load(Ordering::Relaxed) {
        match whole(place) {
            Some(number) => {
                assert!(number >= last, "it went back from {last} to {number}");
                tally.reads.fetch_add(1, Ordering::Relaxed);
                tally.numbers.fetch_add(u64::from(number != last), Ordering::Relaxed);
                last = number;
            }
            None => _ = tally.overtaken.fetch_add(1, Ordering::Relaxed),
        }
        std::thread::sleep(PAUSE);
    }
}

/// The number that every file has, for a reader who resolves the directory once. `None` if that version was removed
/// meanwhile, as it is when two others have come after it.
fn whole(place: &Place) -> Option<u64> {
    let target = fs::read_link(place.dir()).expect("it is always there");
    let version = place.folder().join(&target);
    let mut numbers = Vec::with_capacity(KEYS);
    if let Err(error) = numbers_in(&version, &mut numbers) {
        let now = fs::read_link(place.dir()).expect("it is always there");
        assert_ne!(now, target, "{error}, and it is still led to");
        return None;
    }
    if numbers.len() < KEYS && fs::read_link(place.dir()).expect("it is always there") != target {
        return None;
    }
    let first = *numbers.first().expect("it is never empty");
    let others: Vec<_> = numbers.iter().filter(|number| **number != first).collect();
    assert_eq!((numbers.len(), others.len()), (KEYS, 0), "{} files, {first} and {others:?}", numbers.len());
    Some(first)
}

fn numbers_in(folder: &Path, numbers: &mut Vec<u64>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            numbers_in(&entry.path(), numbers)?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            numbers.push(text.parse().unwrap_or_else(|_| panic!("`{text}` is no number of a whole file")));
        }
    }
    Ok(())
}
