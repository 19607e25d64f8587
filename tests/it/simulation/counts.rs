//! How often what the runs are about came about.

use std::collections::BTreeMap;
use std::fmt;

/// What must have come about for the runs to prove anything: each class of fault, and each outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A client and a server did not reach each other.
    Partition,
    /// One of them did not reach the other.
    OneWay,
    /// What was between them was held, and let go.
    Hold,
    /// Some of it was lost.
    Loss,
    /// It was slow.
    Latency,
    /// A connection was reset.
    Torn,
    /// A client took nothing from its connections.
    Stalled,
    /// A server crashed.
    ServerCrash,
    /// A server was stopped, and told its clients.
    Drain,
    /// A client crashed, and came back.
    ClientCrash,
    /// The store could not be read.
    StoreOut,
    /// It was slow.
    StoreSlow,
    /// Its doorbell was not heard.
    BellLost,
    /// It told of a commit without being asked.
    Told,
    /// A commit was made, and its answer lost.
    AnswerLost,
    /// The store forgot a deletion.
    Compaction,
    /// The store went back to an older copy, or another one took its place.
    Restore,
    /// The replica followed, or not all the way.
    Replicated,
    /// Several values of which no two fit in one message.
    Large,
    /// A client showed a first state.
    FirstState,
    /// A client showed a newer state of the same history.
    Advance,
    /// A client went on over a new connection with the state that it had.
    Resume,
    /// A client went to another history, or back.
    Reset,
    /// A client went on with another server.
    Failover,
    /// A key joined beside others that were followed already.
    LateWatch,
    /// A key was watched no more, beside others.
    Unwatch,
    /// A client said that it is stale.
    Stale,
    /// A handle kept its last good value.
    LastGood,
    /// A write was acknowledged, and shown by its client.
    Acknowledged,
    /// A write was acknowledged, and its client did not show it in time.
    NotYetSeen,
    /// A write was refused for its conditions.
    Refused,
    /// Of a write it is not known whether it was made.
    Unknown,
    /// The servers were asked what is left at the end.
    LetGo,
}

use Happening::*;

impl Happening {
    pub(super) const ALL: [Self; 33] = [
        Partition,
        OneWay,
        Hold,
        Loss,
        Latency,
        Torn,
        Stalled,
        ServerCrash,
        Drain,
        ClientCrash,
        StoreOut,
        StoreSlow,
        BellLost,
        Told,
        AnswerLost,
        Compaction,
        Restore,
        Replicated,
        Large,
        FirstState,
        Advance,
        Resume,
        Reset,
        Failover,
        LateWatch,
        Unwatch,
        Stale,
        LastGood,
        Acknowledged,
        NotYetSeen,
        Refused,
        Unknown,
        LetGo,
    ];
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The counts in a line.
pub(super) fn shown(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
    counts.join(", ")
}
