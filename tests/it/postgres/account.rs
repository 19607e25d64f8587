//! The account that PostgreSQL runs as: ours, or another one where we are root, as whom it refuses to run.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::programs;

/// Exists everywhere, and owns nothing.
const INSTEAD_OF_ROOT: &str = "nobody";

fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("there is a /proc").uid() == 0
}

/// A command that runs a program as the account.
pub(super) fn command(program: &Path) -> Command {
    if !is_root() {
        return programs::command(program);
    }
    let mut command = programs::command(&programs::find("setpriv", "util-linux"));
    command.args(["--reuid", INSTEAD_OF_ROOT, "--regid", "nogroup", "--clear-groups"]).arg(program);
    command
}

/// A folder that belongs to the account.
pub(super) fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    own(folder.path());
    folder
}

/// Gives a file or a folder to the account.
pub(super) fn own(path: &Path) {
    if is_root() {
        programs::run(Command::new("chown").arg(INSTEAD_OF_ROOT).arg(path));
    }
}
