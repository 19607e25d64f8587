//! A remote through ssh.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use datastream_client::Client;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::git::Repository;
use crate::postgres::free_port;
use crate::process::{Server, command};
use crate::server_process::refused;
use crate::wire::{DEADLINE, eventually};

/// An ssh daemon of a test's own, for the user who runs it, by a key.
struct Sshd {
    folder: TempDir,
    port: u16,
    daemon: Child,
}

impl Sshd {
    /// `None` where there is none on this machine.
    fn start() -> Option<Self> {
        let program = ["/usr/sbin/sshd", "/usr/bin/sshd"].iter().map(Path::new).find(|path| path.exists());
        let Some(program) = program else {
            // Past the capture of the test harness, and in one piece: a script lists what was skipped.
            let line = "\nskipped: a remote through ssh: there is no sshd (openssh-server)\n";
            std::io::stderr().write_all(line.as_bytes()).expect("there is a stderr");
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        for key in ["host", "user"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(key));
            assert!(make.status().expect("it comes with ssh").success());
        }
        // Where it puts itself in a cage.
        let _ = fs::create_dir_all("/run/sshd");
        let port = free_port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
            at("host"),
            at("user.pub")
        );
        fs::write(folder.path().join("config"), config).expect("a file");
        let mut daemon = Command::new(program);
        daemon.args(["-D", "-e", "-f"]).arg(folder.path().join("config")).stderr(Stdio::null());
        let daemon = daemon.spawn().expect("it can be run");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < DEADLINE, "sshd does not listen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Some(Self { folder, port, daemon })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As `--store` takes it.
    fn store(&self, repository: &Repository) -> String {
        let mirror = repository.folder().join("mirror");
        let (port, path) = (self.port, repository.path());
        format!("git+ssh://127.0.0.1:{port}{}?poll=100ms&mirror={}#main", path.display(), mirror.display())
    }

    /// An ssh that knows the host, and has the key if it is asked to.
    fn command(&self, has_key: bool) -> String {
        let known = fs::read_to_string(self.file("host.pub")).expect("a key");
        let known = format!("[127.0.0.1]:{} {known}", self.port);
        fs::write(self.file("known"), known).expect("a file");
        let identity = if has_key { self.file("user") } else { "/dev/null".into() };
        format!(
            "ssh -F /dev/null -oBatchMode=yes -oIdentitiesOnly=yes -oUserKnownHostsFile={} -i {}",
            self.file("known").display(),
            identity.display()
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_is_read_and_written_through_ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let repository = Repository::holding(&[("a", "1")]);
    let store = sshd.store(&repository);
    let mut command = command(&["--listen", "127.0.0.1:0", "--store", &store]);
    command.env("GIT_SSH_COMMAND", sshd.command(true));
    let server = Server::spawn(command);
    let client = Client::connect(server.url());
    let a = client.watch::<String>("a");
    eventually("it reads", || a.get().as_deref() == Some("1")).await;
    repository.person().commit(&[("a", "2")]);
    eventually("it follows", || a.get().as_deref() == Some("2")).await;
    client.set("a", "3".to_owned()).await.expect("it writes");
    assert_eq!(repository.git(&["show", "main:a"]), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_key_or_with_a_host_that_nobody_knows_a_server_does_not_start_and_asks_nobody() {
    let Some(sshd) = Sshd::start() else { return };
    let repository = Repository::holding(&[("a", "1")]);
    let store = sshd.store(&repository);
    let mut keyless = command(&["--listen", "127.0.0.1:0", "--store", &store]);
    keyless.env("GIT_SSH_COMMAND", sshd.command(false)).env_remove("SSH_AUTH_SOCK");
    let output = spawn_blocking(move || keyless.output()).await.expect("it ends").expect("it can be run");
    assert_eq!(output.status.code(), Some(2));
    let keyless = String::from_utf8(output.stderr).expect("it writes UTF-8");
    let stranger = spawn_blocking(move || refused(&["--listen", "127.0.0.1:0", "--store", &store]));
    for said in [keyless, stranger.await.expect("it ends")] {
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("does not let us in") && said.contains("ssh agent"), "{said}");
    }
}
