//! The stores that this server brings: each module is one implementation of [`Store`](crate::store::Store).
//!
//! - [`memory`]: in this process, for tests and for settings that another system writes at start;
//! - [`directory`]: a folder with a file for each setting, open to editors and scripts;
//! - [`sqlite`]: a table in a SQLite file, durable, and open to other writers;
//! - `postgres` (feature `postgres`): a table in a PostgreSQL database, served by as many servers as there are.

#[cfg(feature = "directory")]
pub mod directory;
pub mod memory;

pub use memory::MemoryStore;
#[cfg(feature = "directory")]
mod objects;
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
#[cfg(feature = "directory")]
mod types_file;
