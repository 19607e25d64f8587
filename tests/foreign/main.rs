//! Our client and a server with the original's manners, which is restarted, upgraded and rolled back under it.
//!
//! A program of its own, because it needs Python with the stubs of the original contract: `tests/foreign/run` makes
//! them and starts it. `DATASTREAM_QUIET_SECONDS` says how long nothing happens at all; 3 unless set.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use datastream_client::{Client, Limits, Peer, Seen, State, Unavailable, Watch};
use datastream_server::testing::TestServer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// Far above what anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// One life of the server: the process of `standin.py`, killed when dropped.
struct StandIn {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl StandIn {
    async fn start(port: &str, values: &[&str]) -> Self {
        let python = std::env::var_os("DATASTREAM_PYTHON").expect("tests/foreign/run says which Python");
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/standin.py"))
            .arg(port)
            .args(values)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python runs");
        let commands = child.stdin.take().expect("it was piped");
        let answers = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let mut life = Self { child, commands, answers };
        assert_eq!(life.answer().await, "ok");
        life
    }

    async fn answer(&mut self) -> String {
        let line = timeout(DEADLINE, self.answers.next_line()).await.expect("it answers in time");
        line.expect("it can be read").expect("it has not ended")
    }

    async fn ask(&mut self, command: &str) -> String {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("it listens");
        self.answer().await
    }

    async fn set(&mut self, key: &str, value: i64) {
        assert_eq!(self.ask(&format!("set {key} int {value}")).await, "ok");
    }

    /// Each life of the server counts at most one `Subscribe` for each key, and none of several.
    async fn was_asked_once_for(&mut self, keys: &[&str]) {
        let counts = self.ask("counts").await;
        let counts: BTreeMap<String, u64> = serde_json::from_str(&counts).expect("it counts");
        let once: BTreeMap<_, _> = keys.iter().map(|key| ((*key).to_owned(), 1)).collect();
        assert_eq!(counts, once);
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

/// Waits until a handle shows a value that is fresh.
async fn shows(watch: &Watch<i64>, value: i64) {
    until(&format!("{value}"), || watch.get() == Some(value) && watch.status().state == State::Ready).await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "took too long: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

fn quiet() -> Duration {
    let seconds = std::env::var("DATASTREAM_QUIET_SECONDS");
    Duration::from_secs(seconds.map_or(3, |seconds| seconds.parse().expect("a number of seconds")))
}

#[tokio::test]
async fn a_server_of_the_original_is_followed_and_so_is_the_change_to_another_and_back() {
    // It finds a free port, which all the others take over.
    let mut ours = TestServer::start().with("a", 100_i64).with("b", 200_i64);
    ours.stop();
    let url = ours.url();
    let port = url.rsplit(':').next().expect("a port");
    let limits = Limits::default().ready(Duration::from_secs(2));
    let client = Client::builder(&url).limits(limits).connect();
    let (a, b, nowhere) =
        (client.watch::<i64>("a"), client.watch::<i64>("b"), client.watch::<i64>("nowhere"));

    let mut life = StandIn::start(port, &["a=int=1", "b=int=2", "late=int=3"]).await;
    shows(&a, 1).await;
    shows(&b, 2).await;
    let status = client.status();
    assert_eq!((status.peer, status.age, status.position), (Some(Peer::Original), None, None));
    sleep(quiet()).await;
    assert_eq!(client.status().since, status.since, "silence is no reason to ask again");
    life.set("b", 20).await;
    shows(&b, 20).await;
    let late = client.watch::<i64>("late");
    shows(&late, 3).await;
    drop(b);
    let b = client.watch::<i64>("b");
    life.set("b", 21).await;
    shows(&b, 21).await;
    assert!(matches!(nowhere.ready().await, Err(Unavailable::NotReady { .. })), "it was never answered");
    let written = client.set("a", 10_i64).await.expect("it takes everything");
    assert_eq!((written.seen, written.position), (Seen::NotYet, None));
    shows(&a, 10).await;
    let listed = client.capabilities().await.expect("it lists");
    assert_eq!(listed.iter().map(|one| &*one.key).collect::<Vec<_>>(), ["a", "b", "late"]);
    assert_eq!(client.snapshot().keys().collect::<Vec<_>>(), ["a", "b", "late"]);
    life.was_asked_once_for(&["a", "b", "late", "nowhere"]).await;

    life.kill().await;
    until("stale", || a.status().state == State::Stale).await;
    assert_eq!((a.get(), b.get(), late.get()), (Some(10), Some(21), Some(3)), "the last values stay");
    let mut life = StandIn::start(port, &["a=int=11", "b=int=21", "late=int=3"]).await;
    shows(&a, 11).await;
    shows(&b, 21).await;
    shows(&late, 3).await;
    life.set("late", 4).await;
    shows(&late, 4).await;
    life.was_asked_once_for(&["a", "b", "late", "nowhere"]).await;

    life.kill().await;
    ours.restart();
    shows(&a, 100).await;
    assert_eq!((b.get(), late.get()), (Some(200), None), "all at once");
    assert_eq!(client.status().peer, Some(Peer::Current));
    assert!(client.status().position.is_some());
    assert_eq!(client.set("a", 101_i64).await.expect("it is durable").seen, Seen::Applied);
    assert_eq!(a.get(), Some(101));

    ours.stop();
    let mut life = StandIn::start(port, &["a=int=12", "b=int=22"]).await;
    shows(&a, 12).await;
    shows(&b, 22).await;
    assert_eq!(client.status().peer, Some(Peer::Original));
    life.was_asked_once_for(&["a", "b", "late", "nowhere"]).await;
}

/// Runs the command line for a server, and returns its exit code and what it wrote.
async fn datastream(url: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let test = std::env::current_exe().expect("a running test has a path");
    let target = test.ancestors().nth(2).expect("tests lie in deps/");
    let program = target.join("datastream");
    assert!(
        program.exists(),
        "there is no {}: run `cargo build --workspace --all-targets`",
        program.display()
    );
    let mut command = Command::new(program);
    command.args(words).env("DATASTREAM_URL", url).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await.expect("it ends in time").expect("it can be run");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_server_of_the_original_is_exported_and_says_why_it_is_neither_imported_into_nor_mirrored() {
    let mut ours = TestServer::start();
    ours.stop();
    let url = ours.url();
    let port = url.rsplit(':').next().expect("a port");
    // As its store in a bucket lists them.
    let values =
        ["configs/a=int=1", "configs/b.json=.json={}", "top=string=x", "/=directory=", "bad//key=int=1"];
    let _life = StandIn::start(port, &values).await;
    let expected = "{\n  \"configs/a\": { \"type\": \"int\", \"value\": \"1\" },\n  \
                    \"configs/b.json\": { \"type\": \".json\", \"value\": \"{}\" }";
    let (code, stdout, stderr) = datastream(&url, &["export", "configs/", "-o", "json"]).await;
    assert_eq!((code, &*stdout, &*stderr), (Some(0), &*format!("{expected}\n}}\n"), ""));
    let (code, stdout, stderr) = datastream(&url, &["export", "-o", "json"]).await;
    let all = format!("{expected},\n  \"top\": {{ \"type\": \"string\", \"value\": \"x\" }}\n}}\n");
    assert_eq!((code, &*stdout), (Some(1), &*all));
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines[0].starts_with("left out: bad//key: "), "{stderr}");
    assert_eq!(lines[1..], ["error: 1 left out, for the reasons above"]);

    let folder = tempfile::tempdir().expect("a folder");
    let path = |name| folder.path().join(name).to_str().expect("it is text").to_owned();
    std::fs::write(path("all.json"), all).expect("it can be written");
    let (code, _, stderr) = datastream(&url, &["import", &path("all.json")]).await;
    assert!(code == Some(1) && stderr.ends_with("it may be a server of the original\n"), "{stderr}");
    let mirror = ["mirror", "configs/", &path("dir"), "--once", "--timeout", "2"];
    let (code, _, stderr) = datastream(&url, &mirror).await;
    assert!(code == Some(1) && stderr.contains("which cannot say that a prefix is whole"), "{stderr}");
    assert!(!std::path::Path::new(&path("dir")).exists());
}
