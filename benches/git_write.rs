//! How long it takes until a client shows what `git commit` put on a branch, and what the server costs while nothing is
//! committed.
//!
//! `cargo bench --bench git_write -- [SECONDS]`, after `cargo build --release -p datastream-server --features git`. The time
//! runs from before git is started, so that its own work is part of it. It fails if one commit of a hundred to a repository
//! on this machine takes more than 200 ms, or if a commit to a remote takes a second more than the interval at which
//! that is looked at, each three times in a row; or if the idle server takes more than 0.2 % of a core, where the
//! interval is an hour.

mod program;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use datastream_client::Client;
use program::{WRITES, propagation_within, serve};

/// What 99 of 100 commits to a local repository must keep.
const LIMIT: Duration = Duration::from_millis(200);
/// How often a remote is looked at.
const POLL: Duration = Duration::from_secs(1);
/// How many commits are made to it.
const REMOTE: i64 = 10;
/// What an idle server may use, in percent of a core.
const IDLE: f64 = 0.2;

fn main() -> ExitCode {
    let seconds = std::env::args().skip(1).find(|argument| argument != "--bench");
    let window =
        Duration::from_secs(seconds.map_or(10, |seconds| seconds.parse().expect("a number of seconds")));
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let verdict = |is_kept| if is_kept { "PASS" } else { "FAIL" };

    let local = Repository::make(folder.path(), "local");
    let (server, url) = serve(folder.path(), &format!("git:{}?poll=1h#main", local.path.display()));
    local.check_out();
    let watch = Client::connect(url).watch::<i64>("max_connections");
    let took =
        runtime.block_on(propagation_within(LIMIT, watch.clone(), WRITES, |value| local.commit(value)));
    let [p50, p99, most] = [took.len() / 2, took.len() * 99 / 100, took.len() - 1].map(|n| took[n]);
    println!(
        "{} foreign writes: {WRITES} by git commit: p50 {p50:.1?}, p99 {p99:.1?} (limit {LIMIT:?}), most {most:.1?}",
        verdict(p99 <= LIMIT)
    );
    let used = server.idle_share_of_a_core(IDLE, window);
    println!(
        "{} idle server on a git repository, one client: {used:.3} % of a core over {window:?} (limit {IDLE} %)",
        verdict(used <= IDLE)
    );

    let remote = Repository::make(folder.path(), "remote");
    let mirror = folder.path().join("mirror");
    let store = format!(
        "git+file://{}?poll={}s&mirror={}#main",
        remote.path.display(),
        POLL.as_secs(),
        mirror.display()
    );
    let (_server, url) = serve(folder.path(), &store);
    remote.check_out();
    let watch = Client::connect(url).watch::<i64>("max_connections");
    let limit = POLL + Duration::from_secs(1);
    let took = runtime.block_on(propagation_within(limit, watch, REMOTE, |value| remote.commit(value)));
    let slowest = took[took.len() - 1];
    println!(
        "{} foreign writes: {REMOTE} by git commit to a remote that is looked at each {POLL:?}: most {slowest:.1?} (limit {limit:?})",
        verdict(slowest <= limit)
    );
    // Returned, so that all that was started ends.
    ExitCode::from(u8::from(p99 > LIMIT || used > IDLE || slowest > limit))
}

/// A bare repository, and a work tree beside it in which somebody commits.
struct Repository {
    path: PathBuf,
    tree: PathBuf,
}

impl Repository {
    fn make(folder: &Path, name: &str) -> Self {
        let [path, tree] = [format!("{name}.git"), name.to_owned()].map(|name| folder.join(name));
        std::fs::create_dir_all(&tree).expect("a folder");
        let repository = Self { path, tree };
        repository.git(&["init", "-q", "--bare", "-b", "main"]);
        repository
    }

    /// Brings the sample settings into the work tree.
    fn check_out(&self) {
        self.git(&["checkout", "-q", "-f", "main"]);
    }

    fn commit(&self, value: i64) {
        std::fs::write(self.tree.join("max_connections"), value.to_string()).expect("a file");
        self.git(&["commit", "-q", "-a", "-m", "another limit"]);
    }

    fn git(&self, args: &[&str]) {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&self.path).args([
            "-c",
            "user.name=A Person",
            "-c",
            "user.email=person@example.com",
        ]);
        if args[0] != "init" {
            git.arg("--work-tree").arg(&self.tree);
        }
        let status = git.args(args).status().expect("git can be run");
        assert!(status.success(), "git {args:?}: {status}");
    }
}
