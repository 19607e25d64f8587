//! The life of a client as a whole: its states, when all of it is ready, and its end.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};

use crate::callback::{self, Callback};
use crate::client::{Client, Inner};
use crate::error::{NotAllReady, Unavailable};
use crate::shared::Shared;
use crate::status::{ClientStatus, Peer};
use crate::worker::Command;

impl Client {
    /// The status of the client whenever its [state](ClientStatus::state) is another one, beginning with the present
    /// one, at once. A slow reader sees the latest, not each one. Ends after the status of a client that was
    /// [closed](Self::close), which is told even if its state is the same.
    ///
    /// It keeps the client connected, and is the work of the task of the client: one whose runtime does not run says
    /// nothing here, but [`status`](Self::status) does.
    ///
    /// ```
    /// use datastream_client::{Client, State};
    /// use futures_util::StreamExt as _;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let client = Client::connect("http://127.0.0.1:1");
    /// let mut statuses = client.status_stream();
    /// let first = statuses.next().await.map(|status| status.state);
    /// assert_eq!(first, Some(State::NotReady));
    /// # });
    /// ```
    pub fn status_stream(&self) -> impl Stream<Item = ClientStatus> + Send + Unpin + use<> {
        let mut states = self.inner.shared.states.subscribe();
        states.mark_changed();
        let statuses =
            futures_util::stream::unfold((self.clone(), states), |(client, mut states)| async move {
                let is_over = !states.has_changed().unwrap_or(false) && client.inner.shared.is_closed();
                if is_over || states.changed().await.is_err() {
                    return None;
                }
                Some((client.status(), (client, states)))
            });
        statuses.boxed()
    }

    /// Tells a function of the status of the client, as [`status_stream`](Self::status_stream) does: of the present one
    /// at once. It can neither hold up the client nor harm it: see [`Callback`].
    pub fn on_status(&self, callback: impl FnMut(ClientStatus) + Send + 'static) -> Callback {
        callback::tell(self.status_stream(), callback)
    }

    /// Waits until all handles that there are now have a value, for at most this long.
    ///
    /// It returns as soon as it is known of each whether it has one. A handle that is not ready here heals later all the
    /// same. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`NotAllReady`] says of each handle without a value why.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use datastream_client::Client;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let client = Client::connect("http://127.0.0.1:1");
    /// let max = client.watch::<i64>("max_connections");
    /// let error = client.ready_all(Duration::from_millis(50)).await.expect_err("there is no server");
    /// assert!(error.to_string().contains("`max_connections`"));
    /// # });
    /// ```
    pub async fn ready_all(&self, timeout: Duration) -> Result<(), NotAllReady> {
        let shared = &self.inner.shared;
        let cells = shared.every_cell();
        let all_known = async {
            for cell in &cells {
                // The cell, which is held here, is the sender: it does not close.
                let _ = cell.versions().wait_for(|_| cell.report().is_known).await;
            }
        };
        tokio::select! {
            // What is known already needs no timer.
            biased;
            () = all_known => {}
            () = shared.final_state() => {}
            () = self.inner.after(timeout) => {}
        }
        let reasons = cells.iter().filter_map(|cell| cell.report().unavailable.clone());
        let mut unready: Vec<_> = reasons.map(|why| self.inner.explain(why)).collect();
        unready.sort_by_cached_key(ToString::to_string);
        if unready.is_empty() { Ok(()) } else { Err(NotAllReady { unready }) }
    }

    /// Ends the client now, for all its clones: its task and its streams; its
    /// [cache file](crate::ClientBuilder::cache_file) is written when this returns. Handles keep their last values, and say that
    /// they are [stale](crate::State::Stale), and why; those with a [`max_age`](crate::Watch::max_age) have no
    /// value any more. Calls that are under way end as [`Interrupted`](crate::CallError::Interrupted), and later ones as
    /// [`Closed`](crate::CallError::Closed). A client that was closed stays so.
    ///
    /// Without this a client ends with its last handle. Cancel safe: it is closed all the same.
    pub async fn close(&self) {
        if self.send(Command::Close).is_ok() {
            self.inner.commands.closed().await;
        }
    }
}

impl Inner {
    /// What is not known yet is explained by the state of the link.
    pub(crate) fn explain(&self, why: Unavailable) -> Unavailable {
        let Unavailable::NotReady { key, waiting_for } = why else { return why };
        let waiting_for = match (self.shared.last_error(), self.shared.peer()) {
            (Some(trouble), _) => trouble.to_string(),
            (None, Some(Peer::Original)) => {
                "a server of the original never says that it lacks a key".to_owned()
            }
            (None, _) => waiting_for,
        };
        Unavailable::NotReady { key, waiting_for }
    }
}

impl Shared {
    /// Completes when nothing will ever be followed.
    pub(crate) async fn final_state(&self) {
        // The sender, which is held here, does not close.
        let _ = self.states.subscribe().wait_for(|_| self.is_final()).await;
    }
}
