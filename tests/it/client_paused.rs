//! The client over a transport that the test answers, in time that stands still until everybody waits.

mod bind;
mod cached;
mod calls;
mod check;
mod combine;
mod commits;
mod declared;
mod files;
mod freshness;
mod handles;
mod history;
mod kept;
mod keys;
mod lifecycle;
mod map;
mod open_feature;
mod original;
mod overrides;
mod prefix;
mod scenarios;
mod status;
mod telemetry;
mod updates;

use std::time::Duration;

/// Lets time pass. Whatever is due until then has happened when this returns.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Lets everything happen that needs no time.
async fn settle() {
    pass(Duration::from_millis(1)).await;
}
