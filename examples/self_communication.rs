//! A server and a client in one process: a program that offers its own settings, and reads them as others do.
//!
//! ```text
//! cargo run --example self_communication
//! ```
//!
//! The settings are in memory and end with the program. Nothing else needs to run: the server takes a free port of
//! 127.0.0.1, the client lists what is there, follows a setting, changes it, and both end.

use std::error::Error;
use std::sync::Arc;

use datastream_client::{Capability, Client};
use datastream_server::store::{Commit, Operation, Store as _};
use datastream_server::stores::MemoryStore;
use datastream_server::{Config, incoming, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(MemoryStore::new());
    let operations = vec![
        Operation::put("name", "string", "self_communication"),
        Operation::put("max_connections", "int", "10"),
    ];
    store.commit(Commit { operations, ..Commit::default() }).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // Without its sender the program has ended.
        let _ = stopped.await;
    };
    let server = tokio::spawn(serve(incoming(listener), store, Config::default(), stopped));

    talk(Client::connect(url)).await?;
    // It is there until now, or the send fails, and the server says below why.
    let _ = stop.send(());
    Ok(server.await??)
}

async fn talk(client: Client) -> Result<(), Box<dyn Error>> {
    for Capability { key, value_type, .. } in client.capabilities().await? {
        println!("capability: {key} ({value_type})");
    }
    let max = client.watch::<i64>("max_connections");
    max.ready().await?;
    println!("max_connections = {}", max.try_get()?);
    client.set("max_connections", 20_i64).await?;
    println!("max_connections = {}", max.try_get()?);
    Ok(())
}
