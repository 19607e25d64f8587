//! The reference settings server of datastream, as a library.
//!
//! [`serve`] answers the contract on any source of connections, from any [`Store`](store::Store), until it is
//! told to stop. The binary of the same name adds flags, signals and a log. For tests of applications there is
//! `testing::TestServer` (feature `testing`).
//!
//! One update goes straight through: a store commits it with its revision, [`feed`] advances [`state`] and
//! encodes the entry once, a [`subscription`] wakes and takes the range after its cursor, [`frame`] joins the
//! entries, and the service sends the message.

mod access;
mod config;
mod content_type;
mod control;
mod convert;
pub mod delivery;
mod entries;
pub mod entry;
pub mod feed;
pub mod frame;
mod gathered;
mod handshake;
mod history;
mod incoming;
mod operation;
mod registry;
mod retry;
mod serve;
mod service;
mod shared_frame;
pub mod state;
pub mod store;
pub mod stores;
mod stream;
pub mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod unserved;

pub use config::{Config, MAX_VALUE_BYTES};
pub use incoming::incoming;
pub use serve::{ServeError, serve};

/// An error and what caused it, in one line. Stores keep values out of their errors.
pub(crate) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
