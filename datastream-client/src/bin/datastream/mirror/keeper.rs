//! What keeps the directory: it shows the newest whole state, and says what stands in the way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use datastream::key::shown;
use datastream_client::{
    CallError, Client, ClientStatus, Disconnect, Entries, Peer, State, Unavailable, Watch,
};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::sync::{oneshot, watch};

use super::folder::Folder;
use super::tree::{LeftOut, Tree};
use crate::failure::{Code, Failure};
use crate::output::{Output, say};

/// How long to wait before a state that could not be written is tried again, and how often to look whether what is shown is
/// still there.
const AGAIN: Duration = Duration::from_secs(5);
/// How many keys that are left out are named at once; more are counted.
const NAMED: usize = 20;

/// Keeps a directory equal to what lies below a prefix.
pub(super) struct Keeper<'a> {
    client: &'a Client,
    prefix: String,
    below: Watch<Entries<Bytes>>,
    /// Held by the thread that writes.
    folder: Arc<Mutex<Folder>>,
    told: Told,
}

/// What was said last, so that it is said once.
#[derive(Default)]
struct Told {
    left_out: LeftOut,
    trouble: Option<String>,
    is_lost: bool,
}

/// What is shown now.
struct Shown {
    revision: Option<u64>,
    files: usize,
    left_out: LeftOut,
    /// Whether it was not shown before.
    is_new: bool,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(client: &'a Client, prefix: String, folder: Folder) -> Self {
        let below = client.watch_prefix(&prefix);
        let folder = Arc::new(Mutex::new(folder));
        Self { client, prefix, below, folder, told: Told::default() }
    }

    /// Shows the first whole state. Returns its revision, and how many keys are left out of it.
    pub(super) async fn once(&mut self, output: &mut Output) -> Result<(Option<u64>, usize), Failure> {
        self.below.ready().await.map_err(|why| self.unready(why))?;
        let tree = self.state().ok_or_else(|| {
            self.unready(Unavailable::NotReady {
                key: shown(&self.prefix).to_string(),
                waiting_for: "the server was lost".to_owned(),
            })
        })?;
        let shown = self.show(tree).await?;
        self.tell(&shown, output);
        Ok((shown.revision, shown.left_out.len()))
    }

    /// Shows each state for as long as this is polled, and the first in any case: its command may not have run.
    pub(super) async fn keep(
        &mut self,
        revisions: watch::Sender<Option<u64>>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (mut changes, mut statuses) = (self.below.stream(), self.client.status_stream());
        if let Err(why) = self.below.ready().await {
            let failure = self.unready(why);
            if failure.code == Code::Use {
                return Err(failure);
            }
            say(format_args!("{failure}; it goes on trying"));
            self.told.is_lost = true;
        }
        let mut is_first = true;
        loop {
            let mut has_failed = false;
            match self.show_newest(output).await {
                Ok(Some(shown)) if shown.is_new || is_first => {
                    is_first = false;
                    revisions.send_replace(shown.revision);
                }
                Ok(_) => {}
                // Something else is in the place of the directory.
                Err(failure) if failure.code == Code::Use => return Err(failure),
                Err(failure) => {
                    self.told.trouble(&failure);
                    has_failed = true;
                }
            }
            let status = tokio::select! {
                Some(_) = changes.next() => None,
                Some(status) = statuses.next() => Some(status),
                () = self.is_to_be_shown_again(has_failed) => None,
            };
            status.inspect(|status| self.told.status(status));
        }
    }

    /// Waits until the state is to be written once more: it could not be, or somebody has removed what was.
    async fn is_to_be_shown_again(&self, has_failed: bool) {
        loop {
            tokio::time::sleep(AGAIN).await;
            if has_failed || !self.apart(|folder| folder.is_intact()).await.unwrap_or(false) {
                return;
            }
        }
    }

    async fn show_newest(&mut self, output: &mut Output) -> Result<Option<Shown>, Failure> {
        let Some(tree) = self.state() else {
            return match self.below.status().unavailable {
                Some(why @ Unavailable::Denied { .. }) => Err(why.into()),
                _ => Ok(None),
            };
        };
        let shown = self.show(tree).await?;
        self.told.trouble = None;
        self.tell(&shown, output);
        Ok(Some(shown))
    }

    /// The newest whole state, if there is any: never what a server that is out of reach did not say.
    fn state(&self) -> Option<Tree> {
        let snapshot = self.client.snapshot();
        let is_whole = snapshot.covers(&self.prefix) && !snapshot.denies(&self.prefix);
        is_whole.then(|| Tree::of(&snapshot, &self.prefix))
    }

    /// Writes a state.
    async fn show(&self, tree: Tree) -> Result<Shown, Failure> {
        let show = |folder: &mut Folder| {
            let (revision, files, mut left_out) = (tree.revision, tree.files.len(), tree.left_out.clone());
            folder.show(tree).map(|done| {
                let files = files - done.left_out.len();
                left_out.extend(done.left_out);
                Shown { revision, files, left_out, is_new: done.is_new }
            })
        };
        let ended = || Err(Failure::new(Code::Other, "what writes the directory has ended"));
        self.apart(show).await.unwrap_or_else(ended)
    }

    /// Does this on a thread of its own, which nobody waits for who ends this program. `None` if it has panicked.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Folder) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let folder = self.folder.clone();
        std::thread::spawn(move || {
            let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
            // Who ends this program does not listen.
            let _ = reply.send(work(&mut folder));
        });
        answer.await.ok()
    }

    fn tell(&mut self, shown: &Shown, output: &mut Output) {
        self.told.left_out(&self.prefix, &shown.left_out);
        if shown.is_new {
            let json = json!({ "files": shown.files, "revision": shown.revision });
            let at =
                shown.revision.map(|revision| format!(", as of revision {revision}")).unwrap_or_default();
            // That nobody reads it is no reason to stop.
            let _ = output.done(&json, &format!("{} files{at}", shown.files));
        }
    }

    /// Why there is no state.
    fn unready(&self, why: Unavailable) -> Failure {
        let status = self.client.status();
        match status.last_error {
            Some(error) if matches!(*error, Disconnect::BadAddress(_) | Disconnect::BadToken) => {
                CallError::Unreachable(error).into()
            }
            _ if status.peer == Some(Peer::Original) => Failure::new(
                Code::Other,
                "the server is one of the original, which cannot say that a prefix is whole; `datastream export` reads it",
            ),
            _ => why.into(),
        }
    }
}

impl Told {
    fn trouble(&mut self, failure: &Failure) {
        let text = failure.to_string();
        if self.trouble.as_ref() != Some(&text) {
            say(&text);
            self.trouble = Some(text);
        }
    }

    fn status(&mut self, status: &ClientStatus) {
        let was_lost = self.is_lost;
        match &status.last_error {
            Some(why) if status.state != State::Ready && !was_lost => {
                self.is_lost = true;
                say(format_args!("{why}; the directory stays as it is"));
            }
            _ if status.state == State::Ready && was_lost => {
                self.is_lost = false;
                say("the server is there");
            }
            _ => {}
        }
    }

    /// Names the keys that are left out and were not before.
    fn left_out(&mut self, prefix: &str, left_out: &LeftOut) {
        let is_told = |(path, why): &(&String, &String)| self.left_out.get(*path) == Some(*why);
        let new: Vec<_> = left_out.iter().filter(|entry| !is_told(entry)).collect();
        for (path, why) in new.iter().take(NAMED) {
            say(format_args!("left out: {}: {why}", shown(&format!("{prefix}{path}"))));
        }
        if new.len() > NAMED {
            say(format_args!("left out: {} more", new.len() - NAMED));
        }
        self.left_out.clone_from(left_out);
    }
}
