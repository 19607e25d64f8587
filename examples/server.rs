//! A settings server as a program of one's own, with the three settings of the original.
//!
//! ```text
//! cargo run --example server [-- ADDRESS [FILE]]
//! ```
//!
//! It listens on 127.0.0.1:8080 and keeps the settings in `example.db`, unless told otherwise. A setting that
//! somebody changed or deleted stays so when it starts again. Ctrl-C stops it: streams are told to go, calls
//! finish. The binary `datastream-server` does the same with flags.

use std::error::Error;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use datastream_server::store::{Commit, Operation, Store as _};
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::{Config, incoming, serve};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // One line for each call and each stream: method, peer, duration, status.
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let file = arguments.next().unwrap_or_else(|| "example.db".to_owned());

    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    let store = Arc::new(SqliteStore::open(Path::new(&file))?);
    store.seed(samples()).await?;
    println!("listening on {}, settings in {file}", listener.local_addr()?);

    let stopped = async {
        // Without a handler for the signal it ends the process, as it always does.
        let _ = tokio::signal::ctrl_c().await;
        println!("stopping");
    };
    Ok(serve(incoming(listener), store, Config::default(), stopped).await?)
}

/// Written once in the life of the store, where it has none of these keys.
fn samples() -> Commit {
    let operations = vec![
        Operation::put("max_connections", "int", "10"),
        Operation::put("rate_limit", "int", "1000"),
        Operation::put("debug_enabled", "bool", "false"),
    ];
    Commit { operations, author: "demo".to_owned(), ..Commit::default() }
}
