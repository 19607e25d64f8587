//! The machines that ship, against a small model.
//!
//! The client's session and handles on one side, the server's feed, state and subscription on the other, joined
//! by channels that delay, lose and end. One seed makes one history, in virtual time: commits, deletions,
//! compactions, backups that are restored, replicas that lag, servers that come and go, keys that are watched
//! and not watched any more. At each step the laws are checked against a list of all committed states; at the end
//! of each history all is quiet, and the client must hold what the store holds.
//!
//! `DATASTREAM_HISTORIES` says how many histories to run; `DATASTREAM_SEED` runs one of them, with a trace.

mod action;
mod call;
mod channel;
mod client;
mod counts;
mod fate;
mod history;
pub(crate) mod laws;
pub(crate) mod oracle;
mod server;
pub(crate) mod store;

use std::env;

use counts::Counts;
use history::History;

/// How many histories the gate runs.
const HISTORIES: u64 = 20_000;

#[test]
fn every_history_keeps_the_laws_and_converges() {
    if let Some(seed) = number("DATASTREAM_SEED") {
        run(seed, true, &mut Counts::default());
        return;
    }
    let mut counts = Counts::default();
    let histories = number("DATASTREAM_HISTORIES").unwrap_or(HISTORIES);
    (0..histories).for_each(|seed| run(seed, false, &mut counts));
    println!("{counts}");
    counts.check();
}

fn run(seed: u64, traced: bool, counts: &mut Counts) {
    let _named = Named(seed);
    counts.add(History::new(seed, traced).run());
}

/// Names the history that breaks a law.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("a law is broken; to see the history: DATASTREAM_SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
