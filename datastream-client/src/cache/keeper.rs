//! When the cache is written.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::{Kept, encode, file};
use crate::cell::AnyCell;
use crate::session::Changed;
use crate::snapshot::{Held, Snapshot};

/// The least time from a write that failed to the next.
const RETRY: Duration = Duration::from_secs(1);

/// Of those keys whose value not every handle could use: the last that every one did.
pub type LastGood = BTreeMap<Arc<str>, Arc<Held>>;

/// Keeps the newest state in a file, written at most once per interval and when it is closed or dropped.
///
/// Files are written where they may block: [`work`](Self::work) only waits. A state that differs in its position
/// alone is not worth a write, and waits for the next or the last one.
pub(crate) struct Keeper {
    target: Arc<Target>,
    server: String,
    interval: Duration,
    last_good: LastGood,
    /// The newest, if it is not in the file.
    pending: Option<Arc<Entry>>,
    /// Whether that is worth a write of its own.
    is_due: bool,
    /// `None` is never.
    not_before: Option<Instant>,
    running: Option<(Arc<Entry>, JoinHandle<io::Result<()>>)>,
    /// What the file holds.
    written: Option<Arc<Entry>>,
    is_failing: bool,
}

/// One state that was, or is to be, written.
struct Entry {
    number: u64,
    kept: Kept,
    last_good: LastGood,
}

/// The file, and the number of what was written there last: an older state never replaces a newer one.
struct Target {
    path: PathBuf,
    newest: Mutex<u64>,
}

impl Target {
    fn write(&self, entry: &Entry) -> io::Result<()> {
        // Nothing under this lock leaves it half-changed.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if *newest < entry.number {
            file::replace(&self.path, &encode(&entry.kept, &entry.last_good))?;
            *newest = entry.number;
        }
        Ok(())
    }
}

impl Keeper {
    pub(crate) fn new(path: PathBuf, server: String, interval: Duration) -> Self {
        Self {
            target: Arc::new(Target { path, newest: Mutex::new(0) }),
            server,
            interval,
            last_good: LastGood::new(),
            pending: None,
            is_due: false,
            not_before: Some(Instant::now()),
            running: None,
            written: None,
            is_failing: false,
        }
    }

    /// Notes what `cells` make of the values that changed, and that `state` is the newest, as confirmed then.
    ///
    /// That keys left is not noted: an application that ends drops its handles one by one.
    pub(crate) fn note(
        &mut self,
        state: &Arc<Snapshot>,
        changed: &Changed,
        cells: &[Arc<dyn AnyCell>],
        confirmed: SystemTime,
    ) {
        let newest = [&self.pending, &self.written].into_iter().flatten().next();
        match changed {
            Changed::Keys(keys) if keys.is_empty() => {
                if newest.is_none_or(|newest| !newest.kept.state.covers_same(state)) {
                    return;
                }
            }
            Changed::Keys(keys) => keys.iter().for_each(|key| drop(self.last_good.remove(key))),
            Changed::All => self.last_good.clear(),
        }
        self.is_due |= *changed != Changed::Keys(Vec::new());
        self.last_good.extend(last_good(cells, state));
        let number = 1 + self.number();
        let kept = Kept { server: self.server.clone(), confirmed, state: state.clone() };
        self.pending = Some(Arc::new(Entry { number, kept, last_good: self.last_good.clone() }));
    }

    /// The number of the newest state.
    fn number(&self) -> u64 {
        let running = self.running.as_ref().map(|(entry, _)| entry);
        let known = [self.pending.as_ref(), running, self.written.as_ref()];
        known.into_iter().flatten().map(|entry| entry.number).max().unwrap_or(0)
    }

    /// Writes what is due, again and again. Never returns. Cancel safe.
    pub(crate) async fn work(&mut self) -> std::convert::Infallible {
        loop {
            self.finish().await;
            if !self.is_due {
                return std::future::pending().await;
            }
            match self.not_before {
                Some(at) => sleep_until(at).await,
                None => return std::future::pending().await,
            }
            self.start();
        }
    }

    /// Writes what is not in the file, and waits until it is, or has failed.
    pub(crate) async fn close(mut self) {
        self.finish().await;
        if self.pending.is_some() && !self.is_narrower() {
            self.start();
            self.finish().await;
        }
        self.pending = None;
    }

    fn start(&mut self) {
        self.is_due = false;
        self.not_before = Instant::now().checked_add(self.interval);
        if let Some(entry) = self.pending.take() {
            let (target, written) = (self.target.clone(), entry.clone());
            self.running = Some((entry, spawn_blocking(move || target.write(&written))));
        }
    }

    /// Waits for the write that is under way. What was not written is tried again.
    async fn finish(&mut self) {
        let Some((_, running)) = &mut self.running else { return };
        let written = running.await;
        let Some((entry, _)) = self.running.take() else { return };
        let path = self.target.path.display();
        match written {
            Ok(Ok(())) => {
                self.written = Some(entry);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(%path, "the cache of settings can be written again");
                }
                return;
            }
            Ok(Err(error)) if !std::mem::replace(&mut self.is_failing, true) => {
                tracing::warn!(%path, %error, "the cache of settings cannot be written; it is tried again");
            }
            // It is known already, or the runtime ended before it began.
            Ok(Err(_)) | Err(_) => {}
        }
        self.is_due = true;
        let again = Instant::now() + RETRY;
        self.not_before = Some(self.not_before.map_or(again, |at| at.max(again)));
        self.pending.get_or_insert(entry);
    }

    /// Whether the file covers something that the newest state does not: then at the end the file stays.
    fn is_narrower(&self) -> bool {
        let (Some(pending), Some(written)) = (&self.pending, &self.written) else { return false };
        let covered = pending.kept.state.covered();
        written.kept.state.covered().iter().any(|entry| !covered.includes(entry))
    }
}

impl Drop for Keeper {
    /// Its runtime has ended together with the client: this is the last occasion.
    fn drop(&mut self) {
        if self.is_narrower() {
            return;
        }
        let running = self.running.take().map(|(entry, _)| entry);
        if let Some(entry) = self.pending.take().or(running)
            && let Err(error) = self.target.write(&entry)
        {
            let path = self.target.path.display();
            tracing::warn!(%path, %error, "the cache of settings could not be written at the end");
        }
    }
}

/// What `cells` show of those keys whose value in `state` they do not show. Of several the oldest: newer ones were
/// not accepted by all.
pub(crate) fn last_good(cells: &[Arc<dyn AnyCell>], state: &Snapshot) -> LastGood {
    let mut all = LastGood::new();
    for cell in cells {
        let (Some(now), Some(good)) = (state.held(cell.key()), cell.last_good()) else { continue };
        if !good.has_text_of(now) {
            let oldest = all.entry(cell.key().clone()).or_insert_with(|| good.clone());
            if good.revision < oldest.revision {
                *oldest = good;
            }
        }
    }
    all
}
