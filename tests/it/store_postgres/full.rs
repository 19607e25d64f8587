//! The disk of the database is full. It is that of its tables: without room for its log, PostgreSQL would end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::postgres::Cluster;

use super::TABLE;
use super::watched::Watched;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_pushes_and_nothing_else_until_there_is_room() {
    let cluster = Cluster::start();
    let Some(mut disk) = Disk::mount("a full disk of a database", &cluster) else { return };
    let database = cluster.database();
    cluster.psql(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display()));
    cluster.psql(&format!("ALTER DATABASE {} SET default_tablespace = small", database.name()));
    database.psql(TABLE);
    let mut watched = Watched::serve(&database.url()).await;
    for _ in 0..3 {
        disk.run("cat /dev/zero > filler 2>/dev/null");
        let status = watched.refuses(Code::ResourceExhausted).await;
        let quota = status.get_details_quota_failure().expect("it says what is exhausted");
        assert_eq!(quota.violations[0].subject, "store");
        watched.arrives().await;
        disk.run("rm filler");
        watched.goes_on().await;
    }
}

/// A file system of 4 MiB for those who run the database: a tmpfs in the mount namespace of a shell, gone with it.
struct Disk {
    folder: TempDir,
    shell: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Disk {
    /// Mounts one; `None` where that cannot be, which is then said in the name of `test`.
    fn mount(test: &str, cluster: &Cluster) -> Option<Self> {
        let disk = Self::try_mount(Path::new(&cluster.psql("SHOW data_directory")));
        if disk.is_none() {
            // Past the capture of the test harness, and in one piece: a script lists what was skipped.
            let line = format!("\nskipped: {test}: no file system may be mounted here\n");
            std::io::stderr().write_all(line.as_bytes()).expect("there is a stderr");
        }
        disk
    }

    fn try_mount(data: &Path) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let mut command = as_owner(data);
        command.args(["unshare", "--mount", "--map-root-user", "sh", "-c"]);
        command.arg("mount -t tmpfs -o size=4m none \"$0\" && cd \"$0\" && exec sh").arg(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().ok()?;
        let orders = shell.stdin.take().expect("it was piped");
        let answers = BufReader::new(shell.stdout.take().expect("it was piped"));
        let mut disk = Self { folder, shell, orders, answers };
        disk.try_run("true").is_some().then_some(disk)
    }

    /// Where it is for those who run the database.
    fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.shell.id()));
        root.join(self.folder.path().strip_prefix("/").expect("it is absolute"))
    }

    /// Runs a command of the shell in it, whatever comes of that.
    fn run(&mut self, command: &str) {
        self.try_run(command).expect("the shell is there");
    }

    fn try_run(&mut self, command: &str) -> Option<()> {
        writeln!(self.orders, "{command}; echo done").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        (answer == "done\n").then_some(())
    }
}

/// Runs what follows as the owner of a folder, where we are somebody else.
fn as_owner(folder: &Path) -> Command {
    let owner = |path: &Path| {
        let about = std::fs::metadata(path).expect("it is there");
        [about.uid(), about.gid()].map(|id| id.to_string())
    };
    let [user, group] = owner(folder);
    if user == owner(Path::new("/proc/self"))[0] {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &group, "--clear-groups"]);
    command
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The file system goes with the last process inside.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
