//! Cells under threads: what readers see while the worker publishes. Without IO and small, so that miri runs them.

use std::sync::Arc;
use std::thread;

use super::{AnyCell, Cell, Fixed};
use crate::error::Unavailable;

/// How often the worker publishes; miri takes a thousand times as long.
const ROUNDS: u64 = if cfg!(miri) { 50 } else { 20_000 };

type Two = Cell<(u64, Box<u64>)>;

fn cell() -> Arc<Two> {
    Arc::new(Cell::new(Arc::from("k"), Fixed, None))
}

/// Publishes values with halves that are equal, and now and then that there is none.
fn publish(cell: &Two) {
    for round in 1..=ROUNDS {
        match round % 7 {
            0 => cell.absent(Unavailable::Missing { key: "k".to_owned() }),
            1 => cell.restamp(|report| report.revision = Some(round)),
            _ => cell.accept((round, Box::new(round)), |report| report.revision = Some(round)),
        }
    }
    cell.accept((ROUNDS + 1, Box::new(ROUNDS + 1)), |_| {});
}

#[test]
fn readers_see_whole_values_in_order_while_they_are_replaced() {
    let cell = cell();
    let read = || {
        let mut last = 0;
        while last <= ROUNDS {
            let value = cell.value.load();
            let Some(value) = value.as_ref() else { continue };
            assert_eq!(value.0, *value.1, "a value is torn");
            assert!(value.0 >= last, "{} came after {last}", value.0);
            last = value.0;
        }
    };
    thread::scope(|scope| {
        scope.spawn(read);
        scope.spawn(read);
        publish(&cell);
    });
}

#[test]
fn a_value_that_is_held_outlives_the_cell() {
    let cell = cell();
    let held = thread::scope(|scope| {
        let holding = scope.spawn(|| {
            loop {
                if let Some(value) = cell.value.load_full() {
                    return value;
                }
                thread::yield_now();
            }
        });
        publish(&cell);
        holding.join().expect("it holds a value")
    });
    drop(cell);
    assert_eq!(held.0, *held.1);
}

#[test]
fn a_value_is_there_before_its_version() {
    let cell = cell();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut version = 0;
            while version < ROUNDS {
                version = cell.version();
                let shown = cell.value.load().as_ref().map_or(0, |value| value.0);
                assert!(shown >= version, "version {version} shows {shown}");
            }
        });
        (1..=ROUNDS).for_each(|round| cell.accept((round, Box::new(round)), |_| {}));
    });
}
