//! The doorbell: it rings once for each new head, whoever made it.
//!
//! File notification only wakes the one who looks (`reader.rs`); what counts is what it finds then. So events
//! that our own reads, writes and checkpoints cause ring nothing.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use datastream::position::Position;
use notify::event::{AccessKind, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::store::News;

/// Rings when the head is another than the one that it rang for last.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung_for: AtomicU64,
    notify: Notify,
    told: Mutex<Told>,
}

/// What whoever hears the bell is told. Rings that nobody heard yet are one, so this is of all of them.
#[derive(Debug, Default)]
struct Told {
    news: Option<News>,
    /// Whether one of them was for something else than `news`: then only a look says what.
    must_look: bool,
}

impl Bell {
    /// Rings where the head is new, for what only a look can say.
    pub(super) fn ring_for(&self, head: &Position) {
        if self.is_new(head) {
            self.ring();
        }
    }

    /// Rings for what a transaction of ours wrote. What was told before and not heard is lost: then it is asked for.
    pub(super) fn tell(&self, news: News) {
        let head = news.batch.position.clone();
        let mut told = self.told();
        let old = told.news.replace(news);
        drop(told);
        drop(old);
        if self.is_new(&head) {
            self.notify.notify_one();
        }
    }

    /// What it rang for, if a look can say no more.
    pub(super) fn news(&self) -> Option<News> {
        let Told { news, must_look } = std::mem::take(&mut *self.told());
        news.filter(|_| !must_look)
    }

    /// Rings for what only a look can say, whatever the head.
    pub(super) fn ring(&self) {
        self.told().must_look = true;
        self.notify.notify_one();
    }

    fn is_new(&self, head: &Position) -> bool {
        // Only the change counts; nothing else is published by this word.
        self.rung_for.swap(name(head), Ordering::Relaxed) != name(head)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn rung(&self) {
        self.notify.notified().await;
    }
}

/// The random bytes of a token name its position, in whichever history. 0 stands for one that is not known.
pub(super) fn name(head: &Position) -> u64 {
    head.token.last_chunk().map_or(0, |drawn| u64::from_be_bytes(*drawn))
}

/// Calls `wake` when the file, its log or its index may have changed, until the watcher is dropped. `path` is
/// canonical. The folder is watched, since files beside the database come and go.
pub(super) fn watch(
    path: &Path,
    wake: impl Fn() + Send + 'static,
) -> Result<RecommendedWatcher, notify::Error> {
    let name = path.file_name().unwrap_or_default();
    let names = ["", "-wal", "-shm"].map(|end| {
        let mut name = name.to_owned();
        name.push(end);
        name
    });
    let mut watcher = notify::recommended_watcher(move |event: Result<Event, notify::Error>| {
        let concerns = |event: &Event| {
            let named = event.paths.iter().filter_map(|path| path.file_name());
            event.need_rescan() || named.into_iter().any(|name| names.iter().any(|ours| ours == name))
        };
        match event {
            Ok(event) if matches!(event.kind, EventKind::Access(AccessKind::Open(_))) => {}
            Ok(event) if !concerns(&event) => {}
            _ => wake(),
        }
    })?;
    watcher.watch(path.parent().unwrap_or(Path::new("/")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
