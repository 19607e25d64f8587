//! For tests: a server in the test's own process, and the conformance suite of stores.

pub mod conformance;
mod server;

pub use server::TestServer;
