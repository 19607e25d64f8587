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
//! - [`Watch`] is the handle of one setting.
//! - [`Status`] says how fresh what is read is, and [`Peer`] what can be known of the server that is followed.
//! - A setting may be of any type that is a [`Value`]: numbers, `bool`, `String`, `Duration`, [`Json`], [`Text`],
//!   or a type of the application.
//!
//! The client keeps the last good value of each setting, whatever happens to the server, the network or the
//! value; it never panics, and it never gives up.

#[cfg(feature = "testing")]
pub mod cache;
#[cfg(not(feature = "testing"))]
#[allow(unreachable_pub, reason = "public for tests only")]
mod cache;
mod cell;
mod client;
mod config;
mod error;
mod local;
mod overlay;
mod retry;
#[cfg(feature = "testing")]
pub mod session;
#[cfg(not(feature = "testing"))]
#[allow(unreachable_pub, reason = "public for tests only")]
mod session;
mod shared;
mod snapshot;
mod status;
#[cfg(feature = "testing")]
pub mod transport;
#[cfg(not(feature = "testing"))]
#[allow(unreachable_pub, reason = "public for tests only")]
mod transport;
mod watch;
mod worker;

pub use cache::WriteError;
pub use client::{Capability, Client, ClientBuilder, Seen, Written};
pub use config::Limits;
pub use datastream::position::Position;
pub use datastream::value::{Json, Text, Value, ValueError, ValueType};
pub use error::{CallError, Disconnect, Unavailable};
pub use snapshot::{Held, Snapshot};
pub use status::{ClientStatus, Origin, Peer, Refusal, State, Status};
pub use watch::{Loaded, LoadedOr, Watch, WatchOr};
