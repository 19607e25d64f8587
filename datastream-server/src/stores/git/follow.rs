//! Who looks at the branch: by the clock, when a file of the repository changes, and when somebody asks for it.

use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::sleep;

use super::branch::Branch;
use crate::retry::Pauses;

/// How long a remote that does not answer is left alone at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Watches the files in which a repository keeps its branches.
pub(super) type Watch = RecommendedWatcher;

/// Looks at the branch until it is dropped.
pub(super) async fn follow(branch: Arc<Branch>, poll: Duration) {
    let mut pauses = Pauses::between(poll, poll.max(LONGEST));
    loop {
        let pause = if branch.unheard_since().is_some() { pauses.next() } else { poll };
        tokio::select! {
            () = sleep(pause) => {}
            () = branch.wake.notified() => {}
        }
        // Why it failed is in the log.
        if branch.look().await.is_ok() {
            pauses.reset();
        }
    }
}

/// Wakes the follower when a ref of a local repository may have changed. Where that cannot be watched, the clock has to do.
pub(super) fn watch(branch: &Arc<Branch>) -> Option<Watch> {
    if branch.origin.remote.is_some() {
        return None;
    }
    let follower = Arc::downgrade(branch);
    let wake = move |event: Result<Event, notify::Error>| {
        let is_mere_look = event.is_ok_and(|event| {
            matches!(event.kind, EventKind::Access(AccessKind::Open(_) | AccessKind::Read))
        });
        if let Some(branch) = follower.upgrade().filter(|_| !is_mere_look) {
            branch.wake.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(wake).and_then(|mut watcher| {
        let folder = branch.origin.git.folder();
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        for refs in
            ["refs/heads", "reftable"].map(|refs| folder.join(refs)).into_iter().filter(|refs| refs.is_dir())
        {
            watcher.watch(&refs, RecursiveMode::Recursive)?;
        }
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, ?LONGEST, "the repository cannot be watched: it is looked at by the clock")).ok()
}
