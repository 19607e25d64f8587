//! The history, as the log of the branch tells it.

use std::collections::HashMap;
use std::sync::Arc;

use datastream::key::Selector;
use datastream::position::Position;

use super::branch::Branch;
use super::command::Failure;
use super::commit::NOBODY;
use super::log::{File, Listed, Log};
use super::object::{Blob, Objects};
use super::{request, skipped};
use crate::history::{HistoryPage, HistoryQuery, Logged};
use crate::state::Place;
use crate::store::{Change, Stored};
use crate::stores::types_file::{self, TypesFile};

/// A change of a key, of which the content is not read yet.
struct Row {
    key: Arc<str>,
    file: Option<File>,
    commit: Arc<Listed>,
    position: Position,
}

impl Branch {
    /// A page of the history.
    pub(super) async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, Failure> {
        // Each is some runs of git, and reads what anybody may ask for.
        let _turn = self.histories.acquire().await;
        let mut page =
            Page { branch: self, query, objects: Objects::open(&self.origin.git)?, types: HashMap::new() };
        let rows = page.rows().await?;
        let mut read = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for row in rows {
            let logged = page.read(row).await?;
            bytes += logged.bytes();
            read.push(logged);
            if bytes > query.bytes && read.len() > 1 {
                break;
            }
        }
        // One more than fits was read, if there is one: so the page knows that it is not the last.
        query.page(read.into_iter().map(Ok))
    }
}

struct Page<'a> {
    branch: &'a Branch,
    query: &'a HistoryQuery,
    objects: Objects,
    /// By the commit whose types they are.
    types: HashMap<String, TypesFile>,
}

impl Page<'_> {
    /// The changes that are asked for, newest first, and one more.
    async fn rows(&mut self) -> Result<Vec<Row>, Failure> {
        let (newest, before) = {
            let known = self.branch.known();
            let newest = self
                .query
                .before
                .as_ref()
                .map_or(u64::MAX, |(revision, _)| *revision)
                .min(known.chain.revision());
            (newest, known.chain.commit_at(newest))
        };
        let Some(head) = before else { return Ok(Vec::new()) };
        let path = match &self.query.of {
            Some(Selector::Key(key)) => vec![&**key],
            Some(Selector::Prefix(prefix)) => vec![&**prefix],
            None => Vec::new(),
        };
        let mut log = Log::backward(&self.branch.origin.git, head, &path)?;
        let mut rows = Vec::new();
        while let Some(commit) = log.next().await? {
            let Some(revision) =
                self.branch.known().chain.revision_of(commit.oid).filter(|revision| *revision <= newest)
            else {
                continue;
            };
            let commit = Arc::new(commit);
            rows.extend(self.rows_of(&commit, revision));
            if rows.len() > self.query.limit {
                break;
            }
        }
        rows.truncate(self.query.limit + 1);
        Ok(rows)
    }

    fn rows_of(&self, commit: &Arc<Listed>, revision: u64) -> impl Iterator<Item = Row> {
        let position = self.branch.known().chain.position(revision);
        let served = |file: Option<File>| file.filter(|file| file.kind.is_file()).map(File::content);
        let asked = commit.changes.iter().filter_map(|change| {
            let is_change =
                served(change.before) != served(change.file) && !skipped::is_reserved(&change.path);
            let key: &str = std::str::from_utf8(&change.path).ok().filter(|_| is_change)?;
            let place: Place = (revision, key.into());
            let is_asked =
                self.query.matches(key) && self.query.before.as_ref().is_none_or(|before| place < *before);
            is_asked.then_some((place.1, change.file))
        });
        let mut asked: Vec<_> = asked.collect();
        asked.sort_by(|a, b| b.0.cmp(&a.0));
        let commit = commit.clone();
        asked.into_iter().map(move |(key, file)| Row {
            key,
            file,
            commit: commit.clone(),
            position: position.clone(),
        })
    }

    async fn read(&mut self, row: Row) -> Result<Logged, Failure> {
        let Row { key, file, commit, position } = row;
        let blob = match file.filter(|file| file.kind.is_file()) {
            Some(file) => self.objects.read(&[file.oid.to_string()]).await?.pop().flatten(),
            None => None,
        };
        let (value, too_large) = match blob {
            Some(Blob::Bytes(value)) if skipped::is_pointer(&value) => (None, None),
            Some(Blob::Bytes(value)) => {
                (Some(Stored { value, value_type: self.type_of(&key, &commit).await? }), None)
            }
            Some(Blob::TooLarge(size)) => (None, Some(size)),
            None => (None, None),
        };
        let change = Change { key, revision: position.revision, time: commit.time, value, too_large };
        let message = request::split(&commit.message).0;
        Ok(Logged { change, position, author: author(&commit), message })
    }

    async fn type_of(&mut self, key: &str, commit: &Listed) -> Result<Arc<str>, Failure> {
        let name = format!("{}:{}", commit.oid, types_file::NAME);
        if !self.types.contains_key(&name) {
            let text = match self.objects.read(std::slice::from_ref(&name)).await?.pop().flatten() {
                Some(Blob::Bytes(text)) => String::from_utf8_lossy(&text).into_owned(),
                _ => String::new(),
            };
            // What could not be read then changed nothing; the extension is the best guess.
            self.types.insert(name.clone(), TypesFile::parse(&text).unwrap_or_default());
        }
        Ok(self
            .types
            .get(&name)
            .map_or_else(|| TypesFile::default().type_of(key), |types| types.type_of(key)))
    }
}

/// As it was given with the commit; empty where nobody was.
fn author(commit: &Listed) -> String {
    match (&*commit.author, &*commit.email) {
        (NOBODY, "") => String::new(),
        (name, "") => name.to_owned(),
        (name, address) => format!("{name} <{address}>"),
    }
}
