//! A file that is replaced at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::misuse;

/// Where a file will be, checked before there is anything to write.
pub(crate) struct Target {
    path: PathBuf,
    folder: PathBuf,
    /// The mode of the file that is there.
    mode: Option<fs::Permissions>,
}

impl Target {
    /// The file at this path, or the one that a link there leads to.
    pub(crate) fn at(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| misuse(format!("{}: {why}", path.display()));
        let (path, mode) = match fs::metadata(path) {
            Ok(found) if found.permissions().readonly() => {
                return Err(wrong("it may not be written; `chmod u+w` allows it".to_owned()));
            }
            Ok(found) if found.is_file() => {
                (path.canonicalize().map_err(|error| wrong(error.to_string()))?, Some(found.permissions()))
            }
            Ok(_) => {
                return Err(wrong(
                    "it is no file; without --file the settings are written to stdout".to_owned(),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.is_symlink() {
                    return Err(wrong(
                        "it is a link to a file that is not there; remove it first".to_owned(),
                    ));
                }
                (path.to_owned(), None)
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(wrong(format!("there is no folder {}", folder.display())));
        }
        Ok(Self { folder: folder.to_owned(), path, mode })
    }

    /// Puts `text` there: whoever reads it, whenever this or the machine stops, finds the old file or the new one. A new
    /// one is for its owner only.
    pub(crate) fn replace(&self, text: &[u8]) -> Result<(), Failure> {
        let beside = self.beside();
        let replaced = self.write_new(&beside, text).and_then(|()| fs::rename(&beside, &self.path));
        if replaced.is_err() {
            // What cannot be written can perhaps not be removed either; the first error tells more.
            let _ = fs::remove_file(&beside);
        }
        replaced.and_then(|()| self.sync_folder()).map_err(|error| {
            Failure::new(crate::Code::Other, format!("{}: {error}; nothing was written", self.path.display()))
        })
    }

    /// A name that nobody else has, in the same folder: only within one is a rename one step.
    fn beside(&self) -> PathBuf {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(self.path.file_name().unwrap_or_default());
        hidden.push(format!(".{:016x}", fastrand::u64(..)));
        self.folder.join(hidden)
    }

    fn write_new(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        if let Some(mode) = &self.mode {
            file.set_permissions(mode.clone())?;
        }
        file.write_all(text)?;
        file.sync_all()
    }

    /// Makes the new name last. Elsewhere a folder is no file that could be opened.
    fn sync_folder(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }
}
