//! For tests: a server in the test's own process, which misbehaves when it is told to, the conformance suite of stores,
//! and a store with faults.
//!
//! A [`TestServer`] is the real server on a real socket. What can go wrong with a server is a method of it: [`cut`],
//! [`silence`], [`delay`], [`duplicate`], [`corrupt`], [`lower_revisions`] and [`change_tokens`] last until the guard that
//! they return is dropped; [`restart`], [`compact`] and [`begin_anew`] are moments. What no server of ours would say is said
//! by a [`Script`].
//!
//! An application that shows its last value while the server is silent, and says that it is stale:
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use datastream_client::{Client, Limits, State};
//! use datastream_server::testing::TestServer;
//!
//! let server = TestServer::start().with("max_connections", 10_i64);
//! // Two of its heartbeats instead of three, so that the test is short.
//! let limits = Limits::default().idle(Duration::from_secs(2));
//! let client = Client::builder(server.url()).limits(limits).connect();
//! let max_connections = client.watch::<i64>("max_connections").or(5);
//! max_connections.watch().ready_blocking()?;
//!
//! let becomes = |value, state| {
//!     let began = Instant::now();
//!     while (max_connections.get(), max_connections.status().state) != (value, state) {
//!         assert!(began.elapsed() < Duration::from_secs(30), "not {value}, {state:?} in time");
//!         std::thread::yield_now();
//!     }
//! };
//! let silence = server.silence();
//! server.set("max_connections", 20_i64);
//! becomes(10, State::Stale); // The last value, not the default.
//! drop(silence);
//! becomes(20, State::Ready);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`cut`]: TestServer::cut
//! [`silence`]: TestServer::silence
//! [`delay`]: TestServer::delay
//! [`duplicate`]: TestServer::duplicate
//! [`corrupt`]: TestServer::corrupt
//! [`lower_revisions`]: TestServer::lower_revisions
//! [`change_tokens`]: TestServer::change_tokens
//! [`restart`]: TestServer::restart
//! [`compact`]: TestServer::compact
//! [`begin_anew`]: TestServer::begin_anew

pub mod conformance;
mod faults;
pub mod faulty;
pub mod message;
mod running;
mod script;
mod server;
mod tampering;

pub use faults::ServerFault;
pub use script::{Asked, Script, ScriptedStream};
pub use server::TestServer;
