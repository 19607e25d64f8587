//! Reading a file, and replacing one at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::Unfit;

/// Reads the whole of a regular file, or of one that a link leads to: files that come with an application are often
/// mounted so. Blocks.
///
/// # Errors
///
/// [`Unfit`] if there is no such file, or it has more than `largest` bytes.
pub(crate) fn read(path: &Path, largest: u64) -> Result<Vec<u8>, Unfit> {
    // Opening a pipe would wait for its writer.
    read_regular(path, &fs::metadata(path)?, largest)
}

/// As [`read`], of a file that this client has written, and so no link.
pub(super) fn read_own(path: &Path, largest: u64) -> Result<Vec<u8>, Unfit> {
    read_regular(path, &fs::symlink_metadata(path)?, largest)
}

fn read_regular(path: &Path, metadata: &fs::Metadata, largest: u64) -> Result<Vec<u8>, Unfit> {
    if !metadata.is_file() {
        return Err(Unfit::NoFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest { Err(Unfit::TooLarge) } else { Ok(bytes) }
}

/// Replaces the file at `path`, or what else is there but a directory: whoever reads it, whenever this or the machine
/// stops, finds the old one or the new one. Only its owner may read it.
///
/// A process that is killed meanwhile leaves a file beside it, whose name begins with a dot.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path)?;
    let replaced = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // What cannot be written can perhaps not be removed either; the first error tells more.
        let _ = fs::remove_file(&beside);
    }
    replaced?;
    sync_folder(folder(path))
}

/// A name that nobody else has, in the folder of `path`: only within one is a rename one step.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{:016x}", fastrand::u64(..)));
    Ok(folder(path).join(hidden))
}

fn folder(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the new name last. Elsewhere a folder is no file that could be opened.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
