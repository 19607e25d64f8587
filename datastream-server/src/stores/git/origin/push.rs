//! Moving the branch to a commit, if nobody was quicker.

use super::{HERE, Origin};
use crate::stores::git::address::Remote;
use crate::stores::git::command::Failure;
use crate::stores::git::object::Oid;

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::stores::git) enum Pushed {
    Done,
    /// Somebody was quicker.
    Lost,
    /// The branch has rules, and this breaks one.
    Refused(String),
}

impl Origin {
    /// Moves the branch from `old` to `new`, a commit in the folder, if it still is at `old`.
    pub(in crate::stores::git) async fn push(&self, new: Oid, old: Option<Oid>) -> Result<Pushed, Failure> {
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
