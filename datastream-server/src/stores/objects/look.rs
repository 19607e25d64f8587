//! Looking at what there is: all that differs is one commit, and a look that fails half-way shows nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use datastream::key::{self, ancestors, shown};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Known, Listed, Listing, Object, Place, Reading, Shared, Versions, Written, lock};
use crate::config::MAX_VALUE_BYTES;
use crate::store::StoreError;

/// What a list has of an object, and what reading it came to.
pub(super) type Read<V> = (Listed<V>, Reading<V>);
/// By key, what was read by a look that failed.
pub(super) type Drafts<V> = HashMap<Arc<str>, Read<V>>;

/// How many objects that cannot be read are named in the log.
const NAMED: usize = 100;

impl<P: Place> Shared<P> {
    /// Looks once, and notes whether that could be done.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        let _one = self.looking.lock().await;
        let began = SystemTime::now();
        let looked = self.look_now().await;
        if looked.is_ok() {
            *lock(&self.heard) = began;
        }
        *lock(&self.failure) = looked.as_ref().err().map(|error| crate::error_chain(error));
        looked
    }

    async fn look_now(&self) -> Result<(), StoreError> {
        self.known().touched.clear();
        let Listing { objects, unreadable } = self.place.list().await?;
        let present: HashSet<Arc<str>> = objects.iter().map(|listed| listed.key.clone()).collect();
        let others = self.known().others(objects);
        let read = self.read_all(others).await?;
        let missing = self.known().missing(&present, &unreadable);
        let missing = self.read_missing(missing).await?;
        let _turn = self.line.lock().await;
        let changed = self.known().learn(&present, &unreadable, read, missing);
        self.log.absorb(changed);
        Ok(())
    }

    /// Asks for those that a list has left out: it may have been made while they were replaced, and only what is not there
    /// when it is asked for by its name is gone.
    async fn read_missing(
        &self,
        missing: Vec<Arc<str>>,
    ) -> Result<Vec<(Arc<str>, Reading<P::Version>)>, StoreError> {
        let reading = stream::iter(missing).map(|key| async move {
            let reading = self.place.read(&key).await;
            reading.map(|reading| (key, reading))
        });
        reading.buffer_unordered(P::READERS).try_collect().await
    }

    /// Reads them, several at once. What a look has read that then failed is not read again.
    async fn read_all(&self, wanted: Vec<Listed<P::Version>>) -> Result<Vec<Read<P::Version>>, StoreError> {
        let mut drafts = std::mem::take(&mut self.known().drafts);
        let mut done = Vec::new();
        let mut rest = Vec::new();
        for listed in wanted {
            match drafts.remove(&listed.key).filter(|(draft, _)| draft.version == listed.version) {
                Some(draft) => done.push(draft),
                None => rest.push(listed),
            }
        }
        let mut reading =
            stream::iter(rest).map(|listed| self.read_listed(listed)).buffer_unordered(P::READERS);
        while let Some(read) = reading.next().await {
            match read {
                Ok(read) => done.push(read),
                Err(error) => {
                    let settled = done.into_iter().filter(|(listed, _)| listed.is_settled);
                    self.known().drafts = settled.map(|read| (read.0.key.clone(), read)).collect();
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    async fn read_listed(&self, listed: Listed<P::Version>) -> Result<Read<P::Version>, StoreError> {
        let is_served = listed.bytes <= MAX_VALUE_BYTES as u64 && key::check(&listed.key).is_ok();
        let reading = if is_served {
            self.place.read(&listed.key).await?
        } else {
            let (version, bytes, time) = (listed.version.clone(), listed.bytes, listed.time);
            Reading::There(Object { version, stored: None, bytes, time })
        };
        Ok((listed, reading))
    }
}

impl<V: Clone + PartialEq> Known<V> {
    /// Those that are listed with another version than the one that was read.
    fn others(&self, mut objects: Vec<Listed<V>>) -> Vec<Listed<V>> {
        objects.retain(|listed| match self.objects.get(&listed.key) {
            Some(versions) => !listed.is_settled || versions.listed.as_ref() != Some(&listed.version),
            None => true,
        });
        objects
    }

    /// Takes in what a look has found, and returns what may differ from the log.
    fn learn(
        &mut self,
        present: &HashSet<Arc<str>>,
        unreadable: &[(Arc<str>, String)],
        read: Vec<Read<V>>,
        missing: Vec<(Arc<str>, Reading<V>)>,
    ) -> Vec<Written> {
        let mut changed = Vec::new();
        for (listed, reading) in read {
            if !self.touched.contains(&listed.key) {
                let version = listed.is_settled.then_some(listed.version);
                changed.extend(self.take(listed.key, version, reading));
            }
        }
        for (key, reading) in missing {
            if !self.touched.contains(&key) {
                changed.extend(self.take(key, None, reading));
            }
        }
        let unreadable: HashSet<&str> = unreadable
            .iter()
            .map(|(name, why)| {
                self.complain(name, why);
                &**name
            })
            .collect();
        self.named.retain(|name| present.contains(name) || unreadable.contains(&**name));
        changed
    }

    /// The keys that are known and were not listed, although they could have been.
    fn missing(&self, present: &HashSet<Arc<str>>, unreadable: &[(Arc<str>, String)]) -> Vec<Arc<str>> {
        let unreadable: HashSet<&str> = unreadable.iter().map(|(name, _)| &**name).collect();
        let is_kept = |key: &Arc<str>| {
            let is_unreadable =
                unreadable.contains(&**key) || ancestors(key).any(|above| unreadable.contains(above));
            present.contains(key) || self.touched.contains(key) || is_unreadable
        };
        self.objects.keys().filter(|key| !is_kept(key)).cloned().collect()
    }

    /// What cannot be read stays as it was; of a store that starts, nobody knows how that was, and clients would take it for
    /// deleted.
    pub(super) fn check_start(&self) -> Result<(), StoreError> {
        match self.named.iter().min() {
            None => Ok(()),
            Some(name) => {
                let text = format!(
                    "{} of it cannot be read, such as `{}` (the log says why): let this user read it, or take it away",
                    self.named.len(),
                    shown(name)
                );
                Err(StoreError::Unavailable(text.into()))
            }
        }
    }

    /// Takes in what was read of an object, and returns what may differ from the log.
    pub(super) fn take(&mut self, key: Arc<str>, listed: Option<V>, reading: Reading<V>) -> Option<Written> {
        match reading {
            Reading::Absent => self.objects.remove(&key).map(|_| Written::gone(key)),
            Reading::Unreadable(why) => {
                self.complain(&key, &why);
                None
            }
            Reading::There(Object { version, stored, bytes, time }) => {
                self.named.remove(&key);
                self.objects.insert(key.clone(), Versions { listed, held: version });
                let too_large = stored.is_none().then_some(bytes);
                Some(Written { key, value: stored, too_large, time: Some(time) })
            }
        }
    }

    fn complain(&mut self, name: &Arc<str>, why: &str) {
        if self.named.len() < NAMED && self.named.insert(name.clone()) {
            tracing::warn!(key = %shown(name), why, "this cannot be read, and stays as it was");
        }
    }
}
