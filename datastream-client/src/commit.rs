//! Several changes as one: what is to be written, under which conditions, by whom and why.

mod insist;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use bytes::Bytes;
use datastream::key::{self, shown};
use datastream::limit;
use datastream::proto::operation::Action;
use datastream::proto::{CommitRequest, Data, Operation};
use datastream::value::{self, Value};
use prost::Message as _;

use crate::client::Client;
use crate::error::{BadCommit, CallError};
use crate::worker::Command;
use crate::written::Written;
pub(crate) use insist::Deadline;

/// Drawn once by the system, which is more than what else is drawn depends on: when the machine was started, and the thread.
static PROCESS: LazyLock<u128> = LazyLock::new(|| {
    let draw = || u128::from(RandomState::new().hash_one(()));
    draw() << 64 | draw()
});

impl Client {
    /// Begins a commit: puts and deletes that are applied together, or not at all.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use datastream_client::Client;
    ///
    /// let client = Client::connect("http://127.0.0.1:8080");
    /// let commit = client.commit().put("pool/size", 20_i64).put("pool/name", "wide".to_owned()).delete("pool/old");
    /// let written = commit.must_not_exist("pool/name").message("a wider pool").send().await?;
    /// println!("{:?}", written.position);
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit(&self) -> Commit {
        Commit {
            client: self.clone(),
            request: CommitRequest::default(),
            expected: Vec::new(),
            retyped: Vec::new(),
            wrong: None,
        }
    }

    /// Deletes `key`; one that does not exist stays so, and is no error. Otherwise as [`set`](Self::set), but a lost answer
    /// is retried as that of [every commit](Commit::send).
    ///
    /// # Errors
    ///
    /// [`CallError`], as [`Commit::send`].
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<Written, CallError> {
        self.commit().delete(key).send().await
    }
}

/// A commit that is being put together, by [`Client::commit`]. It is checked when it is [sent](Self::send): nothing before
/// that fails, and nothing is written.
///
/// Each key may be changed once. Conditions are named by the key, before or after its change; of several for one key the
/// last one holds.
#[must_use = "nothing is written before it is sent"]
pub struct Commit {
    client: Client,
    request: CommitRequest,
    /// The revisions at which keys must be, 0 for none.
    expected: Vec<(String, u64)>,
    retyped: Vec<String>,
    /// What was found wrong first.
    wrong: Option<CallError>,
}

impl Commit {
    /// Writes `value` to `key`.
    pub fn put<T: Value>(self, key: impl AsRef<str>, value: T) -> Self {
        let text = value::encode(&value);
        self.change(key.as_ref(), |key| match text {
            Ok(text) => Ok(put(key, T::WRITES.name(), text)),
            Err(source) => Err(CallError::Unwritable { key: shown(key).to_string(), source }),
        })
    }

    /// Writes a value that is given as text, in the grammar of the type of that name. An empty name stands for the type that
    /// the key has.
    pub fn put_text(self, key: impl AsRef<str>, value_type: &str, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        self.change(key.as_ref(), |key| {
            if !value_type.is_empty() {
                let named = || shown(key).to_string();
                value::check(value_type, &text)
                    .map_err(|source| CallError::Unwritable { key: named(), source })?;
            }
            Ok(put(key, value_type, text))
        })
    }

    /// Deletes `key`; one that does not exist stays so, and is no error.
    pub fn delete(self, key: impl AsRef<str>) -> Self {
        self.change(key.as_ref(), |key| Ok(Action::Delete(key.to_owned())))
    }

    /// The commit holds only if `key`, which it changes, is at this revision: nobody has written it since it was read.
    /// Revision 0 is that of a key which does not exist.
    pub fn expect_revision(mut self, key: impl AsRef<str>, revision: u64) -> Self {
        self.expected.push((key.as_ref().to_owned(), revision));
        self
    }

    /// The commit holds only if `key`, which it changes, does not exist.
    pub fn must_not_exist(self, key: impl AsRef<str>) -> Self {
        self.expect_revision(key, 0)
    }

    /// A change of the type of `key` is meant. Without this it is refused.
    pub fn retype(mut self, key: impl AsRef<str>) -> Self {
        self.retyped.push(key.as_ref().to_owned());
        self
    }

    /// Who makes it, for the history; at most 256 bytes.
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.request.author = author.into();
        self
    }

    /// Why it is made, for the history; at most 4,096 bytes.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.request.message = message.into();
        self
    }

    /// Makes the commit; durable when it returns.
    ///
    /// A commit whose answer is lost is sent again as it was, with the same random id, which makes the server apply it once:
    /// for at most [`Limits::commit`](crate::Limits::commit), with waits that grow. If this client watches any of its keys,
    /// `send` also waits, for at most [`Limits::seen`](crate::Limits::seen), until the handles show the commit: a read
    /// after an acknowledged commit sees it. Not cancel safe: dropping the future does not take the commit back.
    ///
    /// # Errors
    ///
    /// [`CallError`]. After `NotAKey`, `Unwritable` and `BadCommit` nothing was sent; after `TimedOut`, `Failed` and
    /// `Interrupted` it is not known whether the commit was made; after all others it was not.
    pub async fn send(self) -> Result<Written, CallError> {
        let client = self.client.clone();
        let request = self.into_request()?;
        client.make(request, client.deadline()).await
    }

    fn change(mut self, key: &str, action: impl FnOnce(&str) -> Result<Action, CallError>) -> Self {
        let checked =
            key::check(key).map_err(|source| CallError::NotAKey { key: shown(key).to_string(), source });
        match checked.and_then(|()| action(key)) {
            Ok(action) => {
                self.request.operations.push(Operation { action: Some(action), ..Operation::default() });
            }
            Err(error) => drop(self.wrong.get_or_insert(error)),
        }
        self
    }

    /// What is to be sent, with an id of its own.
    pub(crate) fn into_request(self) -> Result<CommitRequest, CallError> {
        let Self { mut request, expected, retyped, wrong, .. } = self;
        wrong.map_or(Ok(()), Err)?;
        check_lengths(&request)?;
        let index = index(&request.operations)?;
        let find = |key: &str| {
            index.get(key).copied().ok_or_else(|| BadCommit::Unchanged { key: shown(key).to_string() })
        };
        for (key, revision) in &expected {
            request.operations[find(key)?].expected_revision = Some(*revision);
        }
        for key in &retyped {
            request.operations[find(key)?].retype = true;
        }
        request.request_id = format!("{:032x}", fastrand::u128(..) ^ *PROCESS);
        match request.encoded_len() {
            length if length > limit::MESSAGE_BYTES => Err(BadCommit::TooLarge { length }.into()),
            _ => Ok(request),
        }
    }
}

impl Client {
    /// Makes a commit, again and again until it is known what became of it.
    pub(crate) async fn make(
        &self,
        request: CommitRequest,
        deadline: Deadline,
    ) -> Result<Written, CallError> {
        let shown = self.snapshot();
        self.insist(deadline, |reply| Command::Commit(request.clone(), shown.clone(), reply)).await
    }
}

fn put(key: &str, value_type: &str, value: Bytes) -> Action {
    Action::Put(Data { key: key.to_owned(), value, value_type: value_type.to_owned(), ..Data::default() })
}

fn check_lengths(request: &CommitRequest) -> Result<(), BadCommit> {
    match request.operations.len() {
        count if count > limit::OPERATIONS => return Err(BadCommit::TooMany { count }),
        _ => {}
    }
    let texts = [
        ("author", &request.author, limit::AUTHOR_BYTES),
        ("message", &request.message, limit::COMMIT_MESSAGE_BYTES),
    ];
    match texts.into_iter().find(|(_, text, most)| text.len() > *most) {
        Some((field, _, most)) => Err(BadCommit::TooLong { field, most }),
        None => Ok(()),
    }
}

/// Where the change of each key stands.
fn index(operations: &[Operation]) -> Result<HashMap<String, usize>, BadCommit> {
    let mut index = HashMap::with_capacity(operations.len());
    for (at, operation) in operations.iter().enumerate() {
        let key = changed_key(operation);
        if index.insert(key.to_owned(), at).is_some() {
            return Err(BadCommit::Twice { key: shown(key).to_string() });
        }
    }
    Ok(index)
}

/// The key that an operation changes.
pub(crate) fn changed_key(operation: &Operation) -> &str {
    match &operation.action {
        Some(Action::Put(data)) => &data.key,
        Some(Action::Delete(key)) => key,
        None => "",
    }
}

impl std::fmt::Debug for Commit {
    /// Shows the keys; a value never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self
            .request
            .operations
            .iter()
            .map(|operation| shown(changed_key(operation)).to_string())
            .collect();
        f.debug_struct("Commit").field("keys", &keys).finish_non_exhaustive()
    }
}
