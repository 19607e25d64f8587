//! Ports that stay free while who listens there is down.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the system gives to whoever asks for any: a port that it gives away while a server is down is no
/// longer there when the server comes back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of this machine on which nobody listens, and that this process returns once.
pub(crate) fn free() -> u16 {
    // Test programs that run side by side look in different places.
    let start = std::process::id().wrapping_mul(101);
    let mut ports = std::iter::repeat_with(|| {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into()) % u32::from(COUNT);
        FIRST + u16::try_from(offset).expect("it is less than the count")
    });
    let free = ports.by_ref().take(COUNT.into()).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a port is free")
}
