//! Waiting for what another process does.

use std::time::{Duration, Instant};

/// How long anything of a test may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until there is something to return; fails the test when the deadline passes.
pub(crate) fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "took too long: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
