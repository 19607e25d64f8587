//! The commits of a branch, as git lists them.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use super::command::{Failure, Git, Run};
use super::object::Oid;

/// How long the next commit may take to come: git may have to walk far for one that touches a path.
const NEXT: Duration = Duration::from_secs(120);
const COMMAND: &str = "log";
/// The end of the year 9999, the last that a timestamp on the wire can have: anybody can date a commit as he likes.
const LAST_SECOND: i128 = 253_402_300_799;
/// Of each commit: its name and those of its parents, when, who, and why.
const FORMAT: &str = "--format=tformat:%x01%H %P%x00%ct%x00%an%x00%ae%x00%B%x00";
/// What a file of the operator's must not change.
const FLAGS: &[&str] = &[
    "--first-parent",
    "--diff-merges=first-parent",
    "--ignore-submodules=none",
    "-O/dev/null",
    "--raw",
    "-z",
    "--no-abbrev",
    "--no-renames",
    "--no-notes",
    "--no-show-signature",
    "--no-relative",
    "--no-color",
    "--no-decorate",
    "--no-mailmap",
    "--encoding=UTF-8",
    FORMAT,
];

/// A commit, and what it changed of the one before it on the branch.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) oid: Oid,
    /// The commit before it on the branch; `None` of the first.
    pub(super) parent: Option<Oid>,
    pub(super) time: SystemTime,
    pub(super) author: String,
    pub(super) email: String,
    pub(super) message: String,
    pub(super) changes: Vec<PathChange>,
}

/// What became of a path.
#[derive(Debug)]
pub(super) struct PathChange {
    pub(super) path: Vec<u8>,
    /// What was there before; `None`: nothing.
    pub(super) before: Option<File>,
    /// `None`: it is gone.
    pub(super) file: Option<File>,
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) kind: Kind,
    pub(super) oid: Oid,
}

impl File {
    /// What counts of it: its permissions do not.
    pub(super) fn content(self) -> (bool, Oid) {
        (self.kind.is_file(), self.oid)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Executable,
    Symlink,
    Submodule,
}

impl Kind {
    fn of(mode: &str) -> Option<Self> {
        match mode {
            "100755" => Some(Self::Executable),
            "120000" => Some(Self::Symlink),
            "160000" => Some(Self::Submodule),
            mode if mode.starts_with("100") => Some(Self::Regular),
            _ => None,
        }
    }

    pub(super) fn is_file(self) -> bool {
        matches!(self, Self::Regular | Self::Executable)
    }
}

/// A list of commits that is under way.
pub(super) struct Log {
    run: Run,
    written: BufReader<ChildStdout>,
    /// The next token, which was read to see where a commit ends.
    ahead: Option<Vec<u8>>,
}

impl Log {
    /// Lists the commits of `range`, oldest first.
    pub(super) fn forward(git: &Git, range: &str) -> Result<Self, Failure> {
        Self::begin(git, ["--reverse".into(), range.into(), "--".into()])
    }

    /// Lists the commits that lead to `head`, newest first; those that touch one of `paths`, if there are any.
    pub(super) fn backward(git: &Git, head: Oid, paths: &[&str]) -> Result<Self, Failure> {
        let paths = paths.iter().map(OsString::from);
        Self::begin(git, [head.to_string().into(), "--".into()].into_iter().chain(paths))
    }

    fn begin(git: &Git, rest: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let args: Vec<OsString> = [COMMAND].iter().chain(FLAGS).map(OsString::from).chain(rest).collect();
        let mut run = git.begin(&args)?;
        let written = run.stdout.take().ok_or_else(strange)?;
        Ok(Self { run, written: BufReader::with_capacity(1 << 16, written), ahead: None })
    }

    /// The next commit; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Listed>, Failure> {
        let next = timeout(NEXT, self.commit()).await;
        next.map_err(|_| Failure::TooLong { command: COMMAND.to_owned(), limit: NEXT })?
    }

    async fn commit(&mut self) -> Result<Option<Listed>, Failure> {
        let Some(head) = self.token().await? else {
            return self.run.end().await?.map(|()| None);
        };
        let head = String::from_utf8(head).map_err(|_| strange())?;
        let mut names = head.strip_prefix('\u{1}').ok_or_else(strange)?.split_whitespace();
        let oid = names.next().ok_or_else(strange)?.parse()?;
        let parent = names.next().map(str::parse).transpose()?;
        // What is no date, or none of this world, is the beginning or the end of time: the commit is there all the same.
        let seconds: i128 = self.text().await?.parse().unwrap_or(0);
        let time =
            UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds.clamp(0, LAST_SECOND)).unwrap_or(0));
        let (author, email, message) = (self.text().await?, self.text().await?, self.text().await?);
        let mut changes = Vec::new();
        while let Some(token) = self.token().await? {
            if token.first() != Some(&b':') {
                self.ahead = Some(token);
                break;
            }
            let raw = String::from_utf8(token).map_err(|_| strange())?;
            let path = self.field().await?.ok_or_else(strange)?;
            let (before, file) = files_of(&raw)?;
            changes.push(PathChange { path, before, file });
        }
        Ok(Some(Listed { oid, parent, time, author, email, message, changes }))
    }

    /// The next token that is not empty.
    async fn token(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(token) = self.ahead.take() {
            return Ok(Some(token));
        }
        while let Some(field) = self.field().await? {
            let token = field.strip_prefix(b"\n").map_or(field.clone(), <[u8]>::to_vec);
            if !token.is_empty() {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    async fn text(&mut self) -> Result<String, Failure> {
        let field = self.field().await?.ok_or_else(strange)?;
        Ok(String::from_utf8_lossy(&field).into_owned())
    }

    async fn field(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut field = Vec::new();
        let read = self.written.read_until(0, &mut field).await.map_err(|_| strange())?;
        match field.pop() {
            None => Ok(None),
            Some(0) => Ok(Some(field)),
            Some(_) if read > 0 => Err(strange()),
            Some(_) => Ok(None),
        }
    }
}

/// `:MODE MODE OID OID STATUS`: what was there, and what is there now.
fn files_of(raw: &str) -> Result<(Option<File>, Option<File>), Failure> {
    let mut words = raw.trim_start_matches(':').split(' ');
    let mut word = || words.next().ok_or_else(strange);
    let (before, after) = (word()?, word()?);
    let (old, new) = (word()?, word()?);
    Ok((file_of(before, old)?, file_of(after, new)?))
}

fn file_of(mode: &str, oid: &str) -> Result<Option<File>, Failure> {
    if mode == "000000" {
        return Ok(None);
    }
    let kind = Kind::of(mode).ok_or_else(strange)?;
    Ok(Some(File { kind, oid: oid.parse()? }))
}

fn strange() -> Failure {
    Failure::strange(COMMAND)
}
