//! A daemon and its children: found in `/proc`, and signalled together.

use std::process::{Command, Stdio};

use super::wait::until;

/// What `/proc` says of a process: its state, and the id of its parent. `None` when there is no such process.
fn stat(id: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Before it stands the name, in which there may be anything.
    let (_, stat) = stat.rsplit_once(')')?;
    let mut fields = stat.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process is gone. One that nobody has waited for holds nothing any more.
pub(super) fn is_gone(id: u32) -> bool {
    stat(id).is_none_or(|(state, _)| state == 'Z')
}

fn is_halted(id: u32) -> bool {
    is_gone(id) || stat(id).is_some_and(|(state, _)| state == 'T')
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("there is a /proc").map_while(Result::ok);
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|(_, of)| of == parent)).collect()
}

/// Stops a daemon and its children where they are, and returns them all. The daemon first: it has no more children
/// then.
pub(super) fn halt(daemon: u32) -> Vec<u32> {
    signal(&[daemon], "STOP");
    until("the daemon stops", || is_halted(daemon).then_some(()));
    let mut all = vec![daemon];
    all.extend(children(daemon));
    signal(&all, "STOP");
    until("its children stop", || all.iter().all(|id| is_halted(*id)).then_some(()));
    all
}

/// Sends a signal to each of them that is still there.
pub(super) fn signal(ids: &[u32], name: &str) {
    let mut kill = Command::new("kill");
    kill.args(["-s", name, "--"]).args(ids.iter().map(u32::to_string)).stderr(Stdio::null());
    kill.status().expect("kill can be run");
}
