//! Taking everything of ours out of a user's database.

use std::path::Path;

use rusqlite::TransactionBehavior;

use super::error::OpenError;
use super::file::Lock;
use super::{capture, meta, open};

/// Takes all that this store added out of the file at `path`, and leaves the user's table as it would be without us:
/// its rows, its columns, the trigger of the original where there was one, and the file's journal mode. The history
/// is gone then. Returns the name of the table. Blocks, as long as SQLite needs.
///
/// # Errors
///
/// [`OpenError`] says in one line what to do, [`OpenError::NotAdopted`] where there is nothing of ours. Then nothing is
/// changed.
pub fn detach(path: &Path) -> Result<String, OpenError> {
    let (path, exists) = open::locate(path)?;
    if !exists {
        return Err(OpenError::NotAdopted { path });
    }
    let _lock = Lock::take(&path, false)?;
    let failed = |error| OpenError::of(&path, error);
    let mut connection = open::connect(&path).map_err(failed)?;
    open::keep_log_of(&connection, &path).map_err(failed)?;
    if meta::schema_version(&connection).map_err(failed)?.is_none() {
        return Err(OpenError::NotAdopted { path });
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let table = meta::text(&transaction, meta::TABLE).map_err(failed)?.unwrap_or_default();
    let journal_mode = meta::text(&transaction, meta::JOURNAL_MODE).map_err(failed)?;
    capture::remove(&transaction, &table).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    if let Some(mode) = journal_mode {
        connection.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).map_err(failed)?;
    }
    Ok(table)
}
