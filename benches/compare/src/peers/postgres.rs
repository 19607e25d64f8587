//! PostgreSQL: an upsert for each write, as it commits by default.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::peer::{Crowd, Peer, Publisher, Server, drive};
use crate::process::{Cores, Process, free_address};

/// It refuses to run as root.
const USER: &str = "postgres";
/// By when it lets somebody in.
const START: Duration = Duration::from_secs(20);

pub struct Postgres;

#[async_trait(?Send)]
impl Peer for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    async fn start(&self, folder: &Path, cores: Cores) -> Result<Box<dyn Server>> {
        let (programs, data, address) = (programs()?, folder.join("data"), free_address()?);
        let user = User::of(folder)?;
        let initdb = user
            .command(&programs.join("initdb"))
            .args(["--auth", "trust", "--username", USER, "--pgdata"])
            .arg(&data)
            .output()?;
        ensure!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let mut command = user.command(&programs.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(folder);
        command.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-c", "max_connections=300"]);
        let mut process = Process::start(&mut command, cores, folder)?.ends_gently();
        process.listens(address)?;
        let server = Running { process, address };
        let table = "CREATE TABLE data (key TEXT PRIMARY KEY, value BYTEA)";
        server.connect().await?.batch_execute(table).await?;
        Ok(Box::new(server))
    }
}

/// Where Debian has its programs: the newest.
fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let mut versions: Vec<_> = versions.filter_map(|it| Some(it.ok()?.path().join("bin"))).collect();
    versions.retain(|it| it.join("postgres").is_file());
    versions.sort();
    versions.pop().context("PostgreSQL is not installed")
}

/// Whether it has to run as somebody else.
struct User {
    is_root: bool,
}

impl User {
    /// Whoever may write to `folder`, which becomes theirs.
    fn of(folder: &Path) -> Result<Self> {
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            let id = Command::new("id").args(["-u", USER]).output()?.stdout;
            let id = String::from_utf8_lossy(&id).trim().parse().context("there is no user postgres")?;
            chown(folder, Some(id), None)?;
        }
        Ok(Self { is_root })
    }

    fn command(&self, program: &Path) -> Command {
        if !self.is_root {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL"])
            .arg(program);
        command
    }
}

struct Running {
    process: Process,
    address: SocketAddr,
}

impl Running {
    async fn connect(&self) -> Result<Client> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.address.port()).user(USER).dbname("postgres");
        // It listens before it lets anybody in.
        let began = Instant::now();
        loop {
            match config.connect(NoTls).await {
                Ok((client, connection)) => {
                    drive(async move { drop(connection.await) });
                    return Ok(client);
                }
                Err(error) if began.elapsed() > START => return Err(error).context("cannot connect"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

#[async_trait(?Send)]
impl Server for Running {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>> {
        let client = self.connect().await?;
        let upsert = "INSERT INTO data VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2";
        let upsert = client.prepare(upsert).await?;
        Ok(Box::new(Writer { client: Rc::new(client), upsert }))
    }

    async fn subscribe(&self, _: &Crowd) -> Result<()> {
        bail!("it has no subscribers")
    }

    fn writers_on_a_connection(&self) -> usize {
        1
    }
}

struct Writer {
    client: Rc<Client>,
    upsert: Statement,
}

#[async_trait(?Send)]
impl Publisher for Writer {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        self.client.execute(&self.upsert, &[&key, &&value[..]]).await?;
        Ok(())
    }

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>> {
        let row = self.client.query_opt("SELECT value FROM data WHERE key = $1", &[&key]).await?;
        Ok(row.map(|row| Bytes::from(row.get::<_, Vec<u8>>(0))))
    }

    fn share(&self) -> Box<dyn Publisher> {
        Box::new(Self { client: self.client.clone(), upsert: self.upsert.clone() })
    }
}
