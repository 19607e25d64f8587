//! What PostgreSQL's errors mean to a caller. None of ours holds a value: of what the server says, only its code and its
//! own words about the connection are kept, since its messages and details quote rows.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::address::Address;
use crate::store::StoreError;

/// Why a database could not be opened as a store; each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nobody answers there.
    #[error("cannot reach PostgreSQL at {hosts} ({cause}): start it, or name another with --store")]
    Unreachable {
        /// The hosts asked for.
        hosts: String,
        /// What failed.
        cause: String,
    },
    /// The server does not let this user in.
    #[error(
        "PostgreSQL at {hosts} does not let in the user {user:?} ({cause}): check the user and the password, in PGPASSWORD, \
         in a file named by PGPASSFILE, or in the URL"
    )]
    Refused {
        /// The hosts asked for.
        hosts: String,
        /// The user asked for.
        user: String,
        /// Which rule of the server it was.
        cause: String,
    },
    /// There is no such database.
    #[error("PostgreSQL at {hosts} has no database {database:?}: create it (createdb), or name another")]
    NoDatabase {
        /// The hosts asked for.
        hosts: String,
        /// The database asked for.
        database: String,
    },
    /// The connection cannot be protected.
    #[error(
        "no TLS connection to PostgreSQL at {hosts} ({cause}): its certificate must name that host, and be signed by who is \
         trusted, which sslrootcert=FILE names; for a network that is trusted, sslmode=disable"
    )]
    Tls {
        /// The hosts asked for.
        hosts: String,
        /// What failed.
        cause: String,
    },
    /// The file of certificates cannot be used.
    #[error(
        "cannot use the certificates to trust ({cause}): name a file in PEM format with sslrootcert=FILE"
    )]
    Roots {
        /// What is wrong with it.
        cause: String,
    },
    /// The server is too old.
    #[error("PostgreSQL {found} is too old: this needs 13 or newer")]
    TooOld {
        /// What the server says of its version.
        found: String,
    },
    /// The database holds its texts in another encoding.
    #[error(
        "the database is encoded as {encoding}; only UTF8 can be served: create one with ENCODING 'UTF8'"
    )]
    Encoding {
        /// What the database says.
        encoding: String,
    },
    /// The table cannot be served rightly, or there is none of that name.
    #[error("the table {table:?} {rule}")]
    Unfit {
        /// The name of the table.
        table: String,
        /// What is wrong with it, and what to do, in words that follow its name.
        rule: String,
    },
    /// The database serves another table already.
    #[error(
        "this database serves the table {served:?}, not {asked:?}: name that one, take it out first (datastream-server \
         detach), or use another database"
    )]
    OtherTable {
        /// The table that it serves.
        served: String,
        /// The table asked for.
        asked: String,
    },
    /// A later version of this program made the schema, and says that this one would misread it.
    #[error(
        "the schema datastream was made by a newer version ({found}, known up to {known}); update this program"
    )]
    Newer {
        /// Its version.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
    /// Somebody removed a part of what the store added.
    #[error(
        "the schema datastream lacks a part of what was added to it: take out the rest (datastream-server detach), and \
         start again; the table itself is whole"
    )]
    Incomplete,
    /// The schema has things in it, and no notes of ours.
    #[error("the schema datastream holds something else, or has lost its table meta: rename it, or drop it")]
    Taken,
    /// Others have locked the table for too long.
    #[error("the table {table:?} is locked by another transaction: end it, and try again")]
    Locked {
        /// The name of the table.
        table: String,
    },
    /// What has to be done needs more rights.
    #[error("{what} needs more rights than {user:?} has: {needed}")]
    Rights {
        /// What was to be done.
        what: &'static str,
        /// The user.
        user: String,
        /// Which rights.
        needed: String,
    },
    /// There is nothing to take out of the database.
    #[error("the database {database:?} holds nothing of datastream")]
    NotAdopted {
        /// The database asked for.
        database: String,
    },
    /// Something else failed.
    #[error("cannot open the database: {0}")]
    Other(String),
}

impl OpenError {
    /// Of a connection that could not be made.
    pub(super) fn of_connect(address: &Address, error: &Error) -> Self {
        let (hosts, cause) = (address.hosts(), said(error));
        let Some(code) = error.code() else {
            return match error.source() {
                // The only trace that the driver leaves of why.
                _ if error.to_string().contains("TLS") => Self::Tls { hosts, cause },
                _ => Self::Unreachable { hosts, cause },
            };
        };
        match code.code() {
            "28P01" | "28000" => Self::Refused { hosts, user: address.user().to_owned(), cause },
            "3D000" => Self::NoDatabase { hosts, database: address.database().to_owned() },
            _ => Self::Unreachable { hosts, cause },
        }
    }

    /// Of a statement that failed while the table was set up.
    pub(super) fn of(address: &Address, error: &Error) -> Self {
        match error.code() {
            Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => {
                Self::Locked { table: address.table.clone() }
            }
            _ => Self::Other(said(error)),
        }
    }
}

/// Of a database that was served, and cannot be reached or used now.
impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// What an error says, without what the server quotes of a row. That stands in errors about data, and in what triggers of
/// the user's say, so what is not known to be about something else is told by its code.
pub(super) fn said(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) if is_about_the_server(db.code()) => db.message().to_owned(),
        Some(_) => code(error),
        None => crate::error_chain(error),
    }
}

/// Whether a code is PostgreSQL's own word for something else than the data: the connection, rights, resources, its state.
pub(super) fn is_about_the_server(code: &SqlState) -> bool {
    let about = ["08", "0A", "25", "28", "3D", "40", "42", "53", "54", "55", "57", "58"];
    code.code().get(..2).is_some_and(|class| about.contains(&class))
}

pub(super) fn code(error: &Error) -> String {
    format!("SQLSTATE {}", error.code().map_or("unknown", SqlState::code))
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let cause = said(&error);
        told(&error, cause)
    }
}

/// By what the caller can do about it.
pub(super) fn told(error: &Error, cause: String) -> StoreError {
    match error.code().map_or("", SqlState::code) {
        "25006" | "42501" => StoreError::ReadOnly(cause.into()),
        "53100" => StoreError::Full(cause.into()),
        "XX001" | "XX002" => StoreError::Corrupt(cause.into()),
        "42P01" | "3F000" => {
            let gone = "the table, or what datastream added to the database, is gone";
            StoreError::Unavailable(gone.into())
        }
        // Gone, restarting, too many connections; and what is not foreseen, which a retry harms least.
        _ => StoreError::Unavailable(cause.into()),
    }
}
