//! A branch that is followed: what is known of it, and how that is brought up to date.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::command::Failure;
use super::known::{Known, Types};
use super::log::{Listed, Log};
use super::object::{Blob, Objects, Oid};
use super::origin::Origin;
use crate::stores::types_file;

/// How many pages of the history are read at a time: each is some runs of git, and more would hold up the commits.
const HISTORIES: usize = 4;
/// How often a long reading says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// When a repository answered last.
struct Contact {
    at: SystemTime,
    is_lost: bool,
}

/// See the module.
pub(super) struct Branch {
    pub(super) origin: Origin,
    known: Mutex<Known>,
    /// One looks at a time. It holds how many looks had begun when the last one began, and why that failed.
    looking: tokio::sync::Mutex<(u64, Option<String>)>,
    begun: std::sync::atomic::AtomicU64,
    /// When the repository answered last, and whether it does.
    contact: Mutex<Contact>,
    pub(super) bell: Notify,
    /// Asks the follower to look.
    pub(super) wake: Notify,
    /// How many pages of the history are read at a time.
    pub(super) histories: Semaphore,
    /// Held while a commit is made.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
}

impl Branch {
    /// Reads all of the branch, as the folder has it.
    pub(super) async fn read(origin: Origin, is_heard: bool) -> Result<Self, Failure> {
        let known = whole(&origin, origin.resolve().await?).await?;
        let last = origin.last_heard().filter(|_| !is_heard);
        let contact = Contact { at: last.unwrap_or_else(SystemTime::now), is_lost: !is_heard };
        Ok(Self {
            origin,
            known: Mutex::new(known),
            looking: tokio::sync::Mutex::default(),
            begun: std::sync::atomic::AtomicU64::default(),
            contact: Mutex::new(contact),
            bell: Notify::new(),
            wake: Notify::new(),
            histories: Semaphore::new(HISTORIES),
            writing: Arc::default(),
        })
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// When the remote was heard last, if it does not answer now.
    pub(super) fn unheard_since(&self) -> Option<SystemTime> {
        let contact = lock(&self.contact);
        contact.is_lost.then_some(contact.at)
    }

    fn answered(&self) {
        let contact = Contact { at: SystemTime::now(), is_lost: false };
        if std::mem::replace(&mut *lock(&self.contact), contact).is_lost {
            tracing::info!("the repository answers again");
        }
    }

    fn is_silent(&self, failure: &Failure) {
        if !std::mem::replace(&mut lock(&self.contact).is_lost, true) {
            let error = crate::error_chain(failure);
            tracing::warn!(%error, "the repository cannot be looked at; what is known is served");
        }
    }

    /// Brings what is known up to where the branch stands. Those who call together share a look that began after each of
    /// them did.
    pub(super) async fn look(&self) -> Result<(), Failure> {
        use std::sync::atomic::Ordering::Relaxed;
        let before = self.begun.load(Relaxed);
        let mut looked = self.looking.lock().await;
        if looked.0 > before {
            return looked.1.clone().map_or(Ok(()), |why| Err(Failure::Shared(why)));
        }
        let number = self.begun.fetch_add(1, Relaxed) + 1;
        let looked_now = self.look_now().await;
        match &looked_now {
            Ok(()) => self.answered(),
            Err(failure) => self.is_silent(failure),
        }
        *looked = (number, looked_now.as_ref().err().map(ToString::to_string));
        looked_now
    }

    /// Brings what is known up to `head`, which the branch has taken.
    pub(super) async fn take_in(&self, head: Oid) -> Result<(), Failure> {
        {
            let _looking = self.looking.lock().await;
            let known = self.known().chain.head();
            if self.known().chain.revision_of(head).is_some() || self.advance(known, head).await? {
                self.answered();
                self.bell.notify_one();
                return Ok(());
            }
        }
        self.look().await
    }

    async fn look_now(&self) -> Result<(), Failure> {
        let known = self.known().chain.head();
        let head = self.origin.head(known).await?;
        if head == known {
            return Ok(());
        }
        match (known, head) {
            (_, Some(head)) if self.advance(known, head).await? => {}
            _ => self.replace(head).await?,
        }
        self.bell.notify_one();
        Ok(())
    }

    /// Takes in the commits after `known`. Returns false if `head` does not descend from it by first parents, or if `known` is
    /// there no more, as in a repository that was restored or made anew.
    async fn advance(&self, known: Option<Oid>, head: Oid) -> Result<bool, Failure> {
        let Some(known) = known else { return Ok(false) };
        let git = &self.origin.git;
        let mut log = Log::forward(git, &format!("{known}..{head}"))?;
        let mut objects = Objects::open(git)?;
        if !objects.has(known).await? {
            return Ok(false);
        }
        let mut news: Vec<(Listed, Option<Types>)> = Vec::new();
        while let Some(commit) = log.next().await? {
            let follows = news.last().map_or(known, |(last, _)| last.oid);
            if commit.parent != Some(follows) {
                return Ok(false);
            }
            let types = types_of(&mut objects, &commit).await?;
            news.push((commit, types));
        }
        if news.last().is_none_or(|(last, _)| last.oid != head) {
            return Ok(false);
        }
        let blobs = contents(&mut objects, touched(&news)).await?;
        let mut known = self.known();
        news.iter().for_each(|(commit, types)| known.note(commit, types.as_ref()));
        known.fill(&blobs);
        known.skipped.tell();
        Ok(true)
    }

    /// Begins anew: the branch was moved to another history, or is gone.
    async fn replace(&self, head: Option<Oid>) -> Result<(), Failure> {
        let branch = &self.origin.branch;
        match head {
            Some(_) if self.known().chain.head().is_none() => {}
            Some(_) => tracing::warn!(branch, "the branch was set to another history: reading it anew"),
            None => tracing::warn!(branch, "the branch was deleted: there are no settings any more"),
        }
        let whole = whole(&self.origin, head).await?;
        *self.known() = whole;
        Ok(())
    }
}

/// All that leads to `head`.
async fn whole(origin: &Origin, head: Option<Oid>) -> Result<Known, Failure> {
    let mut known = Known::nothing();
    let Some(head) = head else { return Ok(known) };
    let mut log = Log::forward(&origin.git, &head.to_string())?;
    let mut objects = Objects::open(&origin.git)?;
    let mut told = Instant::now();
    while let Some(commit) = log.next().await? {
        let types = types_of(&mut objects, &commit).await?;
        known.note(&commit, types.as_ref());
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            tracing::info!(commits = known.chain.revision(), "reading the history of the branch");
        }
    }
    let blobs = contents(&mut objects, known.unread()).await?;
    known.fill(&blobs);
    known.skipped.tell();
    known.trim();
    Ok(known)
}

/// What a commit makes of the types file, if it touches that.
async fn types_of(objects: &mut Objects, commit: &Listed) -> Result<Option<Types>, Failure> {
    let Some(touched) = commit.changes.iter().find(|change| change.path == types_file::NAME.as_bytes())
    else {
        return Ok(None);
    };
    let types = match touched.file {
        None => Types::Text(String::new()),
        Some(file) if file.kind.is_file() => match objects.text(file.oid.to_string()).await? {
            Some(text) => Types::Text(text),
            None => Types::Unusable("it is too large"),
        },
        Some(_) => Types::Unusable("it is no regular file"),
    };
    Ok(Some(types))
}

/// The objects that new commits leave in the files that they touch.
fn touched(news: &[(Listed, Option<Types>)]) -> Vec<Oid> {
    let mut last = HashMap::new();
    for change in news.iter().flat_map(|(commit, _)| &commit.changes) {
        last.insert(&change.path, change.file);
    }
    last.into_values().flatten().filter(|file| file.kind.is_file()).map(|file| file.oid).collect()
}

async fn contents(objects: &mut Objects, mut oids: Vec<Oid>) -> Result<HashMap<Oid, Blob>, Failure> {
    oids.sort_unstable();
    oids.dedup();
    let names: Vec<_> = oids.iter().map(Oid::to_string).collect();
    let blobs = objects.read(&names).await?;
    let found = oids.into_iter().zip(blobs);
    found.map(|(oid, blob)| Ok((oid, blob.ok_or_else(|| Failure::Missing(oid.to_string()))?))).collect()
}

/// Nothing that runs under these locks can leave the data half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
