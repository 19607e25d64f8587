//! The examples, as a reader of the README runs them: as programs.

mod applications;

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// For what should take seconds at most.
const DEADLINE: Duration = Duration::from_secs(60);

/// An example that runs, and what it says, its errors included. It is killed when dropped.
struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    fn start(name: &'static str, arguments: &[&str]) -> Self {
        let mut child = Command::new(built(name))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("stdout is piped")),
            Box::new(child.stderr.take().expect("stderr is piped")),
        ];
        for output in outputs {
            let sender = sender.clone();
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            std::thread::spawn(move || lines.try_for_each(|line| sender.send(line)));
        }
        Self { name, child, lines, said: Vec::new() }
    }

    /// The next line that contains `text`.
    fn says(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("`{}` never said `{text}`; it said: {:#?}", self.name, self.said);
            };
            self.said.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// As Ctrl-C does.
    fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Waits until it ends. Its lines are then all in `said`.
    fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.said.push(line);
        }
        assert!(Instant::now() < end, "`{}` does not end; it said: {:#?}", self.name, self.said);
        self.child.wait().expect("it ends")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts an example: beside the folder of this test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let target = test.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    let program = target.join("examples").join(name);
    assert!(program.exists(), "{} is not built: run `cargo build --examples`", program.display());
    program
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn live_settings_shows_every_change_and_a_server_that_comes_back() {
    let mut program = Program::start("live_settings", &[]);
    for text in [
        "application: max_connections = 10",
        "updater: pushes 20",
        "application: max_connections = 20",
        "application: max_connections = 30",
        "application: max_connections = 40",
        "sqlite: writes into the file 50",
        "application: max_connections = 50",
        "operator: kills the server",
        "status Stale, max_connections is Some(50)",
        "operator: starts the server again",
        "status Ready, max_connections is Some(60)",
    ] {
        program.says(text);
    }
    assert!(program.ends().success());
    let latencies = program.said.iter().filter(|line| line.ends_with("ms after the write began"));
    assert_eq!(latencies.count(), 5, "each change but the first has its latency: {:#?}", program.said);
}

#[test]
fn live_settings_stays_and_takes_changes_from_outside() {
    let folder = folder();
    let file = folder.path().join("settings.db");
    let mut program = Program::start("live_settings", &["--stay", "--store", &file.to_string_lossy()]);
    program.says("It stays until Ctrl-C");
    let command = program.says("--example updater -- ");
    let url = command.split_whitespace().find(|word| word.starts_with("http")).expect("it names its URL");
    let mut updater = Program::start("updater", &[url, "max_connections", "42"]);
    let status = updater.ends();
    assert!(status.success(), "{status}: {:#?}", updater.said);
    program.says("max_connections = 42, written by somebody else");
    program.interrupt();
    assert!(program.ends().success());
    assert!(file.exists(), "a store that was named is kept");
}

/// D-64: the original's client ended with the first error, and read nothing again.
#[test]
fn d64_the_client_outlives_its_server_and_shows_what_changed_meanwhile() {
    let folder = folder();
    let file = folder.path().join("example.db");
    let mut server = Program::start("server", &["127.0.0.1:0", &file.to_string_lossy()]);
    let listening = server.says("listening on ");
    let address = listening.split([' ', ',']).nth(2).expect("it names its address").to_owned();
    let url = format!("http://{address}");

    let mut client = Program::start("client", &[&url]);
    client.says("capability: debug_enabled (bool)");
    client.says("capability: max_connections (int)");
    client.says("capability: rate_limit (int)");
    client.says("max_connections = 10 (int)");
    assert!(Program::start("updater", &[&url]).ends().success());
    client.says("max_connections = 20 (int)");

    server.kill();
    client.says("Stale: ");
    // It tries again until there is a server.
    let mut updater = Program::start("updater", &[&url, "max_connections", "30"]);
    let mut server = Program::start("server", &[&address, &file.to_string_lossy()]);
    server.says("listening on ");
    let status = updater.ends();
    assert!(status.success(), "{status}: {:#?}", updater.said);
    client.says("max_connections = 30 (int)");
    server.interrupt();
    assert!(server.ends().success());
}

#[test]
fn the_updater_says_what_is_wrong_and_fails() {
    let folder = folder();
    let file = folder.path().join("example.db");
    let mut server = Program::start("server", &["127.0.0.1:0", &file.to_string_lossy()]);
    let listening = server.says("listening on ");
    let address = listening.split([' ', ',']).nth(2).expect("it names its address").to_owned();
    let url = format!("http://{address}");
    let mut updater = Program::start("updater", &[&url, "max_connections", "many"]);
    updater.says("not written: another type: the key holds int");
    assert_eq!(updater.ends().code(), Some(1));
    let mut updater = Program::start("updater", &[&url, "debug_enabled", "true"]);
    updater.says("debug_enabled = true, revision ");
    let status = updater.ends();
    assert!(status.success(), "{status}: {:#?}", updater.said);
}

#[test]
fn self_communication_lists_and_changes_what_it_serves_itself() {
    let mut program = Program::start("self_communication", &[]);
    for text in [
        "capability: ARCHITECTURE.md (.md)",
        "README.md begins \"# datastream\"",
        "README.md begins \"# Changed over the wire\"",
        "git log: Say hello from the example",
    ] {
        program.says(text);
    }
    assert!(program.ends().success());
}

#[cfg(unix)]
#[test]
fn file_management_shows_a_file_that_follows_its_setting_and_the_command_that_runs() {
    let mut program = Program::start("file_management", &[]);
    for text in [
        "operator: datastream mirror configs/ ",
        "mirror: 2 files, as of revision 3",
        "mirror: the application reloads, with 10 connections",
        "file: app.conf is \"listen = 8080\\n\"",
        "file: limits/connections is \"10\"",
        "operator: sets configs/limits/connections to 20",
        "mirror: 2 files, as of revision 4",
        "mirror: the application reloads, with 20 connections",
        "file: limits/connections is \"20\"",
    ] {
        program.says(text);
    }
    assert!(program.ends().success());
}
