//! Where the branch is: in the folder itself, or at a remote of which the folder is a mirror.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::{Address, Place, Remote};
use super::command::{self, Failure, Git};
use super::error::OpenError;
use super::object::Oid;

/// How long git may take for what lies on this machine.
pub(super) const HERE: Duration = Duration::from_secs(30);
/// The user whom a token is for, where the URL names none: those who take tokens take any.
const USER: &str = "git";
/// Touched when the remote has answered.
const HEARD: &str = "datastream-heard";
/// Locked by the server that has the mirror.
const LOCK: &str = "datastream.lock";

/// A branch, and the way to it.
pub(super) struct Origin {
    pub(super) git: Git,
    pub(super) branch: String,
    pub(super) remote: Option<Remote>,
    /// Whether the repository itself has no work tree.
    is_bare: bool,
    /// Held while the mirror is in use.
    _lock: Option<File>,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Done,
    /// Somebody was quicker.
    Lost,
    /// The branch has rules, and this breaks one.
    Refused(String),
}

impl Origin {
    /// Finds the repository, or makes the mirror of a remote.
    /// Returns it with whether it was heard from.
    pub(super) async fn open(address: &Address) -> Result<(Self, bool), OpenError> {
        match &address.place {
            Place::Local(path) => Ok((Self::local(path, address.branch.clone()).await?, true)),
            Place::Remote(remote) => Self::mirror(remote.clone(), address.branch.clone()).await,
        }
    }

    async fn local(path: &Path, branch: Option<String>) -> Result<Self, OpenError> {
        if !path.is_dir() {
            return Err(OpenError::NoFolder(path.to_owned()));
        }
        let folder = command::find(path, HERE)
            .await
            .map_err(|failure| OpenError::of(failure, &path.display().to_string()))?;
        let git = Git::in_folder(folder, true);
        let bare = git.line(&["rev-parse", "--is-bare-repository"], HERE).await;
        let is_bare = bare.is_ok_and(|bare| bare == "true");
        let branch = match branch {
            Some(branch) => branch,
            None => {
                git.line(&["symbolic-ref", "--short", "HEAD"], HERE).await.map_err(|_| OpenError::Detached)?
            }
        };
        let origin = Self { git, branch, remote: None, is_bare, _lock: None };
        if origin
            .resolve()
            .await
            .map_err(|failure| OpenError::of(failure, &path.display().to_string()))?
            .is_none()
        {
            let branches = origin
                .git
                .line(&["for-each-ref", "--format=%(refname:short)", "--count=10", "refs/heads"], HERE)
                .await;
            origin.unborn(&branches.unwrap_or_default())?;
        }
        Ok(origin)
    }

    async fn mirror(remote: Remote, branch: Option<String>) -> Result<(Self, bool), OpenError> {
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

    /// A branch that is not there is a mistake, unless there is none at all yet.
    fn unborn(&self, branches: &str) -> Result<(), OpenError> {
        if branches.is_empty() {
            tracing::info!(
                branch = self.branch,
                "the repository is empty: the first commit makes the branch"
            );
            return Ok(());
        }
        let branches = branches.lines().collect::<Vec<_>>().join(", ");
        Err(OpenError::NoBranch { branch: self.branch.clone(), branches })
    }

    /// The ref in the folder. That of a mirror has a plain name, so that `team` and `team/live` may follow each other there.
    fn reference(&self) -> String {
        match &self.remote {
            Some(_) => format!("refs/datastream/{:08x}", crc32fast::hash(self.branch.as_bytes())),
            None => format!("refs/heads/{}", self.branch),
        }
    }

    /// Where the branch stands, as the folder knows it.
    pub(super) async fn resolve(&self) -> Result<Option<Oid>, Failure> {
        let name = self.reference();
        let listed =
            self.git.line(&["for-each-ref", "--format=%(objectname) %(refname)", &name], HERE).await?;
        let mut rows = listed.lines().filter_map(|line| line.split_once(' '));
        match rows.find(|(_, found)| *found == name) {
            Some((oid, _)) => oid.parse().map(Some),
            // That git passes over what it cannot read is no deletion.
            None if self.git.folder().join(&name).is_file() => Err(Failure::Missing(name)),
            None => Ok(None),
        }
    }

    /// Where the branch stands now; its commits are in the folder then. `known` is where it stood.
    pub(super) async fn head(&self, known: Option<Oid>) -> Result<Option<Oid>, Failure> {
        let Some(remote) = &self.remote else { return self.resolve().await };
        let git = self.reaching(remote);
        let asked = format!("refs/heads/{}", self.branch);
        let listed = git.line(&["ls-remote", "--", &remote.url, &asked], remote.timeout).await?;
        let mut rows = listed.lines().filter_map(|line| line.split_once('\t'));
        let head = rows.find(|(_, name)| *name == asked).map(|(oid, _)| oid.parse::<Oid>()).transpose()?;
        if head.is_some() && head != known {
            let refspec = format!("+{asked}:{}", self.reference());
            let fetch = [
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--refmap=",
                "--",
                &remote.url,
                &refspec,
            ];
            let fetched = slowly(git.run(&fetch, remote.timeout * 30), "fetching from the remote").await;
            fetched.inspect_err(|failure| self.clear_locks(failure))?;
        }
        if head.is_none() && known.is_some() {
            // Or a server that starts while the remote is away would serve what is deleted.
            self.git.run(&["update-ref", "-d", &self.reference()], HERE).await?;
        }
        self.heard();
        if head == known { Ok(head) } else { self.resolve().await }
    }

    /// Of a mirror, takes away the lock of a git that was killed, which git has just been waiting for.
    fn clear_locks(&self, failure: &Failure) {
        if self.remote.is_some() && failure.says(&["File exists"]) {
            tracing::warn!("a lock was left in the mirror: it is removed");
            // What is left is told by the next look.
            let _ = unlock(self.git.folder());
        }
    }

    /// Moves the branch from `old` to `new`, a commit in the folder, if it still is at `old`.
    pub(super) async fn push(&self, new: Oid, old: Option<Oid>) -> Result<Pushed, Failure> {
        match &self.remote {
            None => self.update(new, old).await,
            Some(remote) => {
                let pushed = self.send(remote, new, old).await?;
                if pushed == Pushed::Done {
                    let update = ["update-ref", &self.reference(), &new.to_string()];
                    let updated = self.git.run(&update, HERE).await;
                    // It is only the mirror's note of where the branch is; the next look makes it again.
                    _ = updated.inspect_err(|failure| self.clear_locks(failure));
                    self.heard();
                }
                Ok(pushed)
            }
        }
    }

    async fn update(&self, new: Oid, old: Option<Oid>) -> Result<Pushed, Failure> {
        if let Some(tree) = self.work_tree().await? {
            return Ok(Pushed::Refused(format!(
                "its work tree {tree} shows the branch {}, and a commit there would be undone by the next one of who works \
                 in it: serve another branch, or a bare clone (or set receive.denyCurrentBranch to ignore)",
                self.branch
            )));
        }
        let (new, width) = (new.to_string(), new.bytes().len() * 2);
        let old = old.map_or_else(|| "0".repeat(width), |old| old.to_string());
        match self.git.run(&["update-ref", "-m", "datastream", &self.reference(), &new, &old], HERE).await {
            Ok(_) => Ok(Pushed::Done),
            Err(failure)
                if failure.says(&[
                    "but expected",
                    "reference already exists",
                    "unable to resolve reference",
                ]) =>
            {
                Ok(Pushed::Lost)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The work tree that shows the branch, unless its owner said that this does not matter.
    async fn work_tree(&self) -> Result<Option<String>, Failure> {
        // One can be added at any time.
        if self.is_bare && !self.git.folder().join("worktrees").exists() {
            return Ok(None);
        }
        let rule = self.git.line(&["config", "receive.denyCurrentBranch"], HERE).await.unwrap_or_default();
        if rule.eq_ignore_ascii_case("ignore") {
            return Ok(None);
        }
        let listed = self.git.line(&["worktree", "list", "--porcelain"], HERE).await?;
        let shown = format!("branch {}", self.reference());
        let tree = listed.split("\n\n").find(|tree| tree.lines().any(|line| line == shown));
        Ok(tree
            .map(|tree| tree.lines().next().unwrap_or_default().trim_start_matches("worktree ").to_owned()))
    }

    async fn send(&self, remote: &Remote, new: Oid, old: Option<Oid>) -> Result<Pushed, Failure> {
        let target = format!("refs/heads/{}", self.branch);
        let lease =
            format!("--force-with-lease={target}:{}", old.map(|old| old.to_string()).unwrap_or_default());
        let refspec = format!("{new}:{target}");
        let push = ["push", "--porcelain", "--no-verify", &lease, "--", &remote.url, &refspec];
        let (written, verdict) = self.reaching(remote).attempt(&push, &[], remote.timeout * 3).await?;
        let written = String::from_utf8_lossy(&written);
        let answer = written.lines().find_map(|line| line.strip_prefix("!\t"));
        match (verdict, answer) {
            (Ok(()), _) => Ok(Pushed::Done),
            (Err(_), Some(answer)) if is_race(answer) => Ok(Pushed::Lost),
            (Err(_), Some(answer)) if answer.contains("[remote rejected]") => {
                // Without what a hook says of it, which may hold the value.
                let why = answer.rsplit('\t').next().unwrap_or(answer);
                Ok(Pushed::Refused(format!("the remote does not take it: {why}")))
            }
            (Err(failure), _) => Err(failure),
        }
    }

    async fn default_branch(&self) -> Result<String, Failure> {
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
    async fn branches(&self) -> Result<String, Failure> {
        let Some(remote) = &self.remote else { return Ok(String::new()) };
        let listed =
            self.reaching(remote).line(&["ls-remote", "--heads", "--", &remote.url], remote.timeout).await?;
        let names = listed.lines().filter_map(|line| line.split_once("\trefs/heads/").map(|(_, name)| name));
        Ok(names.take(10).collect::<Vec<_>>().join("\n"))
    }

    /// Packs what many fetches left in the mirror, if that is much. A repository on this machine is its owner's to pack.
    pub(super) async fn tidy(&self) {
        if self.remote.is_none() {
            return;
        }
        // As much as git lets gather by itself where nobody keeps it from looking; where it is less, it does nothing.
        let pack = ["-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"];
        if let Err(error) = self.git.run(&pack, HERE * 20).await {
            tracing::warn!(error = %crate::error_chain(&error), "the mirror is not packed");
        }
    }

    fn reaching(&self, remote: &Remote) -> Git {
        let protocol = match remote.url.split_once("://") {
            Some(("https", _)) => "https",
            Some(("http", _)) => "http",
            Some(("ssh", _)) => "ssh",
            _ => "file",
        };
        let header = token(remote).map(|token| {
            let user = user(&remote.url).unwrap_or(USER);
            let login = STANDARD.encode(format!("{user}:{token}"));
            (format!("http.{}.extraHeader", remote.url), format!("Authorization: Basic {login}"))
        });
        self.git.reaching(protocol, header.into_iter().collect())
    }

    fn heard(&self) {
        let touched =
            File::create(self.git.folder().join(HEARD)).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!(%error, "the time of the last contact is not noted");
        }
    }

    /// When the remote answered last, in this run or an earlier one.
    pub(super) fn last_heard(&self) -> Option<SystemTime> {
        std::fs::metadata(self.git.folder().join(HEARD)).and_then(|heard| heard.modified()).ok()
    }
}

fn user(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    authority.rsplit_once('@').map(|(user, _)| user)
}

/// Read anew each time, since it may be exchanged.
fn token(remote: &Remote) -> Option<String> {
    let read = match &remote.token_file {
        Some(file) => std::fs::read_to_string(file).inspect_err(|error| {
            tracing::warn!(file = %file.display(), %error, "the file of the token cannot be read");
        }),
        None => std::env::var("DATASTREAM_GIT_TOKEN").map_err(std::io::Error::other),
    };
    read.ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn is_race(answer: &str) -> bool {
    [
        "(stale info)",
        "(fetch first)",
        "(non-fast-forward)",
        "cannot lock ref",
        "failed to update ref",
        "(incorrect old value",
    ]
    .iter()
    .any(|reason| answer.contains(reason))
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

/// Says so now and then while something takes long.
async fn slowly<T>(work: impl Future<Output = T>, what: &'static str) -> T {
    let mut work = std::pin::pin!(work);
    let began = tokio::time::Instant::now();
    loop {
        match tokio::time::timeout(Duration::from_secs(10), &mut work).await {
            Ok(done) => return done,
            Err(_) => tracing::info!(seconds = began.elapsed().as_secs(), "{what}"),
        }
    }
}
