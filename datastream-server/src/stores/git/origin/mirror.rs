//! The folder that mirrors a remote: made once, taken by one server at a time, and mended where a git was killed in it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::{HERE, Origin};
use crate::stores::git::address::Remote;
use crate::stores::git::command::{Failure, Git};
use crate::stores::git::error::OpenError;

/// Touched when the remote has answered.
const HEARD: &str = "datastream-heard";
/// Locked by the server that has the mirror.
const LOCK: &str = "datastream.lock";

impl Origin {
    pub(super) async fn mirror(remote: Remote, branch: Option<String>) -> Result<(Self, bool), OpenError> {
        let lock = private(&remote.mirror)?;
        let git = Git::in_folder(&remote.mirror, false);
        let place = remote.url.clone();
        let of = |failure| OpenError::of(failure, &place);
        git.run(&["init", "--quiet", "--bare", "--template=", "--initial-branch=main"], HERE)
            .await
            .map_err(of)?;
        match git.line(&["config", "datastream.url"], HERE).await {
            Ok(url) if url == remote.url => {}
            Ok(url) => return Err(OpenError::OtherMirror { folder: remote.mirror, url }),
            Err(_) => _ = git.run(&["config", "datastream.url", &remote.url], HERE).await.map_err(of)?,
        }
        let mut origin =
            Self { git, branch: String::new(), remote: Some(remote), is_bare: true, _lock: Some(lock) };
        origin.branch = match branch {
            Some(branch) => branch,
            None => origin.default_branch().await.map_err(of)?,
        };
        let known = origin.resolve().await.map_err(of)?;
        match (origin.head(known).await, known) {
            (Ok(Some(_)), _) => Ok((origin, true)),
            (Ok(None), _) => {
                origin.unborn(&origin.branches().await.map_err(of)?)?;
                Ok((origin, true))
            }
            (Err(failure), Some(_)) => {
                tracing::warn!(error = %crate::error_chain(&failure), "the remote cannot be reached: serving the mirror");
                Ok((origin, false))
            }
            (Err(failure), None) => Err(of(failure)),
        }
    }

    /// Of a mirror, takes away the lock of a git that was killed, which git has just been waiting for.
    pub(super) fn clear_locks(&self, failure: &Failure) {
        if self.remote.is_some() && failure.says(&["File exists"]) {
            tracing::warn!("a lock was left in the mirror: it is removed");
            // What is left is told by the next look.
            let _ = unlock(self.git.folder());
        }
    }

    pub(super) async fn default_branch(&self) -> Result<String, Failure> {
        let Some(remote) = &self.remote else { return Ok("main".to_owned()) };
        let listed = match self
            .reaching(remote)
            .line(&["ls-remote", "--symref", "--", &remote.url, "HEAD"], remote.timeout)
            .await
        {
            Ok(listed) => listed,
            // As it was when the mirror was made, if it was.
            Err(failure) => {
                let known = self.git.line(&["config", "datastream.branch"], HERE).await;
                return known.map_err(|_| failure);
            }
        };
        let named = listed.lines().find_map(|line| line.strip_prefix("ref: refs/heads/")?.split('\t').next());
        let branch = named.unwrap_or("main").to_owned();
        self.git.run(&["config", "datastream.branch", &branch], HERE).await?;
        Ok(branch)
    }

    /// The branches of the remote, one in a line.
    pub(super) async fn branches(&self) -> Result<String, Failure> {
        let Some(remote) = &self.remote else { return Ok(String::new()) };
        let listed =
            self.reaching(remote).line(&["ls-remote", "--heads", "--", &remote.url], remote.timeout).await?;
        let names = listed.lines().filter_map(|line| line.split_once("\trefs/heads/").map(|(_, name)| name));
        Ok(names.take(10).collect::<Vec<_>>().join("\n"))
    }

    /// Packs what many fetches left in the mirror, if that is much. A repository on this machine is its owner's to pack.
    pub(in crate::stores::git) async fn tidy(&self) {
        if self.remote.is_none() {
            return;
        }
        // As much as git lets gather by itself where nobody keeps it from looking; where it is less, it does nothing.
        let pack = ["-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"];
        if let Err(error) = self.git.run(&pack, HERE * 20).await {
            tracing::warn!(error = %crate::error_chain(&error), "the mirror is not packed");
        }
    }

    pub(super) fn heard(&self) {
        let touched =
            File::create(self.git.folder().join(HEARD)).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!(%error, "the time of the last contact is not noted");
        }
    }

    /// When the remote answered last, in this run or an earlier one.
    pub(in crate::stores::git) fn last_heard(&self) -> Option<SystemTime> {
        std::fs::metadata(self.git.folder().join(HEARD)).and_then(|heard| heard.modified()).ok()
    }
}

/// Makes the folder of the mirror, which only its owner may enter, and takes it for this process.
fn private(folder: &Path) -> Result<File, OpenError> {
    let make = || {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        File::options().create(true).append(true).open(folder.join(LOCK))
    };
    let failed = |source| OpenError::Mirror { folder: folder.to_owned(), source };
    let lock = make().map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::MirrorInUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    unlock(folder).map_err(failed)?;
    Ok(lock)
}

/// Removes the locks that a git left behind which was killed: nobody else works in the mirror, and no fetch would ever
/// succeed again.
fn unlock(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() && name != "objects" {
            unlock(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") && name != LOCK {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}
