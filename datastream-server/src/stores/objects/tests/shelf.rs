//! A place in memory that does what a test says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use async_trait::async_trait;

use super::super::{Denied, Listed, Listing, Object, Place, Reading};
use crate::store::{StoreError, Stored};

/// The place: what a test sets of it counts from the next call on.
#[derive(Default)]
pub(super) struct Shelf {
    state: Mutex<State>,
    /// Held by a test for as long as a write is to take.
    pub(super) gate: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    objects: BTreeMap<String, Held>,
    last: u64,
    /// What lists leave out, although it is there.
    pub(super) unlisted: BTreeSet<&'static str>,
    /// What nobody lets us read.
    pub(super) unreadable: BTreeSet<&'static str>,
    /// What cannot be read for now.
    pub(super) failing: BTreeSet<&'static str>,
    /// Whether no list can be made.
    pub(super) is_away: bool,
    /// Whether what is there changed so lately that another change may not show.
    pub(super) is_unsettled: bool,
    /// Whether nothing can be kept.
    pub(super) is_failing_to_keep: bool,
    /// What becomes of the next writes, one by one.
    pub(super) next_writes: VecDeque<Fate>,
    /// What was asked for, since a test took it.
    pub(super) reads: Vec<String>,
    pub(super) lists: usize,
    pub(super) writes: usize,
}

struct Held {
    version: u64,
    stored: Stored,
}

/// What may become of a write.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It is done, and nobody hears of it.
    Unheard,
    /// Nobody hears of it, and it is not done.
    Undone,
    /// It is done, and may not be kept.
    Unkept,
    /// The place has no time for it.
    Busy,
    /// Somebody else was quicker.
    Lost,
    /// Somebody writes this right after it, before its version is taken.
    Overwritten(&'static str),
}

impl Shelf {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// What somebody else writes.
    pub(super) fn put(&self, key: &str, text: &str) {
        self.state().put(key, of_text(text));
    }

    /// The same, and the version stays, as it does right after another change.
    pub(super) fn edit_unseen(&self, key: &str, text: &str) {
        self.state().objects.get_mut(key).expect("it is there").stored = of_text(text);
    }

    pub(super) fn take_away(&self, key: &str) {
        self.state().objects.remove(key);
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }
}

impl State {
    fn put(&mut self, key: &str, stored: Stored) -> u64 {
        self.last += 1;
        self.objects.insert(key.to_owned(), Held { version: self.last, stored });
        self.last
    }

    fn change(&mut self, key: &str, stored: Option<&Stored>, over: Option<u64>) -> Result<u64, Denied> {
        self.writes += 1;
        if self.objects.get(key).map(|held| held.version) != over {
            return Err(Denied::Lost);
        }
        let fate = self.next_writes.pop_front();
        match fate {
            Some(Fate::Undone) => return Err(Denied::Unknown("no answer".into())),
            Some(Fate::Busy) => return Err(Denied::Busy("too many".into())),
            Some(Fate::Lost) => return Err(Denied::Lost),
            _ => {}
        }
        let version = match (stored, fate) {
            (_, Some(Fate::Overwritten(text))) => self.put(key, of_text(text)),
            (Some(stored), _) => self.put(key, stored.clone()),
            (None, _) => self.objects.remove(key).map_or(0, |held| held.version),
        };
        match fate {
            Some(Fate::Unheard) => Err(Denied::Unknown("no answer".into())),
            Some(Fate::Unkept) => Err(Denied::Unkept("it cannot be kept".into())),
            _ => Ok(version),
        }
    }
}

#[async_trait]
impl Place for Arc<Shelf> {
    type Version = u64;
    type Turn = ();

    /// So that what is read before a failure is known.
    const READERS: usize = 1;

    async fn list(&self) -> Result<Listing<u64>, StoreError> {
        let mut state = self.state();
        state.lists += 1;
        if state.is_away {
            return Err(away());
        }
        let there = state.objects.iter().filter(|(key, _)| !state.unlisted.contains(&***key));
        let objects = there.map(|(key, held)| Listed {
            key: key.as_str().into(),
            version: held.version,
            is_settled: !state.is_unsettled,
            bytes: held.stored.value.len() as u64,
            time: SystemTime::UNIX_EPOCH,
        });
        Ok(Listing { objects: objects.collect(), unreadable: Vec::new() })
    }

    async fn read(&self, key: &str) -> Result<Reading<u64>, StoreError> {
        let mut state = self.state();
        state.reads.push(key.to_owned());
        if state.failing.contains(key) {
            return Err(away());
        }
        if state.unreadable.contains(key) {
            return Ok(Reading::Unreadable("nobody lets us".to_owned()));
        }
        Ok(state.objects.get(key).map_or(Reading::Absent, |held| {
            let (version, stored) = (held.version, held.stored.clone());
            let bytes = stored.value.len() as u64;
            Reading::There(Object { version, stored: Some(stored), bytes, time: SystemTime::UNIX_EPOCH })
        }))
    }

    async fn turn(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(&self, key: &str, stored: &Stored, over: Option<&u64>) -> Result<u64, Denied> {
        let _gate = self.gate.lock().await;
        self.state().change(key, Some(stored), over.copied())
    }

    async fn remove(&self, key: &str, over: &u64) -> Result<(), Denied> {
        self.state().change(key, None, Some(*over)).map(drop)
    }

    async fn keep(&self, _: &str) -> Result<(), StoreError> {
        if self.state().is_failing_to_keep { Err(away()) } else { Ok(()) }
    }

    fn reserves(&self, _: &str) -> bool {
        false
    }

    async fn is_seeded(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn mark_seeded(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn rung(&self) {
        std::future::pending().await
    }

    fn kind(&self) -> &'static str {
        "shelf"
    }
}

fn of_text(text: &str) -> Stored {
    Stored { value: text.to_owned().into(), value_type: "text/plain".into() }
}

fn away() -> StoreError {
    StoreError::Unavailable("it does not answer".into())
}
