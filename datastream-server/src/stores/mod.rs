//! The stores that this server brings: each module is one implementation of [`Store`](crate::store::Store).
//!
//! - [`memory`]: in this process, for tests and for settings that another system writes at start;
//! - [`directory`]: a folder with a file for each setting, open to editors and scripts;
//! - [`sqlite`]: a table in a SQLite file, durable, and open to other writers;
//! - `git` (feature `git`): a branch of a git repository, on this machine or elsewhere;
//! - `s3` (feature `object`): an S3-compatible bucket with an object for each setting;
//! - `postgres` (feature `postgres`): a table in a PostgreSQL database, served by as many servers as there are.

#[cfg(feature = "directory")]
pub mod directory;
#[cfg(feature = "git")]
pub mod git;
pub mod memory;

pub use memory::MemoryStore;
#[cfg(any(feature = "directory", feature = "object"))]
mod objects;
#[cfg(feature = "postgres")]
mod polled;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod range;
#[cfg(feature = "object")]
pub mod s3;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sweep;
#[cfg(any(feature = "directory", feature = "git"))]
mod types_file;

/// The shortest interval that an option of a store may say.
#[cfg(any(feature = "directory", feature = "git", feature = "object"))]
const SHORTEST: std::time::Duration = std::time::Duration::from_millis(100);

/// The interval that an option of a store says, as in `?poll=5s`.
#[cfg(any(feature = "directory", feature = "git", feature = "object"))]
fn interval(option: &str, text: &str) -> Result<std::time::Duration, String> {
    let interval: std::time::Duration = datastream::value::decode("duration", &text.to_owned().into())
        .map_err(|error| format!("{option} is a duration, as in ?{option}=5s: {error}"))?;
    if interval < SHORTEST {
        return Err(format!("{option} is at least {SHORTEST:?}"));
    }
    Ok(interval)
}

/// The file extension of a key, with its dot, if it names a type.
#[cfg(any(feature = "directory", feature = "git", feature = "object"))]
fn extension(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?;
    let extension = &name[name.rfind('.')?..];
    datastream::value::ValueType::named(extension).map(|_| extension)
}
