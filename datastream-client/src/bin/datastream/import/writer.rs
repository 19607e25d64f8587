//! Writing many settings: in batches while the server takes them, and key by key where it does not.

use datastream_client::{CallError, Client};
use serde_json::{Value, json};

use crate::args::Note;
use crate::failure::Failure;
use crate::file::Wanted;
use crate::progress::Progress;

/// The most keys of a batch.
const BATCH_KEYS: usize = 500;
/// The most bytes of a batch of more than one key.
const BATCH_BYTES: usize = 1 << 20;

/// A key, and what it is to hold.
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) wanted: Wanted,
    pub(super) is_new: bool,
    pub(super) is_retyped: bool,
}

/// A key that was not written.
pub(super) struct Refused {
    pub(super) key: String,
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn json(&self) -> Value {
        json!({ "key": self.key, "reason": self.reason })
    }
}

/// Writes settings, and counts what became of them.
pub(super) struct Writer<'a> {
    client: &'a Client,
    note: Note,
    /// Whether the store takes one key at a time.
    takes_one: bool,
    progress: Progress,
    total: usize,
    pub(super) new: usize,
    pub(super) changed: usize,
    pub(super) refused: Vec<Refused>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(client: &'a Client, note: Note, total: usize) -> Self {
        let progress = Progress::of("importing", total);
        Self { client, note, takes_one: false, progress, total, new: 0, changed: 0, refused: Vec::new() }
    }

    /// Writes all of them but those that are refused; ends early only where no other would be written either.
    pub(super) async fn write_all(&mut self, mut settings: &[Setting]) -> Result<(), Failure> {
        while !settings.is_empty() {
            let (batch, rest) = settings.split_at(self.batch(settings));
            self.write(batch).await?;
            settings = rest;
        }
        Ok(())
    }

    /// How many of these are written as one.
    fn batch(&self, settings: &[Setting]) -> usize {
        let most = if self.takes_one { 1 } else { BATCH_KEYS };
        let mut bytes = 0;
        let fits = |setting: &&Setting| {
            bytes += setting.key.len() + setting.wanted.text.len();
            bytes <= BATCH_BYTES
        };
        settings.iter().take(most).take_while(fits).count().max(1)
    }

    /// Writes a batch. One that is refused is halved until it is known which keys are meant.
    async fn write(&mut self, batch: &[Setting]) -> Result<(), Failure> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match (self.commit(part).await, part) {
                (Ok(()), _) => self.count(part),
                (Err(CallError::Unsupported(_)), [_, _, ..]) => {
                    self.takes_one = true;
                    parts.extend(part.chunks(1).rev());
                }
                (Err(error), [setting]) if is_of_key(&error) => self.refuse(setting, error),
                (Err(error), _) if is_of_key(&error) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                (Err(error), _) => return Err(self.stopped(error)),
            }
        }
        Ok(())
    }

    async fn commit(&self, settings: &[Setting]) -> Result<(), CallError> {
        let commit = settings.iter().fold(self.client.commit(), |commit, setting| {
            let Setting { key, wanted, is_retyped, .. } = setting;
            let commit = commit.put_text(key, &wanted.value_type, wanted.text.clone());
            if *is_retyped { commit.retype(key) } else { commit }
        });
        self.note.clone().on(commit).send().await.map(drop)
    }

    fn count(&mut self, written: &[Setting]) {
        let new = written.iter().filter(|setting| setting.is_new).count();
        self.new += new;
        self.changed += written.len() - new;
        self.progress.advance(written.len());
    }

    fn refuse(&mut self, setting: &Setting, error: CallError) {
        let reason = Failure::from(error).to_string();
        self.refused.push(Refused { key: setting.key.clone(), reason });
        self.progress.advance(1);
    }

    /// Says how far it came.
    fn stopped(&self, error: CallError) -> Failure {
        let (written, total) = (self.new + self.changed, self.total);
        let why = Failure::from(error);
        Failure::new(
            why.code,
            format!("{why}; {written} of {total} are written: run it again for the others"),
        )
    }
}

/// Whether others would be written where this was not.
fn is_of_key(error: &CallError) -> bool {
    matches!(
        error,
        CallError::NotAKey { .. }
            | CallError::Unwritable { .. }
            | CallError::BadCommit(_)
            | CallError::Invalid(_)
            | CallError::Conflict { .. }
            | CallError::Exists { .. }
            | CallError::NotFound { .. }
            | CallError::TypeChange(_)
            | CallError::Precondition(_)
            | CallError::Denied(_)
    )
}
