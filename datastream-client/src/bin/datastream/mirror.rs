//! `mirror`: keeps a directory equal to what lies below a prefix.

mod folder;
mod hook;
mod keeper;
mod place;
mod tree;
mod version;

use datastream_client::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::args::Mirror;
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::whole;
use folder::Folder;
use hook::Hook;
use keeper::Keeper;

pub(crate) async fn mirror(client: &Client, mirror: Mirror, output: &mut Output) -> Result<(), Failure> {
    whole::check_prefix(&mirror.prefix)?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let folder = Folder::take(&mirror.dir)?;
    let hook = mirror.exec.map(|command| Hook { command, dir: folder.link.clone() });
    let keeper = Keeper::new(client, mirror.prefix, folder);
    let stopped = async {
        tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
    };
    if mirror.once {
        tokio::select! {
            done = once(keeper, hook, output) => done,
            () = stopped => Err(Failure::new(Code::Other, "interrupted before it was done")),
        }
    } else {
        tokio::select! {
            ended = keep(keeper, hook, output) => ended,
            // What is being written is not led to, and is removed by the next run.
            () = stopped => Ok(()),
        }
    }
}

/// Shows one state, and runs the command.
async fn once(mut keeper: Keeper<'_>, hook: Option<Hook>, output: &mut Output) -> Result<(), Failure> {
    let (revision, left_out) = keeper.once(output).await?;
    if let Some(hook) = hook {
        hook.run(revision).await?;
    }
    match left_out {
        0 => Ok(()),
        count => Err(Failure::new(Code::Other, format!("{count} left out, for the reasons above"))),
    }
}

/// Shows each state, and runs the command after it; they do not wait for each other.
async fn keep(mut keeper: Keeper<'_>, hook: Option<Hook>, output: &mut Output) -> Result<(), Failure> {
    let (shown, seen) = watch::channel(None);
    let running = async {
        match &hook {
            Some(hook) => hook.follow(seen).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = keeper.keep(shown, output) => ended,
        // It ends when nothing is shown any more.
        () = running => Ok(()),
    }
}
