//! The command that is run when the directory has another state.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::watch;

use crate::failure::{Code, Failure};
use crate::output::say;

/// A command of the user. It runs as often as it must and never twice at once; when this process ends, it goes on.
pub(super) struct Hook {
    pub(super) command: String,
    pub(super) dir: PathBuf,
}

impl Hook {
    /// Runs it after each state that is shown, for as long as this is polled. Those that come while it runs are one more.
    pub(super) async fn follow(&self, mut shown: watch::Receiver<Option<u64>>) {
        while shown.changed().await.is_ok() {
            let revision = *shown.borrow_and_update();
            if let Err(failure) = self.run(revision).await {
                say(failure);
            }
        }
    }

    /// Runs it once. What it needs to know is in its environment: no key or value is ever a part of a command.
    pub(super) async fn run(&self, revision: Option<u64>) -> Result<(), Failure> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command).stdin(Stdio::null());
        command.env("DATASTREAM_DIR", &self.dir);
        command.env("DATASTREAM_REVISION", revision.map(|revision| revision.to_string()).unwrap_or_default());
        // It is nobody's to read settings for.
        command.env_remove("DATASTREAM_TOKEN");
        let failed = |why: String| Failure::new(Code::Other, format!("the command of --exec failed: {why}"));
        match command.status().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(status.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
