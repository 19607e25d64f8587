//! A run of git that is under way.

use std::process::ExitStatus;
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Failure;

/// How much of what git says of a failure is kept.
const SAID_BYTES: usize = 1000;
/// How much it may say before it is cut off.
const MOST_SAID: u64 = 1 << 20;
/// How long a git that is given up may take to end by itself.
#[cfg(unix)]
const GRACE: Duration = Duration::from_secs(2);

/// A run under way. Dropped, it is ended, with the programs that it has begun.
pub(in crate::stores::git) struct Run {
    /// Until it is dropped.
    child: Option<Child>,
    pub(in crate::stores::git) stdin: Option<ChildStdin>,
    pub(in crate::stores::git) stdout: Option<ChildStdout>,
    /// Read all the time, so that it never waits for us.
    said: JoinHandle<Vec<u8>>,
    name: String,
    is_over: bool,
}

impl Run {
    pub(super) fn of(mut command: Command, name: String) -> Result<Self, Failure> {
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
    pub(super) async fn talk(&mut self, input: &[u8]) -> Result<(Vec<u8>, Result<(), Failure>), Failure> {
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
    pub(in crate::stores::git) async fn end(&mut self) -> Result<Result<(), Failure>, Failure> {
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
