//! Taking everything of ours out of a user's database.

use std::path::Path;

use rusqlite::TransactionBehavior;
use rusqlite::config::DbConfig;

use super::error::OpenError;
use super::file::Lock;
use super::{capture, meta, open};

/// Takes all that this store added out of the file at `path`, and leaves the user's table as it would be without us:
/// its rows, its columns, the trigger of the original where there was one; and the file's journal mode, if nobody else has
/// it open. The history
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
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let table = meta::text(&transaction, meta::TABLE).map_err(failed)?.unwrap_or_default();
    let journal_mode = meta::text(&transaction, meta::JOURNAL_MODE).map_err(failed)?;
    capture::remove(&transaction, &table).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    if let Some(mode) = journal_mode {
        // Refused while somebody else has the file open, who can change it as well.
        let _ = connection.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(()));
    }
    Ok(table)
}
