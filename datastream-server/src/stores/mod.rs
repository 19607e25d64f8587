//! The stores that this server brings: each module is one implementation of [`Store`](crate::store::Store).
//!
//! - [`memory`]: in this process, for tests and for settings that another system writes at start;
//! - [`sqlite`]: a table in a SQLite file, durable, and open to other writers.

pub mod memory;

pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub mod sqlite;
