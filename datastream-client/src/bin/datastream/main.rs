//! The command line of datastream: looks at settings, and changes them deliberately.
//!
//! One verb for each file; what several of them need lies beside them. A failure is one line on stderr, with what can be
//! done about it, and an exit code by what kind of failure it is.

mod apply;
mod args;
mod config;
mod entry;
mod export;
mod failure;
mod file;
mod history;
mod import;
#[cfg(unix)]
mod mirror;
mod output;
mod progress;
mod read;
mod replace;
mod status;
mod watch;
mod whole;
mod write;

use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::CommandFactory as _;
use datastream_client::{CallError, Client, Limits};

use args::{Cli, Verb};
use failure::{Code, Failure};
use output::{Output, escaped, say};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::read() {
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
            say(format_args!("{red}error:{red:#} {}", escaped(&failure.to_string(), false)));
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
    let server = config::server(cli.way)?.client_name("datastream (command line)").limits(limits(&cli.verb));
    // It connects when it is used.
    let client = server.clone().connect();
    let mut output = Output::new(cli.output);
    match cli.verb {
        Verb::List { prefix } => read::list(&client, prefix.as_deref(), &mut output).await,
        Verb::Get { key } => read::get(&client, &key, &mut output).await,
        Verb::Set(set) => write::set(&client, set, &mut output).await,
        Verb::Del { keys, note } => write::del(&client, &keys, note, &mut output).await,
        Verb::Watch { key } => watch::watch(&client, &key, &mut output).await,
        Verb::History { key, limit } => history::history(&client, &key, limit, &mut output).await,
        Verb::Apply(apply) => apply::apply(&client, apply, &mut output).await,
        Verb::Export(export) => export::export(&server, export, &mut output).await,
        Verb::Import(import) => import::import(&server, import, &mut output).await,
        #[cfg(unix)]
        Verb::Mirror(mirror) => mirror::mirror(&client, mirror, &mut output).await,
        Verb::Status => status::status(&client, &mut output).await,
        Verb::Completions { .. } => Ok(()),
    }
}

/// How long to wait for what: a state of everything may be large.
fn limits(verb: &Verb) -> Limits {
    match verb {
        Verb::Export(_) | Verb::Import(_) => Limits::default().ready(Duration::from_secs(60)),
        #[cfg(unix)]
        Verb::Mirror(mirror) => Limits::default().ready(Duration::from_secs(mirror.timeout)),
        _ => Limits::default(),
    }
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// A server of this project.
    Current,
    /// One without a status, and so of the original.
    Original,
}

/// Fails soon where there is no server, since a handle would wait for one. A server that has no status is one.
async fn reach(client: &Client) -> Result<Reached, Failure> {
    match client.server_status().await {
        Ok(_) => Ok(Reached::Current),
        Err(CallError::Unsupported(_)) => Ok(Reached::Original),
        Err(error) => Err(error.into()),
    }
}

/// A mistake of the user, in one line.
fn misuse(text: impl Into<String>) -> Failure {
    Failure::new(Code::Use, text)
}
