#![doc = include_str!("../README.md")]

mod bind;
#[cfg(feature = "testing")]
pub mod cache;
#[cfg(not(feature = "testing"))]
#[allow(unreachable_pub, reason = "public for tests only")]
mod cache;
mod callback;
mod cell;
mod client;
mod combine;
mod commit;
mod config;
mod declared;
mod error;
mod expiry;
mod fixed;
mod history;
mod lifecycle;
mod local;
#[cfg(feature = "open-feature")]
mod open_feature;
mod overlay;
mod prefix;
mod retry;
mod server_status;
#[cfg(feature = "testing")]
pub mod session;
#[cfg(not(feature = "testing"))]
#[allow(unreachable_pub, reason = "public for tests only")]
mod session;
mod shared;
mod snapshot;
mod status;
mod telemetry;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "testing")]
pub mod transport;
#[cfg(not(feature = "testing"))]
#[allow(unreachable_pub, reason = "public for tests only")]
mod transport;
mod update;
mod watch;
mod wire;
mod worker;
mod written;

#[cfg(feature = "open-feature")]
pub use crate::open_feature::OpenFeatureProvider;
pub use bind::BindingCheck;
pub use cache::WriteError;
pub use callback::Callback;
pub use client::{Capability, Client, ClientBuilder};
pub use combine::{Handles, combine};
pub use commit::Commit;
pub use config::Limits;
pub use datastream::position::Position;
pub use datastream::value::{Json, Text, Value, ValueError, ValueType};
pub use declared::{Declared, Key, Mismatch, Names, Setting};
pub use error::{BadCommit, CallError, Disconnect, NotAllReady, Unavailable};
pub use fixed::{Fixed, FixedValue};
pub use history::HistoryEntry;
pub use prefix::{Change, Entries};
pub use server_status::ServerStatus;
pub use snapshot::{Held, Snapshot};
pub use status::{ClientStatus, Origin, Peer, Refusal, State, Status};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use watch::{Cached, Loaded, LoadedOr, Watch, WatchOr};
pub use written::{Seen, Written};
