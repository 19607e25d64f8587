//! Files that follow settings: for a program that reads files, and is told to read them again.
//!
//! ```text
//! cargo run --example file_management
//! ```
//!
//! A server holds two files as settings. `datastream mirror`, the real program, keeps a directory equal to them and runs a
//! command after each change, as `systemctl reload app` would be one. Somebody changes a setting: the file follows, and the
//! command runs. Nothing else needs to run, and nothing is left.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use datastream_server::testing::TestServer;

/// What is run after each change. What it has to know is in its environment.
const RELOAD: &str =
    r#"echo "the application reloads, with $(cat "$DATASTREAM_DIR/limits/connections") connections""#;

fn main() -> Result<(), Box<dyn Error>> {
    let datastream = datastream()?;
    let server = TestServer::start();
    server.set("configs/app.conf", "listen = 8080\n".to_owned());
    server.set("configs/limits/connections", 10_i64);

    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("app");
    println!("operator: datastream mirror configs/ {} --exec '{RELOAD}'", dir.display());
    let mut mirror = Mirror::start(&datastream, &server.url(), &dir)?;
    mirror.says("reloads, with 10")?;
    for file in ["app.conf", "limits/connections"] {
        println!("file: {file} is {:?}", std::fs::read_to_string(dir.join(file))?);
    }
    println!("operator: sets configs/limits/connections to 20");
    server.set("configs/limits/connections", 20_i64);
    mirror.says("reloads, with 20")?;
    println!("file: limits/connections is {:?}", std::fs::read_to_string(dir.join("limits/connections"))?);
    Ok(())
}

/// A mirror that runs; ended when dropped.
struct Mirror {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Mirror {
    fn start(datastream: &Path, url: &str, dir: &Path) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(datastream);
        command.args(["--url", url, "mirror", "configs/"]).arg(dir).args(["--exec", RELOAD]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("it was piped")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Waits until it, or its command, says so.
    fn says(&mut self, text: &str) -> Result<(), Box<dyn Error>> {
        for line in &mut self.lines {
            let line = line?;
            println!("mirror: {line}");
            if line.contains(text) {
                return Ok(());
            }
        }
        Err("the mirror has ended".into())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line, as cargo has built it beside this example, or builds it now.
fn datastream() -> Result<PathBuf, Box<dyn Error>> {
    let example = std::env::current_exe()?;
    let target =
        example.parent().and_then(Path::parent).ok_or("an example lies in target/PROFILE/examples")?;
    let program = target.join(format!("datastream{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--package", "datastream-client", "--features", "cli"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
        built.success().then_some(()).ok_or("the command line cannot be built")?;
    }
    Ok(program)
}
