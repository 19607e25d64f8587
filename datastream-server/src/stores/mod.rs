//! The stores that this server brings: each module is one implementation of [`Store`](crate::store::Store).
//!
//! - [`memory`]: in this process, for tests and for settings that another system writes at start;
//! - [`sqlite`]: a table in a SQLite file, durable, and open to other writers;
//! - `git` (feature `git`): a branch of a git repository, on this machine or elsewhere;
//! - `postgres` (feature `postgres`): a table in a PostgreSQL database, served by as many servers as there are.

#[cfg(feature = "git")]
pub mod git;
pub mod memory;

pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
mod polled;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod range;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sweep;
#[cfg(any(feature = "directory", feature = "git"))]
mod types_file;
