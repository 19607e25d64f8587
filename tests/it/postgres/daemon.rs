//! A program that ends when the test does, however that ends.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use super::processes::signal;
use super::wait::until;

/// Becomes the program, beside a watcher: that waits for a word on a pipe whose other end the test holds. When the pipe
/// ends without one, the test was killed; then the watcher ends the program and removes the folder, for which
/// PostgreSQL may need the 5 s that it gives its children. It does not heed the hangup that the system sends to both where
/// the program is held at the time.
const WATCHED: &str = r#"
folder=$0 last=$1
shift
exec 3<&0 </dev/null
({
    trap '' HUP
    read -r word <&3 || {
        kill -s "$last" $$
        kill -s CONT $$
        rm -rf "$folder" || { sleep 6; rm -rf "$folder"; }
    }
} &)
exec 3<&-
exec "$@"
"#;

/// A program that runs in a folder; ended when dropped.
pub(crate) struct Daemon {
    child: Child,
    watcher: ChildStdin,
    last: &'static str,
}

impl Daemon {
    /// Runs a command in `folder`, where it logs to `log`. The signal `last` ends it at once.
    pub(crate) fn spawn(command: &Command, folder: &Path, last: &'static str) -> Self {
        let log = File::options().append(true).create(true).open(folder.join("log")).expect("a log");
        let mut watched = Command::new("sh");
        watched.args(["-c", WATCHED]).arg(folder).arg(last);
        watched.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => watched.env(name, value),
                None => watched.env_remove(name),
            };
        }
        watched.current_dir(folder).stdin(Stdio::piped()).stderr(log.try_clone().expect("a log")).stdout(log);
        // What a terminal sends to the test is not for the watcher.
        let mut child = watched.process_group(0).spawn().expect("sh can be run");
        let watcher = child.stdin.take().expect("it was piped");
        Self { child, watcher, last }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until the program, which was told to, has ended.
    pub(super) fn ends(mut self) -> ExitStatus {
        until("a daemon ends", || self.has_ended())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Until it has been waited for, nobody else can have its id.
        if self.has_ended().is_none() {
            signal(&[self.id()], self.last);
            signal(&[self.id()], "CONT");
            let _ = self.child.wait();
        }
        let _ = self.watcher.write_all(b"ended\n");
    }
}
