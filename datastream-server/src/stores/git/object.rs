//! Objects of a repository: their names, and what is read of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use super::command::{Failure, Git, Run};
use crate::config::MAX_VALUE_BYTES;

/// How long git may take to answer for one object.
const ANSWER: Duration = Duration::from_secs(60);
/// How many objects are asked for at a time: more, and a single answer would be waited for longer.
const TOGETHER: usize = 500;
const COMMAND: &str = "cat-file";

/// The name of an object: SHA-1 or SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Oid {
    bytes: [u8; 32],
    length: u8,
}

impl Oid {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl FromStr for Oid {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::strange("an object name");
        if ![40, 64].contains(&text.len()) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let (mut bytes, length) = ([0; 32], text.len() / 2);
        for (at, byte) in bytes[..length].iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self { bytes, length: if length == 20 { 20 } else { 32 } })
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blob {
    Bytes(Bytes),
    /// Its size is more than is served, so it was not read.
    TooLarge(u64),
}

/// What git says of an object.
struct Answer {
    /// `None`: there is none of that name.
    size: Option<u64>,
    is_blob: bool,
    /// If they were asked for.
    contents: Option<Bytes>,
}

/// Reads objects, one run of git for all of them.
pub(super) struct Objects {
    run: Run,
    written: BufReader<ChildStdout>,
}

impl Objects {
    pub(super) fn open(git: &Git) -> Result<Self, Failure> {
        let mut run = git.begin(&[COMMAND, "--batch-command"])?;
        let written = run.stdout.take().ok_or_else(|| Failure::strange(COMMAND))?;
        Ok(Self { run, written: BufReader::new(written) })
    }

    /// The contents of blobs, in the order asked for; `None` of what is no blob of this repository. What is too large is
    /// not read.
    pub(super) async fn read(&mut self, names: &[String]) -> Result<Vec<Option<Blob>>, Failure> {
        let mut blobs = Vec::with_capacity(names.len());
        for part in names.chunks(TOGETHER) {
            let sizes = self.sizes(part).await?;
            let wanted = part.iter().zip(&sizes).filter(|(_, size)| size.is_some_and(is_served));
            let asked: String = wanted.map(|(name, _)| format!("contents {name}\n")).collect();
            let mut found = self
                .ask(&asked, sizes.iter().filter(|size| size.is_some_and(is_served)).count(), true)
                .await?
                .into_iter();
            for size in sizes {
                blobs.push(match size {
                    None => None,
                    Some(size) if !is_served(size) => Some(Blob::TooLarge(size)),
                    Some(_) => found.next().and_then(|answer| answer.contents).map(Blob::Bytes),
                });
            }
        }
        Ok(blobs)
    }

    /// One blob of text, such as a file that says of which types others are; `None` if it is too large.
    pub(super) async fn text(&mut self, name: String) -> Result<Option<String>, Failure> {
        match self.read(std::slice::from_ref(&name)).await?.pop().flatten() {
            Some(Blob::Bytes(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Some(Blob::TooLarge(_)) => Ok(None),
            None => Err(Failure::Missing(name)),
        }
    }

    /// Whether the repository has an object of that name, of whatever kind.
    pub(super) async fn has(&mut self, oid: Oid) -> Result<bool, Failure> {
        let answers = self.ask(&format!("info {oid}\n"), 1, false).await?;
        Ok(answers.iter().any(|answer| answer.size.is_some()))
    }

    async fn sizes(&mut self, names: &[String]) -> Result<Vec<Option<u64>>, Failure> {
        let asked: String = names.iter().map(|name| format!("info {name}\n")).collect();
        let answers = self.ask(&asked, names.len(), false).await?;
        Ok(answers.into_iter().map(|answer| answer.size.filter(|_| answer.is_blob)).collect())
    }

    /// Writes the questions while it reads the answers, or both sides would wait for each other.
    async fn ask(
        &mut self,
        asked: &str,
        answers: usize,
        with_contents: bool,
    ) -> Result<Vec<Answer>, Failure> {
        let stdin = self.run.stdin.as_mut().ok_or_else(|| Failure::strange(COMMAND))?;
        let written = &mut self.written;
        let tell = async { stdin.write_all(asked.as_bytes()).await.map_err(|_| Failure::strange(COMMAND)) };
        let read = async {
            let mut found = Vec::with_capacity(answers);
            for _ in 0..answers {
                let answer = timeout(ANSWER, answer(written, with_contents)).await;
                found.push(
                    answer.map_err(|_| Failure::TooLong { command: COMMAND.to_owned(), limit: ANSWER })??,
                );
            }
            Ok(found)
        };
        tokio::try_join!(tell, read).map(|((), found)| found)
    }
}

/// `NAME TYPE SIZE`, and the contents if they were asked for.
async fn answer(written: &mut BufReader<ChildStdout>, with_contents: bool) -> Result<Answer, Failure> {
    let strange = || Failure::strange(COMMAND);
    let mut line = String::new();
    written.read_line(&mut line).await.map_err(|_| strange())?;
    let mut words = line.split_whitespace().rev();
    let (size, kind) = (words.next(), words.next());
    // `NAME missing`, `NAME ambiguous`.
    let Some(size) = size.and_then(|size| size.parse().ok()) else {
        let missing = Answer { size: None, is_blob: false, contents: None };
        return if line.ends_with('\n') { Ok(missing) } else { Err(strange()) };
    };
    let size: u64 = size;
    let is_blob = kind == Some("blob");
    let mut contents = None;
    if with_contents {
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| strange())? + 1];
        written.read_exact(&mut bytes).await.map_err(|_| strange())?;
        bytes.pop();
        contents = Some(bytes.into());
    }
    Ok(Answer { size: Some(size), is_blob, contents })
}

fn is_served(size: u64) -> bool {
    size <= MAX_VALUE_BYTES as u64
}
