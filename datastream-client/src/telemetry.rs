//! What a client counts, through the `metrics` facade: without the feature `metrics`, nothing.
//!
//! No metric names a key, a value or an address. Several clients of one process share them: a gauge then shows the
//! one that spoke last. What they are is said at the crate root.

use crate::shared::Shared;
use crate::status::State;

/// Shows the state of the client, and counts a return to its server.
#[cfg(feature = "metrics")]
pub(crate) fn changed(from: State, to: State) {
    let number = match to {
        State::NotReady => 0,
        State::Ready => 1,
        State::Stale => 2,
        State::Error => 3,
        State::Fatal => 4,
    };
    metrics::gauge!("datastream_client_state").set(number);
    if to == State::Ready && from != State::NotReady {
        metrics::counter!("datastream_client_reconnects_total").increment(1);
    }
}

/// Shows how old what is read may be.
#[cfg(feature = "metrics")]
pub(crate) fn age(shared: &Shared) {
    if let Some(age) = shared.age() {
        metrics::gauge!("datastream_client_staleness_seconds").set(age.as_secs_f64());
    }
}

/// Counts a value that a handle could not use.
#[cfg(feature = "metrics")]
pub(crate) fn refused() {
    metrics::counter!("datastream_client_decode_errors_total").increment(1);
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn changed(_: State, _: State) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn age(_: &Shared) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn refused() {}
