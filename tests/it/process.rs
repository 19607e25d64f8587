//! The programs, run as processes.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::wire::DEADLINE;

/// A command that runs the server, with none of its variables set.
pub(crate) fn command(flags: &[&str]) -> Command {
    program("datastream-server", flags)
}

/// A command that runs one of the programs, with none of its variables set.
pub(crate) fn program(name: &str, flags: &[&str]) -> Command {
    let program = path(name);
    let build = "cargo build --workspace --all-targets";
    assert!(program.exists(), "there is no {}: run `{build}` first", program.display());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DATASTREAM_")) {
        command.env_remove(name);
    }
    command.args(flags).stdin(Stdio::null());
    command
}

/// Where cargo puts it: beside the folder of this test.
fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.parent().and_then(std::path::Path::parent).expect("tests lie in deps/");
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// A server that does not run, and goes on when this is dropped.
pub(crate) struct Paused<'a>(&'a Server);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
    }
}

/// A server that runs; killed when dropped.
pub(crate) struct Server {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    port: u16,
}

impl Server {
    /// Starts the program, and waits until it says where it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::spawn(command(flags))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program can be run");
        let lines = BufReader::new(child.stderr.take().expect("it was piped")).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
            let said = said.clone();
            move || {
                lines.map_while(Result::ok).for_each(|line| said.lock().expect("no holder panics").push(line))
            }
        });
        let mut server = Self { child, said, port: 0 };
        server.port = server.await_port();
        server
    }

    fn await_port(&self) -> u16 {
        let began = Instant::now();
        loop {
            let port = self.said().iter().find_map(|line| {
                let (_, address) = line.split_once("listening address=")?;
                address.split_whitespace().next()?.rsplit(':').next()?.parse().ok()
            });
            if let Some(port) = port {
                return port;
            }
            assert!(began.elapsed() < DEADLINE, "it does not listen: {:#?}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What a client on this machine connects to.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The lines that it wrote to stderr so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("no holder panics").clone()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill can be run");
        assert!(sent.success());
    }

    /// Stops it, as SIGSTOP does, for as long as what this returns is kept. Its connections stay.
    pub(crate) fn pause(&self) -> Paused<'_> {
        self.signal("STOP");
        Paused(self)
    }

    /// Sends SIGTERM, and waits until it exits, which must be with 0.
    pub(crate) fn terminate(mut self) {
        self.signal("TERM");
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return assert!(status.success(), "{status}: {:#?}", self.said());
            }
            assert!(began.elapsed() < DEADLINE, "it does not exit: {:#?}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// How much time of a processor it has used, in steps of 10 ms.
    #[cfg(target_os = "linux")]
    pub(crate) fn cpu_steps(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
        let fields: Vec<_> = fields.split_whitespace().collect();
        let [user, system] = [11, 12].map(|field: usize| fields[field].parse::<u64>().expect("a number"));
        user + system
    }

    /// How much memory it holds.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_bytes(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// How much memory it held at most.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_bytes(&self) -> usize {
        self.memory("VmHWM:")
    }

    #[cfg(target_os = "linux")]
    fn memory(&self, kind: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).expect("Linux tells it");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("it is a number of KiB");
        kib << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
