//! The command line of datastream: looks at settings, and changes them deliberately.
//!
//! One verb for each file; what several of them need lies beside them. A failure is one line on stderr, with what can be
//! done about it, and an exit code by what kind of failure it is.

mod apply;
mod args;
mod config;
mod entry;
mod failure;
mod history;
mod output;
mod read;
mod status;
mod watch;
mod write;

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{CommandFactory as _, Parser as _};
use datastream_client::Client;

use args::{Cli, Verb};
use config::Config;
use failure::{Code, Failure};
use output::Output;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => run(cli).await,
        Err(error) if error.use_stderr() => Err(error.into()),
        Err(help) => help.print().map_err(Failure::from),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has read enough.
        Err(failure) if failure.is_broken_pipe => ExitCode::SUCCESS,
        Err(failure) => {
            let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
            anstream::eprintln!("{red}error:{red:#} {failure}");
            ExitCode::from(failure.code as u8)
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    if let Verb::Completions { shell } = cli.verb {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "datastream", &mut script);
        return Output::new(cli.output).raw(&script);
    }
    let config = Config::of(cli.url, cli.token)?;
    let client = Client::builder(config.url()).client_name("datastream (command line)");
    let client = match config.token() {
        Some(token) => client.token(token).connect(),
        None => client.connect(),
    };
    let mut output = Output::new(cli.output);
    match cli.verb {
        Verb::List { prefix } => read::list(&client, prefix.as_deref(), &mut output).await,
        Verb::Get { key } => read::get(&client, &key, &mut output).await,
        Verb::Set(set) => write::set(&client, set, &mut output).await,
        Verb::Del { keys, note } => write::del(&client, &keys, note, &mut output).await,
        Verb::Watch { key } => watch::watch(&client, &key, &mut output).await,
        Verb::History { key, limit } => history::history(&client, &key, limit, &mut output).await,
        Verb::Apply(apply) => apply::apply(&client, apply, &mut output).await,
        Verb::Status => status::status(&client, &mut output).await,
        Verb::Completions { .. } => Ok(()),
    }
}

/// Fails soon where there is no server, since a handle would wait for one. A server that has no status is one.
async fn reach(client: &Client) -> Result<(), Failure> {
    match client.server_status().await {
        Ok(_) | Err(datastream_client::CallError::Unsupported(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A mistake of the user, in one line.
fn misuse(text: impl Into<String>) -> Failure {
    Failure::new(Code::Use, text)
}
