//! What goes on while a read is measured.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The time between two writes: 100,000 in a second.
const PACE: Duration = Duration::from_micros(10);

/// Measures while another thread writes.
pub fn written_by(write: impl Fn(i64) + Send, measure: impl FnOnce()) {
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
pub fn read_beside<R>(mut read: impl FnMut() -> R + Send, measure: impl FnOnce()) {
    beside(measure, move |goes_on| {
        while goes_on() {
            (0..1000).for_each(|_| drop(black_box(read())));
        }
    });
}

fn beside(measure: impl FnOnce(), work: impl FnOnce(&dyn Fn() -> bool) + Send) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| work(&|| !is_over.load(Ordering::Relaxed)));
        measure();
        is_over.store(true, Ordering::Relaxed);
    });
}
