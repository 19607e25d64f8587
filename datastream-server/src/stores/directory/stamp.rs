//! What tells one content of a file from another.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_fs_ext::MetadataExt as _;
use cap_std::fs::{Dir, Metadata};

/// How long after a change of a file another may have the same time: systems count it in steps of up to 10 ms.
const STEP: Duration = Duration::from_millis(50);

/// A file at one time: another content has another one, once it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
    /// In seconds and nanoseconds; what no writer can set.
    changed: (i64, i64),
}

/// A file at one time, and the type of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) stamp: Stamp,
    pub(super) value_type: Arc<str>,
}

/// What names a folder whatever its path.
pub(super) type Identity = (u64, u64);

impl Stamp {
    pub(super) fn of(found: &Metadata) -> Self {
        let modified = found.modified().map_or(SystemTime::UNIX_EPOCH, |time| time.into_std());
        Self { inode: found.ino(), bytes: found.len(), modified, changed: changed(found) }
    }

    /// Whether a later change is sure to show.
    pub(super) fn is_settled(&self) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let since = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanoseconds).unwrap_or_default(),
        );
        // By a clock that was set back it lies ahead, and is so long unsettled.
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + since).is_ok_and(|age| age > STEP)
    }
}

#[cfg(unix)]
fn changed(found: &Metadata) -> (i64, i64) {
    use cap_std::fs::MetadataExt as _;
    (found.ctime(), found.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> (i64, i64) {
    (0, 0)
}

pub(super) fn identity(folder: &Dir) -> io::Result<Identity> {
    let found = folder.dir_metadata()?;
    Ok((found.dev(), found.ino()))
}
