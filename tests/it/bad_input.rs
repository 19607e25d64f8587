//! What bad input gets: the stated code with its details, through a real socket, and never the value.
//!
//! Each row of the tables is one case. After each group the server is asked again: it still serves.

mod flood;
mod keys;
pub(crate) mod raw;
mod requests;
mod transport;
mod values;

use std::sync::Arc;

use datastream_server::Config;
use datastream_server::testing::TestServer;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::captured_log;
use crate::faulty_store::FaultyStore;
use crate::wire::Wire;

/// What no error text and no log may contain.
pub(crate) const MARKER: &str = "zq3marker9";

async fn server() -> (TestServer, Arc<FaultyStore>, Wire) {
    captured_log::capture();
    let store = FaultyStore::new();
    let server = TestServer::start_with(store.clone(), Config::default());
    let wire = Wire::to(&server.url()).await;
    (server, store, wire)
}

async fn assert_serves(wire: &Wire) {
    wire.push_int("serves", fastrand::i64(..)).await;
}

/// Checks that `status` says INVALID_ARGUMENT and names `field`; a text that names the field of a list may
/// name the place as well.
pub(crate) fn assert_invalid(case: &str, status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{case}: {status:?}");
    let details = status.get_details_bad_request().unwrap_or_else(|| panic!("{case}: no BadRequest"));
    let violation = details.field_violations.first().unwrap_or_else(|| panic!("{case}: no violation"));
    assert_eq!(violation.field, field, "{case}: {}", violation.description);
    assert!(!violation.description.is_empty(), "{case}: a rule is named");
}

/// Checks that an error shows nothing of `hidden`, neither in its text nor in its details.
pub(crate) fn assert_hides(case: &str, status: &Status, hidden: &[u8]) {
    for place in [status.message().as_bytes(), status.details()] {
        let shows = place.windows(hidden.len()).any(|window| window == hidden);
        assert!(!shows, "{case}: the value is echoed: {status:?}");
    }
}

pub(crate) fn assert_not_logged(hidden: &str) {
    let lines = captured_log::lines_with(hidden);
    assert!(lines.is_empty(), "{lines:#?}");
}
