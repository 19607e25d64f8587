//! What is wrong with a [`TestServer`], and until when.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::running::block_on;
use super::script::{Asked, Script};
use super::server::{PUBLISH_LIMIT, Site, TestServer};
use crate::store::{Retention, Stored};
use crate::stores::MemoryStore;

/// A fault of a [`TestServer`], which lasts until this is dropped. Others may last beside it; it does not keep the server.
#[must_use = "a fault ends when its guard is dropped"]
pub struct ServerFault {
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl ServerFault {
    fn until(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { end: Some(Box::new(end)) }
    }
}

impl Drop for ServerFault {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

impl fmt::Debug for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerFault").finish_non_exhaustive()
    }
}

/// What is done to the messages that leave: those of streams, and the answers to `Sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Silence,
    Delay(Duration),
    Duplicate,
    LowerRevisions,
    ChangeTokens,
}

/// The faults that there are now, through all lives of a server.
#[derive(Default)]
pub(super) struct Faults {
    active: watch::Sender<Vec<(u64, Fault)>>,
    script: Mutex<Option<mpsc::UnboundedSender<Asked>>>,
}

impl Faults {
    fn begin(self: &Arc<Self>, fault: Fault) -> ServerFault {
        let id = fastrand::u64(..);
        self.active.send_modify(|active| active.push((id, fault)));
        let faults = self.clone();
        ServerFault::until(move || faults.active.send_modify(|active| active.retain(|(of, _)| *of != id)))
    }

    /// Waits while there is silence.
    pub(super) async fn heard(&self) {
        let silent = |active: &Vec<(u64, Fault)>| active.iter().any(|(_, fault)| *fault == Fault::Silence);
        let mut faults = self.active.subscribe();
        faults.wait_for(|active| !silent(active)).await.expect("its sender is borrowed");
    }

    pub(super) fn active(&self) -> Vec<Fault> {
        self.active.borrow().iter().map(|(_, fault)| *fault).collect()
    }

    /// Where each `Subscribe` goes, if it is scripted.
    pub(super) fn script(&self) -> Option<mpsc::UnboundedSender<Asked>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_script(&self, script: Option<mpsc::UnboundedSender<Asked>>) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }
}

/// What goes wrong.
///
/// Faults of messages are about what `Subscribe` and `Sync` say. All other calls are answered as ever.
impl TestServer {
    /// Cuts all connections and refuses new ones until the guard is dropped. Values can be set meanwhile. A
    /// [`restart`](Self::restart) ends it too, and of several that overlap the first that is dropped ends all.
    pub fn cut(&self) -> ServerFault {
        self.site.kill();
        let site = Arc::downgrade(&self.site);
        ServerFault::until(move || site.upgrade().iter().for_each(|site| site.start()))
    }

    /// Says nothing until the guard is dropped, not even a heartbeat: streams stay open, new ones begin with headers only.
    /// Then what was held back is said, in its order, unless the client has given up.
    pub fn silence(&self) -> ServerFault {
        self.site.faults.begin(Fault::Silence)
    }

    /// Says each message so much later than it could, one after the other. What is on its way when the guard is dropped stays
    /// late.
    pub fn delay(&self, delay: Duration) -> ServerFault {
        self.site.faults.begin(Fault::Delay(delay))
    }

    /// Says each change and each heartbeat twice. A second state is not a duplicate but another mistake, for a
    /// [`script`](Self::script).
    pub fn duplicate(&self) -> ServerFault {
        self.site.faults.begin(Fault::Duplicate)
    }

    /// Says of everything that it is at revision 1, as a server that lost its history would if it did not say RESET.
    pub fn lower_revisions(&self) -> ServerFault {
        self.site.faults.begin(Fault::LowerRevisions)
    }

    /// Says the positions of another history, without a RESET.
    pub fn change_tokens(&self) -> ServerFault {
        self.site.faults.begin(Fault::ChangeTokens)
    }

    /// Puts a value into the store that no push could: of an unknown type, or outside the grammar of its type. When the
    /// guard is dropped, what was there before is put back, unless somebody wrote the key meanwhile.
    ///
    /// # Panics
    ///
    /// If the server was not made by [`start`](Self::start): other stores cannot be reached past their checks.
    pub fn corrupt(&self, key: &str, value_type: &str, text: impl Into<bytes::Bytes>) -> ServerFault {
        let bad = Stored { value: text.into(), value_type: value_type.into() };
        let memory = self.site.memory();
        let before = memory.overwrite(key, Some(bad.clone()));
        self.site.publish();
        let (site, key) = (Arc::downgrade(&self.site), key.to_owned());
        ServerFault::until(move || {
            let Some(site) = site.upgrade() else { return };
            if site.memory().standing_at(&key).as_ref() == Some(&bad) {
                site.memory().overwrite(&key, before);
                site.publish();
            }
        })
    }

    /// Forgets all positions but the newest: who resumes from an older one gets a RESET.
    ///
    /// # Panics
    ///
    /// If the store cannot be written.
    pub fn compact(&self) {
        let retention = Retention { positions: Duration::ZERO, max_positions: 1, ..Retention::default() };
        block_on(self.site.store.compact(retention)).expect("the store can be compacted");
        self.site.publish();
    }

    /// Goes on with the same values in another history, as after a restored backup: everybody gets a RESET, to a lower
    /// revision.
    ///
    /// # Panics
    ///
    /// As [`corrupt`](Self::corrupt).
    pub fn begin_anew(&self) {
        self.site.memory().begin_anew();
        self.site.publish();
    }

    /// From now on the test answers each `Subscribe` itself, until the script is dropped. `Sync` is refused meanwhile, so that
    /// a client learns nothing but by its streams.
    ///
    /// # Panics
    ///
    /// If there is a script already.
    #[must_use]
    pub fn script(&self) -> Script {
        assert!(self.site.faults.script().is_none(), "there is a script already");
        Script::begin(self.site.faults.clone())
    }
}

impl Site {
    fn memory(&self) -> &MemoryStore {
        self.memory.as_ref().expect("it is the store of TestServer::start")
    }

    /// Returns when the server, if it runs, has what the store has.
    fn publish(&self) {
        if let Some(feed) = self.feed() {
            // That a test keeps the store from being read is no fault of this.
            let _ = block_on(feed.catch_up(PUBLISH_LIMIT));
        }
    }
}
