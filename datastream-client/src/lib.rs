//! Live, typed settings: an application reads a setting, and it is simply right now.
//!
//! ```no_run
//! use datastream_client::Client;
//!
//! # let url = "http://127.0.0.1:8080";
//! let cfg = Client::connect(url).watch::<i64>("max_connections");
//! // ... anywhere, as often as needed: no lock, no allocation, some nanoseconds.
//! let max = cfg.get();
//! ```
//!
//! - [`Client`] connects, reconnects, writes, and takes [`Snapshot`]s.
//! - [`Watch`] is the handle of one setting, and of what is made of several of one commit: a struct
//!   ([`Client::bind`]), a map of all keys below a prefix ([`Client::watch_prefix`]), other handles ([`combine`](fn@combine)).
//! - [`Status`] says how fresh what is read is, and [`Peer`] what can be known of the server that is followed.
//! - A setting may be of any type that is a [`Value`]: numbers, `bool`, `String`, `Duration`, [`Json`], [`Text`],
//!   or a type of the application.
//!
//! - [`Client::commit`] changes several settings together and under conditions, [`Client::update`] one in the light of what
//!   it is; [`Client::history`] says what was changed.
//! - A [`Key`] declares a setting with its default, beside its use; [`Client::check`] compares all of them with the server.
//! - [`Watch::map`] computes once for each change, [`Watch::on_change`] calls a function for each, and
//!   [`Watch::max_age`] prefers no value to an old one.
//! - [`Client::fixed`] is a client without a server, for tests.
//!
//! With the feature `open-feature`, the settings below a prefix are feature flags of OpenFeature: `OpenFeatureProvider`.
//!
//! With the feature `metrics`, a client counts through the facade of that name, without labels:
//!
//! | metric | what it is |
//! |---|---|
//! | `datastream_client_state` | the state of the client: 0 not ready, 1 ready, 2 stale, 4 fatal |
//! | `datastream_client_staleness_seconds` | its age, whenever it does something: at each message, and each attempt to reconnect |
//! | `datastream_client_reconnects_total` | how often it followed its server again after it had lost it |
//! | `datastream_client_decode_errors_total` | how many values handles could not use |
//!
//! The client keeps the last good value of each setting, whatever happens to the server, the network or the
//! value; it never panics, and it never gives up.

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
#[cfg(feature = "testing")]
pub mod transport;
#[cfg(not(feature = "testing"))]
#[allow(unreachable_pub, reason = "public for tests only")]
mod transport;
mod update;
mod watch;
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
pub use watch::{Cached, Loaded, LoadedOr, Watch, WatchOr};
pub use written::{Seen, Written};
