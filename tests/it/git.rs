//! Git repositories of a test's own, and people who work in them with git as it comes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

/// A bare repository in a folder of its own, with the branch `main`.
#[derive(Clone)]
pub(crate) struct Repository {
    folder: Arc<TempDir>,
}

impl Repository {
    /// Without a commit.
    pub(crate) fn empty() -> Self {
        let repository = Self { folder: Arc::new(TempDir::new().expect("a folder")) };
        run(repository.folder.path(), &["init", "-q", "--bare", "-b", "main", "settings.git"]);
        repository
    }

    /// With one commit of these files.
    pub(crate) fn holding(files: &[(&str, &str)]) -> Self {
        let repository = Self::empty();
        repository.person().commit(files);
        repository
    }

    /// The folder in which all of it lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The bare repository itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("settings.git")
    }

    /// As `--store` takes it, on this machine.
    pub(crate) fn local(&self) -> String {
        format!("git:{}#main", self.path().display())
    }

    /// As `--store` takes it, as a remote of which `name` is the mirror.
    pub(crate) fn remote(&self, name: &str) -> String {
        format!(
            "git+file://{}?poll=200ms&mirror={}#main",
            self.path().display(),
            self.folder.path().join(name).display()
        )
    }

    /// What git says about it.
    pub(crate) fn git(&self, args: &[impl AsRef<OsStr>]) -> String {
        run(&self.path(), args)
    }

    /// Somebody with a clone.
    pub(crate) fn person(&self) -> Person {
        let folder = TempDir::new_in(self.folder.path()).expect("a folder");
        run(folder.path(), &["clone", "-q", &self.path().display().to_string(), "."]);
        // A clone of nothing is on whatever branch its git calls the first.
        run(folder.path(), &["symbolic-ref", "HEAD", "refs/heads/main"]);
        Person { folder }
    }

    /// The commits of the branch.
    pub(crate) fn commits(&self) -> usize {
        self.git(&["rev-list", "--first-parent", "--count", "main"]).parse().expect("a number")
    }
}

/// Somebody who works in a clone, and pushes.
pub(crate) struct Person {
    folder: TempDir,
}

impl Person {
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn git(&self, args: &[impl AsRef<OsStr>]) -> String {
        run(self.folder.path(), args)
    }

    /// Writes files, an empty name of a content deletes one, and pushes them as one commit, however often others are quicker.
    pub(crate) fn change(&self, files: &[(&str, Option<&str>)]) {
        loop {
            let has_main = attempt(self.folder.path(), &["fetch", "-q", "origin", "main"]).is_ok();
            if has_main {
                self.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
            }
            for (path, content) in files {
                let path = self.folder.path().join(path);
                match content {
                    Some(content) => {
                        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
                        std::fs::write(&path, content).expect("a file");
                    }
                    None => _ = std::fs::remove_file(&path),
                }
            }
            self.git(&["add", "-A"]);
            if attempt(self.folder.path(), &["diff", "--cached", "--quiet"]).is_ok() {
                return;
            }
            self.git(&["commit", "-q", "-m", "by hand"]);
            if attempt(self.folder.path(), &["push", "-q", "origin", "HEAD:main"]).is_ok() {
                return;
            }
        }
    }

    /// Writes files, and pushes them as one commit.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) {
        let files: Vec<_> = files.iter().map(|(path, content)| (*path, Some(*content))).collect();
        self.change(&files);
    }

    /// Commits what lies in the work tree, and pushes it, however others moved the branch.
    pub(crate) fn force(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "by force"]);
        self.git(&["push", "-q", "--force", "origin", "HEAD:main"]);
    }
}

/// What git writes; it must succeed.
pub(crate) fn run(folder: &Path, args: &[impl AsRef<OsStr>]) -> String {
    attempt(folder, args).unwrap_or_else(|said| panic!("git: {said}"))
}

/// What git writes, or what it says of its failure.
pub(crate) fn attempt(folder: &Path, args: &[impl AsRef<OsStr>]) -> Result<String, String> {
    let mut git = Command::new("git");
    git.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for (name, value) in
        [("user.name", "A Person"), ("user.email", "person@example.com"), ("init.defaultBranch", "main")]
    {
        git.args(["-c", &format!("{name}={value}")]);
    }
    let output = git.args(["-c", "protocol.file.allow=always"]).args(args).output().expect("git can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
