//! What a client has beside its server: files of an earlier run, and overrides.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use crate::cache::{self, Files, Keeper, Kept};
use crate::cell::AnyCell;
use crate::overlay::Overlay;
use crate::session::{Changed, Session};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// What of this an application asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) files: Files,
    pub(crate) cache_interval: Duration,
    pub(crate) override_file: Option<PathBuf>,
    pub(crate) overrides_from_env: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            files: Files::default(),
            cache_interval: Duration::from_secs(10),
            override_file: None,
            overrides_from_env: false,
        }
    }
}

/// The part of the worker that is about this machine.
pub(crate) struct Local {
    /// How the files name the server.
    server: String,
    files: Files,
    has_begun: bool,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) overlay: Overlay,
}

impl Local {
    pub(crate) fn new(wish: Wish, server: String) -> Self {
        let path = wish.files.cache.clone();
        let keeper = path.map(|path| Keeper::new(path, server.clone(), wish.cache_interval));
        let overlay = Overlay::new(wish.override_file, wish.overrides_from_env);
        Self { server, files: wish.files, has_begun: false, keeper, overlay }
    }

    /// Reads the files, before anything else happens. Cancel safe.
    pub(crate) async fn begin(&mut self, session: &mut Session, shared: &Shared) {
        if self.has_begun {
            return;
        }
        self.overlay.begin().await;
        if self.files.cache.is_some() || self.files.bootstrap.is_some() {
            let (files, server) = (self.files.clone(), self.server.clone());
            // A runtime that ends meanwhile: the client goes on without the files.
            if let Ok(Some(kept)) = spawn_blocking(move || files.load(&server)).await {
                shared.kept.store(Some(Arc::new(kept.confirmed)));
                session.begin_with(kept.state);
            }
        }
        self.has_begun = true;
    }

    /// Writes what there is to write. Never returns. Cancel safe.
    pub(crate) async fn work(keeper: &mut Option<Keeper>) -> std::convert::Infallible {
        match keeper {
            Some(keeper) => keeper.work().await,
            None => std::future::pending().await,
        }
    }

    /// Notes what is to be kept of a state that a server has said.
    pub(crate) fn note(
        &mut self,
        state: &Arc<Snapshot>,
        changed: &Changed,
        cells: &[Arc<dyn AnyCell>],
        session: &Session,
        now: Duration,
    ) {
        if let Some(keeper) = self.keeper.as_mut().filter(|_| !session.awaits_server()) {
            keeper.note(state, changed, cells, confirmed(session, now));
        }
    }

    /// What a bootstrap file is to hold; `None` if no server has said anything.
    pub(crate) fn bootstrap(&self, session: &Session, now: Duration) -> Option<Kept> {
        let (server, state) = (self.server.clone(), session.applied().clone());
        (!session.awaits_server()).then(|| Kept { server, confirmed: confirmed(session, now), state })
    }
}

/// Writes a bootstrap file. Blocks.
pub(crate) fn write_bootstrap(
    path: &Path,
    kept: Option<Kept>,
    cells: &[Arc<dyn AnyCell>],
) -> Result<(), cache::WriteError> {
    let kept = kept.ok_or(cache::WriteError::NothingKnown)?;
    cache::write(path, &kept, &cache::last_good(cells, &kept.state))
}

/// When the server confirmed what a session shows, by the clock of this machine.
fn confirmed(session: &Session, now: Duration) -> SystemTime {
    let age = session.confirmed().map(|(at, source_age)| now.saturating_sub(at).saturating_add(source_age));
    let wall = SystemTime::now();
    age.and_then(|age| wall.checked_sub(age)).unwrap_or(wall)
}
