//! The doorbell: the system tells of changes in the folder. What changed is found by looking.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::own;

/// Many programs write a file in several steps, such as emptying it first: what is seen in between is not meant.
const QUIET: Duration = Duration::from_millis(20);
/// One who never is quiet is not waited for.
const LONGEST: Duration = Duration::from_millis(100);
/// When to look again at what changed so lately that another change may not show.
const UNSETTLED: Duration = Duration::from_millis(60);

/// Rings when something in the folder may have changed.
pub(super) struct Bell {
    rings: Arc<Notify>,
    is_unsettled: AtomicBool,
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// The folder at which it hangs was away: another may be in its place, and have its number.
    lost: Arc<AtomicBool>,
}

impl Bell {
    pub(super) fn hung_at(path: &Path) -> Self {
        let bell = Self {
            rings: Arc::default(),
            is_unsettled: AtomicBool::new(false),
            watcher: Mutex::default(),
            lost: Arc::default(),
        };
        bell.hang(path);
        bell
    }

    fn hang(&self, path: &Path) {
        self.lost.store(false, Ordering::Relaxed);
        let watcher = watch(path, self.rings.clone(), self.lost.clone());
        if let Err(error) = &watcher {
            tracing::warn!(folder = %path.display(), %error, "changes are not told by the system, and are looked for");
        }
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher.ok();
    }

    /// Hangs the bell at the folder that has come to the path.
    pub(super) fn follow(&self, path: &Path, is_other: bool) {
        if is_other || self.lost.load(Ordering::Relaxed) {
            self.hang(path);
        }
    }

    /// Notes that the folder is away.
    pub(super) fn is_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Notes whether the folder is to be looked at again soon.
    pub(super) fn is_unsettled(&self, is_unsettled: bool) {
        self.is_unsettled.store(is_unsettled, Ordering::Relaxed);
    }

    pub(super) async fn rung(&self) {
        if self.is_unsettled.swap(false, Ordering::Relaxed) {
            let _ = timeout(UNSETTLED, self.rings.notified()).await;
        } else {
            self.rings.notified().await;
        }
        let began = Instant::now();
        while began.elapsed() < LONGEST && timeout(QUIET, self.rings.notified()).await.is_ok() {}
    }
}

fn watch(
    path: &Path,
    rings: Arc<Notify>,
    lost: Arc<AtomicBool>,
) -> Result<RecommendedWatcher, notify::Error> {
    let path = path.canonicalize().map_err(notify::Error::io)?;
    let ours = path.join(own::FOLDER);
    let top = path.clone();
    let told = move |event: Result<Event, notify::Error>| {
        let is_ours =
            |event: &Event| !event.paths.is_empty() && event.paths.iter().all(|path| path.starts_with(&ours));
        if let Ok(event) = &event
            && matches!(event.kind, EventKind::Remove(_))
            && event.paths.contains(&top)
        {
            lost.store(true, Ordering::Relaxed);
        }
        match event {
            Ok(event) if is_reading(&event.kind) || is_ours(&event) => {}
            _ => rings.notify_one(),
        }
    };
    // What a link leads to is not served.
    let config = notify::Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(told, config)?;
    watcher.watch(&path, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Looking is no change, or each look would ring for the next.
fn is_reading(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Access(kind) if *kind != AccessKind::Close(AccessMode::Write))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_a_link_leads_to_rings_for_nobody() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let [served, beside] = ["served", "beside"].map(|name| folder.path().join(name));
        fs::create_dir(&served).and_then(|()| fs::create_dir(&beside)).expect("folders");
        std::os::unix::fs::symlink(&beside, served.join("link")).expect("a link");
        let bell = Bell::hung_at(&served);
        fs::write(beside.join("a"), "1").expect("written");
        assert!(timeout(LONGEST * 2, bell.rung()).await.is_err(), "it rings");
        fs::write(served.join("a"), "1").expect("written");
        timeout(Duration::from_secs(10), bell.rung()).await.expect("it rings for what is served");
    }
}
