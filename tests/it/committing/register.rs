//! Whether what was told of one key could have been told of a register that each operation meets at one moment.
//!
//! Every write expects a revision, so the writes that were made are one chain, in the order of their revisions. With that
//! order given, the check is quick: the operations have an order of their own (each write, after it those that saw what
//! it wrote), and it contradicts real time only if one was over before another began that stands before it.

use std::collections::HashMap;

/// An operation on the key, as its caller saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) start: u64,
    /// `u64::MAX`: never, where the outcome is not known.
    pub(super) end: u64,
    pub(super) kind: Kind,
}

/// What was asked, and what was told. A revision of 0: there is no such key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A write of the value `id`, which holds if the key is at `expected`.
    Write { id: u64, expected: u64, told: Told },
    /// A read that saw a revision, and the value of the write `id`.
    Read { revision: u64, id: u64 },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Made(u64),
    /// The key is elsewhere: here.
    Conflict(u64),
    /// It may have been made or not.
    Nothing,
}

/// A write that stands in the chain.
#[derive(Clone, Copy, Debug)]
struct Link {
    revision: u64,
    expected: u64,
    id: u64,
    start: u64,
    end: u64,
}

/// Checks all operations of one key, in any order. The key did not exist at first, and nobody else wrote it.
pub(super) fn check(operations: &[Operation]) -> Result<(), String> {
    let chain = chain(operations)?;
    let place: HashMap<u64, usize> =
        chain.iter().enumerate().map(|(n, link)| (link.revision, n + 1)).collect();
    let at = |revision: u64| if revision == 0 { 0 } else { place[&revision] };
    let mut order: Vec<(usize, u64, u64)> =
        chain.iter().enumerate().map(|(n, link)| (2 * n + 2, link.start, link.end)).collect();
    for operation in operations {
        let seen = match operation.kind {
            Kind::Write { told: Told::Conflict(revision), expected, .. } if revision == expected => {
                return Err(format!("told of a conflict where there is none: {operation:?}"));
            }
            Kind::Write { told: Told::Conflict(revision), .. } => revision,
            Kind::Read { revision, id } => {
                if revision != 0 && chain[at(revision) - 1].id != id {
                    return Err(format!("{operation:?} saw a value of {:?}", chain[at(revision) - 1]));
                }
                revision
            }
            Kind::Write { .. } => continue,
        };
        order.push((2 * at(seen) + 1, operation.start, operation.end));
    }
    respects_time(order)
}

/// The writes that were made: those of which it was told, and between them those of unknown outcome that somebody saw.
fn chain(operations: &[Operation]) -> Result<Vec<Link>, String> {
    let (mut made, mut open) = (HashMap::new(), HashMap::<u64, Vec<Link>>::new());
    let mut values = HashMap::new();
    for &Operation { start, end, kind } in operations {
        match kind {
            Kind::Write { id, expected, told: Told::Made(revision) } => {
                let link = Link { revision, expected, id, start, end };
                if let Some(other) = made.insert(revision, link) {
                    return Err(format!("{link:?} and {other:?} are at one revision"));
                }
            }
            Kind::Write { id, expected, told: Told::Nothing } => {
                open.entry(expected).or_default().push(Link { revision: 0, expected, id, start, end });
            }
            Kind::Read { revision, id } => drop(values.insert(revision, id)),
            Kind::Write { .. } => {}
        }
    }
    let mut chain: Vec<Link> = Vec::new();
    for revision in seen(operations) {
        let before = chain.last().map_or(0, |link| link.revision);
        let link = match made.get(&revision) {
            Some(link) => *link,
            None => {
                // The one that was read; else the earliest, which real time forbids least.
                let candidates = open.get(&before).into_iter().flatten();
                let fitting = candidates.filter(|link| values.get(&revision).is_none_or(|id| *id == link.id));
                let link = fitting.min_by_key(|link| link.start);
                Link {
                    revision,
                    ..*link.ok_or_else(|| format!("nobody can have written revision {revision}"))?
                }
            }
        };
        if link.expected != before {
            return Err(format!("the key was at {before}: {link:?}"));
        }
        chain.push(link);
    }
    Ok(chain)
}

/// Every revision that anybody was told of, ascending.
fn seen(operations: &[Operation]) -> Vec<u64> {
    let revisions = operations.iter().flat_map(|operation| match operation.kind {
        Kind::Write { expected, told: Told::Made(revision) | Told::Conflict(revision), .. } => {
            [expected, revision]
        }
        Kind::Write { expected, told: Told::Nothing, .. } => [expected, 0],
        Kind::Read { revision, .. } => [revision, 0],
    });
    let mut revisions: Vec<u64> = revisions.filter(|revision| *revision > 0).collect();
    revisions.sort_unstable();
    revisions.dedup();
    revisions
}

/// Checks intervals with the place that each has: what has one place may stand in any order.
fn respects_time(mut order: Vec<(usize, u64, u64)>) -> Result<(), String> {
    order.sort_unstable();
    // The latest start of all earlier places, and of this place as well.
    let (mut earlier, mut latest, mut current) = (0, 0, 0);
    for (place, start, end) in order {
        if place != current {
            (earlier, current) = (latest, place);
        }
        if end < earlier {
            return Err(format!(
                "what was over at {end} stands behind what began at {earlier} (place {place})"
            ));
        }
        latest = latest.max(start);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
