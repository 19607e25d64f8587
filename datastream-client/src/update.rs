//! Read, decide, write: again if somebody else was quicker.

use bytes::Bytes;
use datastream::key::{self, shown};
use datastream::proto::{Data, DataRequest};
use datastream::value::{self, Value};

use crate::client::Client;
use crate::commit::{Commit, Deadline};
use crate::error::CallError;
use crate::retry::Retry;
use crate::worker::Command;
use crate::written::Written;

/// How often in a row a key may be there for who writes and not for who reads: it is too large to be served then, and nobody
/// was quicker.
const HIDDEN: u32 = 5;

impl Client {
    /// Changes a setting in the light of what it is: `decide` gets the value that the server has, and gives the new one;
    /// `None` is no value, both ways. `Ok(None)` if what it gives is what there is: then nothing is written.
    ///
    /// The write is a [commit](Self::commit) that holds only if nobody has written the key since it was read; if somebody
    /// has, the key is read and `decide` called again, for at most [`Limits::commit`](crate::Limits::commit), with short
    /// waits that grow. It runs within the caller's task and should be quick. The value that there is, is read from the
    /// server, never from the handles.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), datastream_client::CallError> {
    /// use datastream_client::Client;
    ///
    /// let client = Client::connect("http://127.0.0.1:8080");
    /// client.update("jobs/started", |started: Option<i64>| Some(started.unwrap_or(0) + 1)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CallError`], as [`Commit::send`](crate::Commit::send); `Conflict`, `Exists` or `NotFound` if others were quicker
    /// until the end; `Exists`, soon, also of a value that is too large to be served; and `Unreadable` if `T` does not read
    /// what is there. After an error of which it is not known whether
    /// the write was made, `decide` is not called again: the same write is, with its id.
    pub async fn update<T: Value>(
        &self,
        key: impl AsRef<str>,
        mut decide: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<Written>, CallError> {
        let key = key.as_ref();
        key::check(key).map_err(|source| CallError::NotAKey { key: shown(key).to_string(), source })?;
        let deadline = self.deadline();
        let mut retry = Retry::contended();
        let mut hidden = 0;
        loop {
            let now = self.read(key, deadline).await?;
            let value: Option<T> = now.as_ref().map(|now| decoded(key, now)).transpose()?;
            // What is there may be written otherwise than `T` writes it.
            let text = value.as_ref().and_then(|value| value::encode(value).ok());
            let Some(commit) = self.change(key, now.as_ref(), text, decide(value))? else { return Ok(None) };
            let error = match self.make(commit.into_request()?, deadline).await {
                Err(error) if is_lost_race(&error) => error,
                answer => return answer.map(Some),
            };
            let is_hidden = now.is_none() && matches!(error, CallError::Exists { .. });
            hidden = if is_hidden { hidden + 1 } else { 0 };
            let wait = retry.next(fastrand::f64());
            if hidden == HIDDEN || !deadline.allows(wait) {
                return Err(error);
            }
            self.inner.after(wait).await;
        }
    }

    /// What the server has of one key.
    async fn read(&self, key: &str, deadline: Deadline) -> Result<Option<Data>, CallError> {
        let request = DataRequest { keys: vec![key.to_owned()], ..DataRequest::default() };
        let mut answer = self.insist(deadline, |reply| Command::Read(request.clone(), reply)).await?;
        if answer.denied.iter().any(|denied| denied == key) {
            return Err(CallError::Denied(format!("`{}` may not be read", shown(key))));
        }
        Ok(answer.data.remove(key).filter(|data| !data.deleted))
    }

    /// The commit that makes `new` of what there is; `None` if it is the same, and so written as `text`.
    fn change<T: Value>(
        &self,
        key: &str,
        now: Option<&Data>,
        text: Option<Bytes>,
        new: Option<T>,
    ) -> Result<Option<Commit>, CallError> {
        let expected = now.map_or(0, |now| now.revision);
        let commit = self.commit().expect_revision(key, expected);
        let Some(new) = new else { return Ok(now.map(|_| commit.delete(key))) };
        let new = value::encode(&new)
            .map_err(|source| CallError::Unwritable { key: shown(key).to_string(), source })?;
        let is_same = text.is_some_and(|text| text == new);
        Ok((!is_same).then(|| commit.put_text(key, T::WRITES.name(), new)))
    }
}

fn decoded<T: Value>(key: &str, data: &Data) -> Result<T, CallError> {
    let text: &Bytes = &data.value;
    value::decode(&data.value_type, text)
        .map_err(|source| CallError::Unreadable { key: shown(key).to_string(), source })
}

fn is_lost_race(error: &CallError) -> bool {
    matches!(error, CallError::Conflict { .. } | CallError::Exists { .. } | CallError::NotFound { .. })
}
