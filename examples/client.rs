//! Lists what a server has, then follows the first two keys and prints every update.
//!
//! ```text
//! cargo run --example client [-- URL]
//! ```
//!
//! It goes on until Ctrl-C, whatever becomes of the server: while it is gone, the values that were read last
//! stay, and are said to be stale.

use std::error::Error;
use std::time::Duration;

use datastream_client::{Capability, Client, State};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let client = Client::connect(url);
    let capabilities = list(&client).await;
    for Capability { key, value_type, .. } in &capabilities {
        println!("capability: {key} ({value_type})");
    }
    for Capability { key, .. } in capabilities.iter().take(2) {
        tokio::spawn(print(client.clone(), key.clone()));
    }
    tokio::spawn(print_status(client));
    Ok(tokio::signal::ctrl_c().await?)
}

/// Asks until there is an answer: the server may be started later than its client.
async fn list(client: &Client) -> Vec<Capability> {
    loop {
        match client.capabilities().await {
            Ok(capabilities) if !capabilities.is_empty() => return capabilities,
            Ok(_) => println!("the server has no settings yet"),
            Err(error) => println!("not listed: {}", error.source().unwrap_or(&error)),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Prints a setting of any type, as it was written.
async fn print(client: Client, key: String) {
    let mut setting = client.watch::<Vec<u8>>(&key);
    loop {
        setting.changed().await;
        match client.snapshot().text(&key) {
            Some((text, value_type)) => println!("{key} = {} ({value_type})", String::from_utf8_lossy(text)),
            None => println!("{key} does not exist"),
        }
    }
}

/// Prints when the server is lost, why, and when it is back.
async fn print_status(client: Client) {
    let mut last = State::NotReady;
    loop {
        let status = client.status();
        if status.state != last {
            last = status.state;
            match status.last_error {
                Some(why) => println!("{last:?}: {why}"),
                None => println!("{last:?}"),
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}
