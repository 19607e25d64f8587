//! What became of settings: the changes that the server remembers.

use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::Bytes;
use datastream::key::{Selector, shown};
use datastream::limit;
use datastream::position::Position;
use datastream::proto::{self, HistoryRequest, HistoryResponse};
use datastream::value::{self, Value, ValueError};
use futures_util::stream::try_unfold;
use futures_util::{Stream, StreamExt as _};

use crate::client::Client;
use crate::error::{CallError, Disconnect};
use crate::worker::Command;

impl Client {
    /// The changes of a key, or of all keys below a prefix (with its trailing `/`; empty: all keys), newest first.
    ///
    /// It reaches as far back as the server remembers. Pages of at most 1,000 changes are asked for as the stream is read,
    /// and not before; what is written meanwhile is not among them. The stream ends after its first error.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use datastream_client::Client;
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut history = Client::connect("http://127.0.0.1:8080").history("max_connections");
    /// while let Some(change) = history.try_next().await? {
    ///     println!("{:?} by {}: {:?}", change.get::<i64>()?, change.author, change.message);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CallError`]; `Unsupported` by a server of the original, a store without a history, and a
    /// [fixed](Client::fixed) client. Each page takes at most [`Limits::sync`](crate::Limits::sync).
    pub fn history(
        &self,
        key: &str,
    ) -> impl Stream<Item = Result<HistoryEntry, CallError>> + Send + Unpin + use<> {
        let pages = Pages {
            client: self.clone(),
            key: key.to_owned(),
            read: VecDeque::new(),
            oldest: (u64::MAX, String::new()),
            next: Some(String::new()),
        };
        try_unfold(pages, |mut pages| async move { Ok(pages.next().await?.map(|entry| (entry, pages))) })
            .boxed()
    }
}

/// One change, as the history of the server keeps it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The key.
    pub key: String,
    /// The name of the type, as it was written.
    pub value_type: String,
    /// The text that was written; `None` for a deletion. Empty, with an empty type, where it is too large to be served.
    pub value: Option<Bytes>,
    /// The revision of the change.
    pub revision: u64,
    /// The position of its commit, without its token where the server no longer keeps that.
    pub position: Option<Position>,
    /// When the server took it, by its clock.
    pub time: Option<SystemTime>,
    /// Who; empty where another program wrote it.
    pub author: String,
    /// Why.
    pub message: String,
}

impl HistoryEntry {
    /// The value; `None` for a deletion.
    ///
    /// # Errors
    ///
    /// [`ValueError`] if `T` does not read it, or it is too large to be served.
    pub fn get<T: Value>(&self) -> Result<Option<T>, ValueError> {
        if self.value_type.is_empty() && self.value.as_ref().is_some_and(Bytes::is_empty) {
            return Err(ValueError::refused::<T>("it is too large to be served"));
        }
        self.value.as_ref().map(|text| value::decode(&self.value_type, text)).transpose()
    }

    fn new(change: proto::Change) -> Option<Self> {
        let data = change.data?;
        let position =
            change.position.map(|position| Position { revision: position.revision, token: position.token });
        Some(Self {
            key: data.key,
            value_type: data.value_type,
            value: (!data.deleted).then_some(data.value),
            revision: data.revision,
            position,
            time: data.updated_at.and_then(|time| time.try_into().ok()),
            author: change.author,
            message: change.message,
        })
    }
}

impl std::fmt::Debug for HistoryEntry {
    /// Shows key, type, length and revision; a value never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = self.value.as_ref().map(Bytes::len);
        let (key, value_type) = (shown(&self.key), shown(&self.value_type));
        write!(f, "{key}: {value_type}[{length:?}]@{}", self.revision)
    }
}

/// The pages of a history, one after the other.
struct Pages {
    client: Client,
    key: String,
    read: VecDeque<proto::Change>,
    /// Where the last change stood that was given away: a commit may have one revision for all its keys.
    oldest: (u64, String),
    /// The token of the next page; `None` after the last.
    next: Option<String>,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<HistoryEntry>, CallError> {
        while self.read.is_empty() {
            let Some(page_token) = self.next.take() else { return Ok(None) };
            let page = self.page(page_token.clone()).await?;
            let is_last = page.next_page_token.is_empty();
            if !is_last && (page.changes.is_empty() || page.next_page_token == page_token) {
                return Err(Disconnect::Violation("a page of a history leads nowhere").into());
            }
            self.next = (!is_last).then_some(page.next_page_token);
            self.read = page.changes.into();
        }
        let entry = self.read.pop_front().and_then(HistoryEntry::new);
        let place = |entry: &HistoryEntry| (entry.revision, entry.key.clone());
        let entry = entry.filter(|entry| place(entry) < self.oldest);
        let entry = entry.ok_or(Disconnect::Violation("a history does not lead back"))?;
        self.oldest = place(&entry);
        Ok(Some(entry))
    }

    async fn page(&self, page_token: String) -> Result<HistoryResponse, CallError> {
        if !self.key.is_empty() {
            let named = || shown(&self.key).to_string();
            Selector::parse(&self.key).map_err(|source| CallError::NotAKey { key: named(), source })?;
        }
        let request = HistoryRequest { key: self.key.clone(), page_size: limit::HISTORY_PAGE, page_token };
        self.client.ask(|reply| Command::History(request, reply)).await
    }
}
