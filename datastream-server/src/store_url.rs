//! The store that `--store` names.

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use datastream_server::store::Store;
use datastream_server::stores::MemoryStore;
#[cfg(feature = "sqlite")]
use datastream_server::stores::sqlite::SqliteStore;

use crate::startup::StartError;

/// A store, by name: `sqlite:FILE` or `memory:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// In this process.
    Memory,
    /// A SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
}

impl StoreUrl {
    /// Opens the store, and makes it where it does not exist.
    pub(crate) fn open(&self) -> Result<Arc<dyn Store>, StartError> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryStore::new())),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => Ok(Arc::new(SqliteStore::open(path)?)),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            Some(("sqlite", ":memory:" | "")) => Err("sqlite needs a file; memory: needs none"),
            #[cfg(feature = "sqlite")]
            Some(("sqlite", file)) if file.contains('?') => {
                Err("sqlite takes no options yet: sqlite:settings.db")
            }
            #[cfg(feature = "sqlite")]
            Some(("sqlite", file)) if !file.starts_with("//") => Ok(Self::Sqlite(file.into())),
            #[cfg(not(feature = "sqlite"))]
            Some(("sqlite", _)) => Err("this program was built without sqlite; it has memory:"),
            _ => Err("not a store: sqlite:settings.db, sqlite:/srv/settings.db and memory: are"),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}
