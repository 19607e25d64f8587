//! The check itself: it takes what a register could have said, and nothing else.

use super::{Kind, Operation, Told, check};

const NEVER: u64 = u64::MAX;

fn write(start: u64, end: u64, id: u64, expected: u64, told: Told) -> Operation {
    Operation { start, end, kind: Kind::Write { id, expected, told } }
}

fn read(start: u64, end: u64, revision: u64, id: u64) -> Operation {
    Operation { start, end, kind: Kind::Read { revision, id } }
}

/// Writes 2, 5 and 9 overlap with reads and a conflict; one of unknown outcome was made, another was not.
fn good() -> Vec<Operation> {
    vec![
        read(0, 3, 0, 0),
        write(1, 4, 1, 0, Told::Made(2)),
        read(2, 9, 2, 1),
        write(5, NEVER, 2, 2, Told::Nothing),
        write(5, NEVER, 3, 2, Told::Nothing),
        read(6, 8, 2, 1),
        read(6, 10, 5, 3),
        write(6, 20, 4, 2, Told::Conflict(5)),
        write(11, 15, 5, 5, Told::Made(9)),
        write(12, NEVER, 6, 9, Told::Nothing),
        read(12, 30, 5, 3),
        read(14, 30, 9, 5),
    ]
}

#[test]
fn what_a_register_says_is_accepted_in_any_order() {
    let mut history = good();
    for _ in 0..100 {
        check(&history).expect("it is a register");
        fastrand::shuffle(&mut history);
    }
    check(&[]).expect("nothing was said");
}

/// Each breaks the good history by what it says.
#[test]
fn what_no_register_says_is_rejected() {
    for (what, bad) in [
        ("a lost update: two writes expected the same", write(16, 18, 7, 5, Told::Made(10))),
        ("a stale read", read(16, 18, 5, 3)),
        ("a stale conflict", write(16, 18, 7, 2, Told::Conflict(5))),
        ("a read before anybody wrote it", read(0, 4, 5, 3)),
        ("a key that is gone again", read(20, 22, 0, 0)),
        ("a value of another revision", read(20, 22, 9, 4)),
        ("one revision twice", write(16, 18, 7, 5, Told::Made(9))),
        ("a conflict that is none", write(16, 18, 7, 9, Told::Conflict(9))),
        ("a revision that nobody wrote", write(16, 18, 7, 9, Told::Conflict(11))),
        ("a write that expected what never was", write(16, 18, 7, 6, Told::Made(12))),
    ] {
        let mut history = good();
        history.push(bad);
        // The last one could have written anything that comes after 9.
        history.retain(|operation| !matches!(operation.kind, Kind::Write { id: 6, .. }));
        assert!(check(&history).is_err(), "{what}: {bad:?}");
    }
}

/// The chain is whole; it is only that the second was over before the first began, or seen before it began.
#[test]
fn an_order_against_real_time_is_rejected() {
    let first = write(10, 20, 1, 0, Told::Made(2));
    check(&[first, write(1, 10, 2, 2, Told::Made(3))]).expect("they may be at one moment");
    assert!(check(&[first, write(1, 9, 2, 2, Told::Made(3))]).is_err());
    let unknown = write(30, NEVER, 2, 2, Told::Nothing);
    check(&[first, unknown, read(25, 30, 3, 2)]).expect("they may be at one moment");
    assert!(check(&[first, unknown, read(25, 29, 3, 2)]).is_err());
}

/// Registers in one thread, whose operations are made somewhere in their intervals, are all accepted; and each of them
/// is rejected once one of its reads is made to see what was overwritten before it began.
#[test]
fn random_registers_are_accepted_and_their_stale_reads_are_not() {
    for seed in 0..200 {
        let mut history = random(&mut fastrand::Rng::with_seed(seed));
        check(&history).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let first = history.iter().find_map(|operation| match operation.kind {
            Kind::Write { id, told: Told::Made(revision), .. } => Some((revision, id)),
            _ => None,
        });
        let (revision, id) = first.expect("one was made");
        history.push(read(100_000, 100_001, revision, id));
        assert!(check(&history).is_err(), "seed {seed}");
    }
}

fn random(rng: &mut fastrand::Rng) -> Vec<Operation> {
    let (mut revisions, mut value, mut history) = (vec![0], 0, Vec::new());
    for id in 1..200 {
        let now = 100 * id;
        let (start, end) = (now - rng.u64(..100), now + rng.u64(..300));
        let at = *revisions.last().expect("it begins with one");
        let expected = revisions[rng.usize(..revisions.len())];
        history.push(match rng.u8(..6) {
            0 | 1 => read(start, end, at, value),
            2 if expected != at => write(start, end, id, expected, Told::Conflict(at)),
            3 if expected != at => write(start, NEVER, id, expected, Told::Nothing),
            kind => {
                revisions.push(at + rng.u64(1..4));
                let made = Told::Made(revisions[revisions.len() - 1]);
                value = id;
                let (told, end) = if kind == 4 { (Told::Nothing, NEVER) } else { (made, end) };
                write(start, end, id, at, told)
            }
        });
    }
    history
}
