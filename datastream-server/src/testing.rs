//! For tests: a server in the test's own process, the conformance suite of stores, and a store with faults.

pub mod conformance;
pub mod faulty;
mod server;

pub use server::TestServer;
