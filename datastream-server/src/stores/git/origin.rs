//! Where the branch is: in the folder itself, or at a remote of which the folder is a mirror.

mod credentials;
mod mirror;
mod push;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

pub(super) use self::push::Pushed;
use super::address::{Address, Place, Remote};
use super::command::{self, Failure, Git};
use super::error::OpenError;
use super::object::Oid;

/// How long git may take for what lies on this machine.
pub(super) const HERE: Duration = Duration::from_secs(30);

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
        if let Some(oid) = self.listed(&name).await? {
            return Ok(Some(oid));
        }
        if !self.git.folder().join(&name).is_file() {
            return Ok(None);
        }
        // That git passes over what it cannot read is no deletion; or it came a moment ago.
        self.listed(&name).await?.ok_or(Failure::Missing(name)).map(Some)
    }

    async fn listed(&self, name: &str) -> Result<Option<Oid>, Failure> {
        let listed =
            self.git.line(&["for-each-ref", "--format=%(objectname) %(refname)", name], HERE).await?;
        let mut rows = listed.lines().filter_map(|line| line.split_once(' '));
        rows.find(|(_, found)| *found == name).map(|(oid, _)| oid.parse()).transpose()
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
