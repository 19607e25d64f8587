//! Sets one setting.
//!
//! ```text
//! cargo run --example updater [-- URL [KEY [VALUE]]]
//! ```
//!
//! Without arguments: `max_connections = 20`, on the server at 127.0.0.1:8080. A value that reads as an integer
//! is written as one, then `true` and `false` as bool, everything else as a string; the server refuses another
//! type than the key has. While there is no server, it tries again: to set a value twice changes nothing.

use std::error::Error as _;
use std::process::ExitCode;
use std::time::Duration;

use datastream_client::{CallError, Client, Disconnect, Written};
use tokio::time::sleep;

const ATTEMPTS: u32 = 10;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let key = arguments.next().unwrap_or_else(|| "max_connections".to_owned());
    let value = arguments.next().unwrap_or_else(|| "20".to_owned());
    let client = Client::connect(url);
    let mut attempt = 1;
    loop {
        let error = match set(&client, &key, &value).await {
            Ok(written) => return report(&key, &value, &written),
            Err(error) => error,
        };
        eprintln!("not written: {}", error.source().unwrap_or(&error));
        if attempt == ATTEMPTS || !may_work_later(&error) {
            return ExitCode::FAILURE;
        }
        attempt += 1;
        sleep(Duration::from_secs(1)).await;
    }
}

async fn set(client: &Client, key: &str, value: &str) -> Result<Written, CallError> {
    if let Ok(number) = value.parse::<i64>() {
        client.set(key, number).await
    } else if let Ok(truth) = value.parse::<bool>() {
        client.set(key, truth).await
    } else {
        client.set(key, value.to_owned()).await
    }
}

fn may_work_later(error: &CallError) -> bool {
    match error {
        CallError::Unreachable(why) => !matches!(**why, Disconnect::BadAddress(_)),
        error => matches!(error, CallError::Failed(_) | CallError::TimedOut),
    }
}

fn report(key: &str, value: &str, written: &Written) -> ExitCode {
    match &written.position {
        Some(position) => println!("{key} = {value}, revision {}", position.revision),
        None => println!("{key} = {value}"),
    }
    ExitCode::SUCCESS
}
