//! The settings server, as a program: flags, signals and a log around [`datastream_server::serve`].
//!
//! What keeps it from starting is one line on stderr and exit code 2. Once it serves, SIGTERM and SIGINT end
//! it with exit code 0, after the streams were told to go.

#![forbid(unsafe_code)]

mod cli;
mod startup;
mod store_url;
mod webhook;

use std::pin::pin;
use std::process::ExitCode;

use datastream_server::{incoming, serve};

use crate::cli::{Cli, Command};
use crate::startup::StartError;

/// As for wrong flags, and for everything else that an operator has to put right first.
const CANNOT_START: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::read().unwrap_or_else(|error| error.exit());
    let _last_lines = startup::log(&cli.log);
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("datastream-server: {error}");
            ExitCode::from(CANNOT_START)
        }
    }
}

async fn run(cli: Cli) -> Result<(), StartError> {
    match &cli.command {
        Some(Command::Detach) => {
            println!("{}", cli.store.detach().await?);
            return Ok(());
        }
        Some(Command::Refresh { server }) => {
            println!("{}", startup::refresh(server).await?);
            return Ok(());
        }
        None => {}
    }
    startup::check_exposure(&cli)?;
    // Before the line that says it listens: whoever reads that line may stop the server gracefully.
    let mut stopped = pin!(startup::stopped()?);
    // Before the store is opened: a second server that was started by mistake touches no file.
    let (listener, address) = startup::listen(cli.listen)?;
    let webhook = cli.webhook.map(startup::listen).transpose()?;
    // To open a store may take long: it waits for a database, or fetches a repository.
    let store = tokio::select! {
        store = startup::store(&cli) => store?,
        () = &mut stopped => return Ok(()),
    };
    if let Some((listener, address)) = webhook {
        tracing::info!(%address, "waiting for calls of a webhook");
        tokio::spawn(webhook::answer(listener, store.clone()));
    }
    tracing::info!(%address, store = %cli.store, "listening");
    serve(incoming(listener), store, cli.config(), stopped).await?;
    tracing::info!("stopped");
    Ok(())
}
