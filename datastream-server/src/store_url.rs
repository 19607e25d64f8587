//! The store that `--store` names.

use std::fmt;
#[cfg(any(feature = "directory", feature = "sqlite"))]
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

#[cfg(feature = "sqlite")]
use datastream::value;
use datastream_server::store::Store;
use datastream_server::stores::MemoryStore;
#[cfg(feature = "directory")]
use datastream_server::stores::directory;
#[cfg(feature = "git")]
use datastream_server::stores::git;
#[cfg(feature = "postgres")]
use datastream_server::stores::postgres;
#[cfg(feature = "object")]
use datastream_server::stores::s3;
#[cfg(feature = "sqlite")]
use datastream_server::stores::sqlite::{self, Options, SqliteStore};

use crate::startup::StartError;

/// A store, by name: `sqlite:FILE`, with options behind a `?`, `file:FOLDER`, `git:FOLDER#BRANCH`, `s3://...`,
/// `postgres://...`, or `memory:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// In this process.
    Memory,
    /// A SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf, Options),
    /// A branch of a git repository.
    #[cfg(feature = "git")]
    Git(Box<git::Address>),
    /// A folder with a file for each setting.
    #[cfg(feature = "directory")]
    Directory(PathBuf, directory::Options),
    /// An S3-compatible bucket.
    #[cfg(feature = "object")]
    Object(Box<s3::Address>),
    /// A PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Address>),
}

impl StoreUrl {
    /// Opens the store, and makes it where it does not exist.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>, StartError> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryStore::new())),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path, options) => Ok(Arc::new(SqliteStore::open_with(path, options.clone())?)),
            #[cfg(feature = "git")]
            Self::Git(address) => Ok(Arc::new(git::GitStore::open(address).await?)),
            #[cfg(feature = "directory")]
            Self::Directory(path, options) => Ok(directory::open(path, *options).await?),
            #[cfg(feature = "object")]
            Self::Object(address) => Ok(s3::open(address).await?),
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => Ok(postgres::open((**address).clone()).await?),
        }
    }

    /// Takes out of a database what serving it has added. Returns what was done, for people.
    pub(crate) async fn detach(&self) -> Result<String, StartError> {
        match self {
            Self::Memory => Err(StartError::NothingToDetach),
            #[cfg(feature = "git")]
            Self::Git(_) => Err(StartError::NothingToDetach),
            #[cfg(feature = "directory")]
            Self::Directory(..) => Err(StartError::NothingToDetach),
            #[cfg(feature = "object")]
            Self::Object(_) => Err(StartError::NothingToDetach),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path, _) => {
                let table = sqlite::detach(path)?;
                Ok(format!("{}: the table {table:?} is as it would be without datastream", path.display()))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => {
                let table = postgres::detach((**address).clone()).await?;
                Ok(format!("{address}: the table {table:?} is as it would be without datastream"))
            }
        }
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = match text.split_once(':') {
            Some(("memory", "")) => return Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            Some(("sqlite", ":memory:" | "")) => "sqlite needs a file; memory: needs none",
            #[cfg(feature = "sqlite")]
            Some(("sqlite", file)) if !file.starts_with("//") => {
                let (file, query) = file.split_once('?').unwrap_or((file, ""));
                return Ok(Self::Sqlite(file.into(), options(query)?));
            }
            #[cfg(not(feature = "sqlite"))]
            Some(("sqlite", _)) => "this program was built without sqlite; it has memory:",
            #[cfg(feature = "git")]
            Some(("git", _)) => return Ok(Self::Git(Box::new(git::Address::parse(text)?))),
            #[cfg(feature = "git")]
            Some((scheme, _)) if scheme.starts_with("git+") => {
                return Ok(Self::Git(Box::new(git::Address::parse(text)?)));
            }
            #[cfg(not(feature = "git"))]
            Some((scheme, _)) if scheme == "git" || scheme.starts_with("git+") => {
                "this program was built without git: cargo build -p datastream-server --features git"
            }
            #[cfg(feature = "directory")]
            Some(("file", folder)) if !folder.starts_with("//") || folder.starts_with("///") => {
                let (folder, query) = folder.split_once('?').unwrap_or((folder, ""));
                if folder.is_empty() {
                    return Err("file needs a folder: file:/srv/settings".to_owned());
                }
                let folder = folder.strip_prefix("//").unwrap_or(folder);
                return Ok(Self::Directory(folder.into(), directory::Options::parse(query)?));
            }
            #[cfg(not(feature = "directory"))]
            Some(("file", _)) => {
                "this program was built without directory: cargo build -p datastream-server --features directory"
            }
            #[cfg(feature = "object")]
            Some(("s3", _)) => return Ok(Self::Object(Box::new(s3::Address::parse(text)?))),
            #[cfg(not(feature = "object"))]
            Some(("s3", _)) => {
                "this program was built without object: cargo build -p datastream-server --features object"
            }
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => {
                return Ok(Self::Postgres(Box::new(postgres::Address::parse(text)?)));
            }
            #[cfg(not(feature = "postgres"))]
            Some(("postgres" | "postgresql", _)) => {
                "this program was built without postgres: cargo build -p datastream-server --features postgres"
            }
            _ => {
                "not a store: sqlite:settings.db, sqlite:/srv/settings.db?table=data, file:/srv/settings, \
                 git:/srv/settings.git#main, s3://bucket/prefix, postgres://user@host/database and memory: are"
            }
        };
        Err(wrong.to_owned())
    }
}

/// Reads `table=NAME&reconcile=10m`.
#[cfg(feature = "sqlite")]
fn options(query: &str) -> Result<Options, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.try_fold(Options::default(), |options, (name, value)| match name {
        "table" if !value.is_empty() => Ok(options.table(value)),
        "table" => Err("table needs a name: ?table=data".to_owned()),
        "reconcile" => match value::decode("duration", &value.to_owned().into()) {
            Ok(interval) => Ok(options.reconcile(interval)),
            Err(error) => Err(format!("reconcile is a duration, as in ?reconcile=10m: {error}")),
        },
        other => Err(format!("sqlite has no option {other:?}; it has table and reconcile")),
    })
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path, options) => write!(f, "sqlite:{}?table={}", path.display(), options.table),
            #[cfg(feature = "git")]
            Self::Git(address) => address.fmt(f),
            #[cfg(feature = "directory")]
            Self::Directory(path, options) => write!(f, "file:{}?poll={:?}", path.display(), options.poll),
            #[cfg(feature = "object")]
            Self::Object(address) => address.fmt(f),
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => address.fmt(f),
        }
    }
}
