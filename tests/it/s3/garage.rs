//! Garage: a real server of S3, which ignores the conditions of writes. `tests/s3/garage` builds it once.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use datastream_server::stores::s3::Address;
use tempfile::TempDir;

use super::{BUCKET, KEY_ID, SECRET, Tool};
use crate::postgres::{Daemon, free_port, until};

/// The variable that the test command sets where the tests of Garage are left out.
const LEFT_OUT: &str = "DATASTREAM_FAST";

/// A server with an empty bucket; gone when dropped.
pub(crate) struct Garage {
    port: u16,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Garage {
    /// `None` where it is left out, which is then said in the name of `test`.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let program = program();
        if !program.exists() && std::env::var_os(LEFT_OUT).is_some() {
            // Past the capture of the test harness, and in one piece: a script lists what was skipped.
            let line = format!("\nskipped: {test}: there is no Garage, and --fast does not build it\n");
            std::io::stderr().write_all(line.as_bytes()).expect("there is a stderr");
            return None;
        }
        assert!(program.exists(), "there is no {}: run tests/s3/garage first", program.display());
        let folder = TempDir::new().expect("a folder");
        let [port, rpc] = [free_port(), free_port()];
        let path = folder.path().display();
        let config = format!(
            "metadata_dir = \"{path}/meta\"\ndata_dir = \"{path}/data\"\ndb_engine = \"sqlite\"\n\
             replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{SECRET}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{port}\"\n"
        );
        std::fs::write(folder.path().join("garage.toml"), config).expect("it can be written");
        let mut command = Command::new(program);
        command.args(["-c", "garage.toml", "server", "--single-node", "--default-bucket"]);
        command.env("GARAGE_DEFAULT_ACCESS_KEY", KEY_ID).env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
        command.env("GARAGE_DEFAULT_BUCKET", BUCKET);
        let daemon = Daemon::spawn(&command, folder.path(), "KILL");
        let garage = Self { port, _daemon: daemon, _folder: folder };
        until("Garage listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(garage)
    }

    pub(crate) fn url(&self, options: &str) -> String {
        format!("s3://{BUCKET}/app?endpoint=http://127.0.0.1:{}&region=garage{options}", self.port)
    }

    pub(crate) fn store(&self) -> Address {
        super::address(&self.url("&poll=100ms"))
    }

    pub(crate) fn tool(&self) -> Tool {
        Tool::of(&format!("http://127.0.0.1:{}", self.port), "garage")
    }
}

/// Where `tests/s3/garage` puts it.
fn program() -> PathBuf {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("DATASTREAM_TEST_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("datastream-tests")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/datastream-tests")));
    cache.unwrap_or_default().join("garage-2.5.0/bin/garage")
}
