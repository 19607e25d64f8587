//! The program `git`, and what it is allowed to do.
//!
//! Nothing that a repository holds is ever run or followed: no hook, no filter, no file system monitor, no submodule, no
//! protocol but the one that was asked for. Nothing asks a terminal. Each run has a limit, and takes its children with it
//! when it is given up.

mod run;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

pub(super) use self::run::Run;

/// Set for every run.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.quotePath=false",
    "core.ignoreCase=false",
    "log.follow=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "submodule.recurse=false",
    "log.showRoot=true",
    "log.showSignature=false",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "protocol.allow=never",
];

/// Of git's variables, those that say how to reach a remote, or where the operator's own configuration is.
const KEPT: &[&str] = &[
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
];

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no such program.
    #[error("there is no program git: install it")]
    NotThere,
    /// The system does not run it.
    #[error("git cannot be run now ({0})")]
    NotRun(#[source] std::io::Error),
    /// It did not end in time.
    #[error("git {command} has not ended within {limit:?}")]
    TooLong { command: String, limit: Duration },
    /// It says no.
    #[error("git {command}: {said}")]
    Said {
        command: String,
        /// In one line.
        said: String,
    },
    /// A look that others waited for as well.
    #[error("{0}")]
    Shared(String),
    /// An object is not there, or may not be read.
    #[error("the repository lacks the object {0}, or it cannot be read: git fsck says more")]
    Missing(String),
    /// What it says is not what it should say.
    #[error("git {command} says what this server does not understand")]
    Strange { command: String },
}

impl Failure {
    /// Whether git gave one of these reasons.
    pub(super) fn says(&self, reasons: &[&str]) -> bool {
        matches!(self, Self::Said { said, .. } if reasons.iter().any(|reason| said.contains(reason)))
    }

    pub(super) fn strange(command: &str) -> Self {
        Self::Strange { command: command.to_owned() }
    }
}

/// Git, in one repository.
#[derive(Clone, Debug)]
pub(super) struct Git {
    folder: Arc<Path>,
    /// The only protocol that a contact may use.
    protocol: Option<&'static str>,
    /// Settings that no list of processes may show.
    secret: Vec<(String, String)>,
    /// Whether what is written here has to outlive a power failure.
    is_truth: bool,
}

impl Git {
    /// In the folder of a repository: the one with `HEAD` and `objects` in it.
    /// What is written there has to outlive a power failure if that is the truth, and not only a mirror.
    pub(super) fn in_folder(folder: impl Into<PathBuf>, is_truth: bool) -> Self {
        Self { folder: folder.into().into(), protocol: None, secret: Vec::new(), is_truth }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same, for contacts with a remote.
    pub(super) fn reaching(&self, protocol: &'static str, secret: Vec<(String, String)>) -> Self {
        Self { protocol: Some(protocol), secret, ..self.clone() }
    }

    fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = program();
        command.env("GIT_DIR", &*self.folder);
        if self.is_truth {
            command.args(["-c", "core.fsync=all"]);
        }
        if let Some(protocol) = self.protocol {
            command.arg("-c").arg(format!("protocol.{protocol}.allow=always"));
        }
        command.env("GIT_CONFIG_COUNT", self.secret.len().to_string());
        for (at, (name, value)) in self.secret.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), name).env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        command.args(args);
        command
    }

    /// What a run writes; nothing is said to it.
    pub(super) async fn run(&self, args: &[impl AsRef<OsStr>], limit: Duration) -> Result<Vec<u8>, Failure> {
        self.run_with(args, &[], limit).await
    }

    /// The same, in one line of text.
    pub(super) async fn line(&self, args: &[impl AsRef<OsStr>], limit: Duration) -> Result<String, Failure> {
        let written = self.run(args, limit).await?;
        Ok(String::from_utf8_lossy(&written).trim().to_owned())
    }

    /// What a run writes that is told `input`.
    pub(super) async fn run_with(
        &self,
        args: &[impl AsRef<OsStr>],
        input: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let (written, verdict) = self.attempt(args, input, limit).await?;
        verdict.map(|()| written)
    }

    /// What a run writes, and whether it says that it did its work.
    pub(super) async fn attempt(
        &self,
        args: &[impl AsRef<OsStr>],
        input: &[u8],
        limit: Duration,
    ) -> Result<(Vec<u8>, Result<(), Failure>), Failure> {
        let mut run = self.begin(args)?;
        timeout(limit, run.talk(input)).await.map_err(|_| Failure::TooLong { command: name(args), limit })?
    }

    /// Begins a run that is talked to.
    pub(super) fn begin(&self, args: &[impl AsRef<OsStr>]) -> Result<Run, Failure> {
        Run::of(self.command(args), name(args))
    }
}

/// The folder of the repository at `path`, which may be that of a work tree. Git refuses one that belongs to somebody else;
/// one in a folder above is not meant.
pub(super) async fn find(path: &Path, limit: Duration) -> Result<PathBuf, Failure> {
    let mut command = program();
    if let Some(above) = path.canonicalize().ok().as_deref().and_then(Path::parent) {
        command.env("GIT_CEILING_DIRECTORIES", above);
    }
    command.current_dir(path).args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
    let mut run = Run::of(command, "rev-parse".to_owned())?;
    let talk = timeout(limit, run.talk(&[])).await;
    let (written, verdict) =
        talk.map_err(|_| Failure::TooLong { command: "rev-parse".to_owned(), limit })??;
    verdict?;
    let written = String::from_utf8(written).map_err(|_| Failure::strange("rev-parse"))?;
    Ok(written.trim_end_matches('\n').into())
}

fn program() -> Command {
    let mut command = Command::new("git");
    for (name, _) in env::vars_os() {
        let is_kept = name.to_str().is_some_and(|name| KEPT.contains(&name));
        if name.as_encoded_bytes().starts_with(b"GIT_") && !is_kept {
            command.env_remove(name);
        }
    }
    if env::var_os("GIT_SSH").is_none() && env::var_os("GIT_SSH_COMMAND").is_none() {
        command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=10");
    }
    command
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_LITERAL_PATHSPECS", "1")
        .env("GIT_OPTIONAL_LOCKS", "0");
    SETTINGS.iter().for_each(|setting| _ = command.args(["-c", setting]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    command.process_group(0);
    command
}

fn name(args: &[impl AsRef<OsStr>]) -> String {
    args.first().map(|arg| OsString::from(arg).to_string_lossy().into_owned()).unwrap_or_default()
}
