//! A file system of 4 MiB that a test fills and frees, and that nobody else sees.
//!
//! It is a tmpfs in a mount namespace that a process of ours holds; programs are started inside, and the test reaches
//! its files through `/proc`. So nothing is left when the test is killed, and where the system allows user namespaces
//! it needs no rights.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// What the filler is written in: whole megabytes, then the pages that are left.
const PIECES: [usize; 2] = [1 << 20, 4 << 10];

/// A small file system; gone when dropped.
pub(crate) struct SmallDisk {
    folder: TempDir,
    holder: Child,
    /// Whether it is in a user namespace of its own.
    mapped: bool,
}

impl SmallDisk {
    /// Mounts one; `None` where that cannot be, which is then said in the name of `test`.
    pub(crate) fn mount(test: &str) -> Option<Self> {
        // The second is for a root that may mount, but make no user namespace.
        let disk = [true, false].into_iter().find_map(Self::try_mount);
        let shell = Command::new("sqlite3").arg("-version").output();
        let disk = disk.filter(|_| shell.is_ok());
        if disk.is_none() {
            // Past the capture of the test harness, and in one piece: a script lists what was skipped.
            let line =
                format!("\nskipped: {test}: no file system may be mounted here, or there is no sqlite3\n");
            std::io::stderr().write_all(line.as_bytes()).expect("there is a stderr");
        }
        disk
    }

    fn try_mount(mapped: bool) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new("unshare");
        command.args(if mapped { &["--mount", "--map-root-user"][..] } else { &["--mount"] });
        let held = "mount -t tmpfs -o size=4m none \"$0\" && echo mounted && exec cat";
        command.args(["sh", "-c", held]).arg(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().ok()?;
        let mut said = String::new();
        let mounted = BufReader::new(holder.stdout.as_mut().expect("it was piped")).read_line(&mut said);
        let disk = Self { folder, holder, mapped };
        (mounted.is_ok() && said == "mounted\n").then_some(disk)
    }

    /// Where it is for programs inside.
    pub(crate) fn inside(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is for the test. Not for SQLite, which resolves paths by itself.
    pub(crate) fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.path().strip_prefix("/").expect("it is absolute"))
    }

    /// The same command, inside.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut entering = Command::new("nsenter");
        entering.arg(format!("--target={}", self.holder.id())).arg("--mount");
        if self.mapped {
            entering.args(["--user", "--preserve-credentials"]);
        }
        entering.arg("--").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        entering
    }

    /// Runs a command of the shell in the folder.
    pub(crate) fn run(&self, script: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("cd \"$0\" && {script}")]).arg(self.inside());
        let status = self.enter(&shell).status().expect("nsenter can be run");
        assert!(status.success(), "{script}: {status}");
    }

    /// Runs SQL inside, in the shell of SQLite. Returns what it answers.
    pub(crate) fn sqlite3(&self, file: &Path, sql: &str) -> String {
        let mut shell = Command::new("sqlite3");
        shell.args(["-bail", "-cmd", ".timeout 5000"]).arg(file).arg(sql);
        let output = self.enter(&shell).output().expect("nsenter can be run");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it writes UTF-8")
    }

    /// Takes all space that is free.
    pub(crate) fn fill(&self) {
        let mut filler =
            std::fs::File::options().append(true).create(true).open(self.filler()).expect("a file");
        for piece in PIECES {
            let zeroes = vec![0; piece];
            while filler.write(&zeroes).is_ok_and(|written| written > 0) {}
        }
    }

    /// Gives back what was taken.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.outside().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The file system goes with the last process inside.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
