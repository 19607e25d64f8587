//! The program `git`, and what it is allowed to do.
//!
//! Nothing that a repository holds is ever run or followed: no hook, no filter, no file system monitor, no submodule, no
//! protocol but the one that was asked for. Nothing asks a terminal. Each run has a limit, and takes its children with it
//! when it is given up.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How much of what git says of a failure is kept.
const SAID_BYTES: usize = 1000;
/// How much it may say before it is cut off.
const MOST_SAID: u64 = 1 << 20;
/// How long a git that is given up may take to end by itself.
#[cfg(unix)]
const GRACE: Duration = Duration::from_secs(2);

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

/// A run under way. Dropped, it is ended, with the programs that it has begun.
pub(super) struct Run {
    /// Until it is dropped.
    child: Option<Child>,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    /// Read all the time, so that it never waits for us.
    said: JoinHandle<Vec<u8>>,
    name: String,
    is_over: bool,
}

impl Run {
    fn of(mut command: Command, name: String) -> Result<Self, Failure> {
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::NotThere,
            _ => Failure::NotRun(error),
        })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let said = tokio::spawn(async move {
            let mut said = Vec::new();
            if let Some(stderr) = stderr {
                let mut stderr = stderr.take(MOST_SAID);
                let _ = stderr.read_to_end(&mut said).await;
            }
            said
        });
        Ok(Self { child: Some(child), stdin, stdout, said, name, is_over: false })
    }

    /// Tells it all of `input`, reads all that it writes, and waits for its end.
    async fn talk(&mut self, input: &[u8]) -> Result<(Vec<u8>, Result<(), Failure>), Failure> {
        let (mut stdin, mut stdout) = (self.stdin.take(), self.stdout.take());
        let tell = async {
            if let Some(mut stdin) = stdin.take() {
                // One that ended early says why.
                let _ = stdin.write_all(input).await;
            }
        };
        let mut written = Vec::new();
        let read = async {
            match &mut stdout {
                Some(stdout) => stdout.read_to_end(&mut written).await.map(drop),
                None => Ok(()),
            }
        };
        let ((), read) = tokio::join!(tell, read);
        let verdict = self.end().await?;
        read.map_err(|_| Failure::strange(&self.name))?;
        Ok((written, verdict))
    }

    /// Waits for its end, and says why it failed if it did. The outer failure is that of this program.
    pub(super) async fn end(&mut self) -> Result<Result<(), Failure>, Failure> {
        drop((self.stdin.take(), self.stdout.take()));
        let child = self.child.as_mut().ok_or_else(|| Failure::strange(&self.name))?;
        let status = child.wait().await.map_err(|_| Failure::strange(&self.name))?;
        let said = (&mut self.said).await.unwrap_or_default();
        self.is_over = true;
        Ok(self.verdict(status, &said))
    }

    fn verdict(&self, status: ExitStatus, said: &[u8]) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        let said = one_line(&String::from_utf8_lossy(said));
        let said = if said.is_empty() { status.to_string() } else { said };
        Err(Failure::Said { command: self.name.clone(), said })
    }
}

/// Without what a terminal would make of it, and without advice.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("hint:"));
    let mut line = lines.collect::<Vec<_>>().join("; ");
    let end = (0..=SAID_BYTES.min(line.len())).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
    line.truncate(end);
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Drop for Run {
    /// Asks the programs to end, so that git takes its locks away, and does not ask twice.
    fn drop(&mut self) {
        #[cfg(unix)]
        if !self.is_over
            && let Some(child) = self.child.take()
            && let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
        {
            // What has ended meanwhile is not there, and that is what is wanted.
            let _ = kill_process_group(group, Signal::TERM);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    let mut child = child;
                    if timeout(GRACE, child.wait()).await.is_err() {
                        let _ = kill_process_group(group, Signal::KILL);
                    }
                });
            }
        }
    }
}
