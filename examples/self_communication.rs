//! A server and a client in one process, on the repository that this project lives in: its files are the settings.
//!
//! ```text
//! cargo run --example self_communication
//! ```
//!
//! It needs `git`. What is served is a clone in a temporary folder, so that the example may commit to it: the client lists what
//! is there, follows a file, changes it, and what it changed is a commit. Nothing else needs to run: the server takes a free
//! port of 127.0.0.1, and all of it ends with the program.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use datastream_client::{Capability, Client};
use datastream_server::stores::git::{Address, GitStore};
use datastream_server::{Config, incoming, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The branch of the clone that is served.
const BRANCH: &str = "settings";
/// How many of the files are shown.
const SHOWN: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let repository = folder.path().join("settings.git");
    git(Path::new("."), &["clone", "--quiet", "--bare", ".", &repository.display().to_string()])?;
    git(&repository, &["branch", "--force", BRANCH, "HEAD"])?;
    let address = Address::parse(&format!("git:{}#{BRANCH}", repository.display()))?;
    let store = Arc::new(GitStore::open(&address).await?);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // Without its sender the program has ended.
        let _ = stopped.await;
    };
    let server = tokio::spawn(serve(incoming(listener), store, Config::default(), stopped));

    talk(Client::connect(url)).await?;
    println!("git log: {}", git(&repository, &["log", "-1", "--format=%s", BRANCH])?);
    // It is there until now, or the send fails, and the server says below why.
    let _ = stop.send(());
    Ok(server.await??)
}

async fn talk(client: Client) -> Result<(), Box<dyn Error>> {
    let capabilities = client.capabilities().await?;
    for Capability { key, value_type, .. } in capabilities.iter().take(SHOWN) {
        println!("capability: {key} ({value_type})");
    }
    println!("and {} more", capabilities.len().saturating_sub(SHOWN));
    let readme = client.watch::<String>("README.md");
    readme.ready().await?;
    println!("README.md begins {:?}", first_line(&readme.try_get()?));
    let changed = client.commit().put_text("README.md", ".md", "# Changed over the wire\n");
    changed.message("Say hello from the example").send().await?;
    println!("README.md begins {:?}", first_line(&readme.try_get()?));
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Runs git in a folder, and returns what it writes.
fn git(folder: &Path, args: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new("git").current_dir(folder).args(args).output()?;
    if !output.status.success() {
        return Err(format!("git {}: {}", args[0], String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
