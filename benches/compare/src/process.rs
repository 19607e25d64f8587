//! A server as a process: on which core, what it uses, its end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::{CpuSet, sched_setaffinity};

/// By when a server listens.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long one that was asked to end may take.
const END: Duration = Duration::from_secs(5);

/// The cores of a server, or of the load generator.
#[derive(Clone, Copy, PartialEq)]
pub enum Cores {
    /// The first one, for the server under test.
    Server,
    /// The second one, for the load.
    Load,
    All,
}

impl Cores {
    fn list(self) -> String {
        let last = thread::available_parallelism().map_or(1, usize::from).max(2) - 1;
        match self {
            Self::Server => "0".to_owned(),
            Self::Load => "1".to_owned(),
            Self::All => format!("0-{last}"),
        }
    }

    /// Has this thread run there, and those that it starts.
    pub fn take(self) -> Result<()> {
        let mut set = CpuSet::new();
        match self {
            Self::Server => set.set(0),
            Self::Load => set.set(1),
            Self::All => (0..CpuSet::MAX_CPU).for_each(|core| set.set(core)),
        }
        sched_setaffinity(None, &set).context("this machine has no second core")
    }
}

/// A running server. It ends when this is dropped, or when the load generator ends.
pub struct Process {
    child: Child,
    log: PathBuf,
    gently: bool,
}

impl Process {
    /// Starts a server in `folder`. Its log is in a folder of its own, as on a machine of its own: ours watches where its file is.
    pub fn start(command: &mut Command, cores: Cores, folder: &Path) -> Result<Self> {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let log = logs.join("log");
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "taskset", "-c", &cores.list()]);
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped.stdout(file.try_clone()?).stderr(file).current_dir(folder).process_group(0);
        let child = wrapped.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { child, log, gently: false })
    }

    /// Has it end by SIGTERM: one with processes of its own needs that.
    pub fn ends_gently(mut self) -> Self {
        self.gently = true;
        self
    }

    /// Waits until it listens.
    pub fn listens(&mut self, address: SocketAddr) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if self.child.try_wait()?.is_some() {
                bail!("it does not start: {}", self.last_words());
            }
            if began.elapsed() > DEADLINE {
                bail!("it does not listen on {address}: {}", self.last_words());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The time that its threads ran, and those of the processes that it has, as the scheduler counts it.
    pub fn processor_time(&self) -> Result<Duration> {
        let threads = fs::read_dir(self.proc("task")).context("the server has ended")?;
        let mut threads = threads.map(|it| Ok(it?.path())).collect::<Result<Vec<_>>>()?;
        let children: String =
            threads.iter().filter_map(|it| fs::read_to_string(it.join("children")).ok()).collect();
        for child in children.split_whitespace() {
            threads.push(format!("/proc/{child}").into());
        }
        let mut ran = Duration::ZERO;
        for thread in threads {
            // It may have ended since.
            let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            ran += Duration::from_nanos(
                text.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0),
            );
        }
        Ok(ran)
    }

    /// The memory that it has now, in bytes.
    pub fn memory(&self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most memory that it had since it was told to forget that.
    pub fn peak_memory(&self) -> Result<f64> {
        self.status("VmHWM:")
    }

    pub fn forget_peak(&self) -> Result<()> {
        fs::write(self.proc("clear_refs"), "5").context("this kernel does not forget a peak")
    }

    fn status(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(self.proc("status")).context("the server has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(kilobytes.with_context(|| format!("this kernel does not say {name}"))? * 1024.0)
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let began = Instant::now();
        if self.gently {
            self.signal(Signal::TERM);
            while began.elapsed() < END && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A port of the loopback that is free now.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    listener.local_addr().context("there is no free port")
}

/// Where a program is, if it is installed.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not installed"))
}
