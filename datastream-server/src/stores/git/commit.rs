//! Making a commit: decided on the newest state of the branch, written beside it, and there once the branch has moved to it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datastream::key::{self, shown};
use datastream::position::Position;
use datastream::value::same_type;

use super::branch::Branch;
use super::command::Failure;
use super::error::writing;
use super::known::Known;
use super::log::Kind;
use super::object::Oid;
use super::origin::{HERE, Pushed};
use super::request;
use crate::config::MAX_VALUE_BYTES;
use crate::operation::{Commit, Effect, Held, Operation, Refused};
use crate::retry::Pauses;
use crate::store::{CommitError, StoreError};
use crate::stores::types_file::{self, TypesFile};

/// How often a commit is tried before it gives way to those who are always quicker.
const ATTEMPTS: usize = 20;
/// How long it waits before the next.
const PAUSES: Pauses = Pauses::between(Duration::from_millis(20), Duration::from_secs(1));
/// Who commits where nobody said so. Without an address: nobody is meant.
pub(super) const NOBODY: &str = "datastream";
/// How many keys the message names where the caller gave none.
const NAMED: usize = 3;
/// Where fast-import puts a commit until the branch moves to it.
const PENDING: &str = "refs/datastream-pending/commit";

/// What a commit does to the files.
struct Plan {
    base: Option<Oid>,
    files: Vec<(String, Option<(Kind, bytes::Bytes)>)>,
}

impl Branch {
    /// Makes the commit, in the turn of who has `writing`. Not to be dropped half-way.
    pub(super) async fn commit(&self, commit: &Commit) -> Result<Position, CommitError> {
        if self.unheard_since().is_some() {
            // Whoever waits for the next turn is told sooner than by a push.
            self.look().await.map_err(StoreError::from)?;
        }
        let mut pauses = PAUSES;
        // The revision that stood when this looked first. Until then what is known may be old, and only a commit that the
        // branch takes all the same is one.
        let mut first = None;
        for _ in 0..ATTEMPTS {
            match self.decide(commit, first) {
                Ok(Decided::Write(plan)) => {
                    let new = self.write(&plan, commit).await.map_err(writing)?;
                    match self.push(new, plan.base).await? {
                        Pushed::Done => return self.arrived(new).await,
                        Pushed::Refused(why) => return Err(StoreError::ReadOnly(why.into()).into()),
                        Pushed::Lost => {}
                    }
                }
                Ok(Decided::Stands(position)) if first.is_some() => return Ok(position),
                Err(error) if first.is_some() => return Err(error),
                _ => {}
            }
            if first.is_some() {
                tokio::time::sleep(pauses.next_jittered()).await;
            }
            self.look().await.map_err(StoreError::from)?;
            first.get_or_insert_with(|| self.known().chain.revision());
        }
        Err(Refused::Conflict { revision: self.known().chain.revision() }.into())
    }

    /// Moves the branch. Where it is not known whether that was done, finds out.
    async fn push(&self, new: Oid, base: Option<Oid>) -> Result<Pushed, CommitError> {
        let failure = match self.origin.push(new, base).await {
            Ok(pushed) => return Ok(pushed),
            Err(failure) => failure,
        };
        if self.origin.remote.is_none() {
            return Err(writing(failure).into());
        }
        self.look()
            .await
            .map_err(|_| writing(Failure::Said { command: "push".to_owned(), said: failure.to_string() }))?;
        let (is_there, head) = {
            let known = self.known();
            (known.chain.revision_of(new).is_some(), known.chain.head())
        };
        match is_there {
            true => Ok(Pushed::Done),
            // It may still arrive.
            false if head == base => Err(writing(failure).into()),
            false => Ok(Pushed::Lost),
        }
    }

    /// Where the commit stands, once it is known.
    async fn arrived(&self, new: Oid) -> Result<Position, CommitError> {
        self.take_in(new).await.map_err(StoreError::from)?;
        let known = self.known();
        let revision = known.chain.revision_of(new);
        let gone = || StoreError::Unavailable("the branch was set to another history meanwhile".into());
        Ok(known.chain.position(revision.ok_or_else(gone)?))
    }

    /// What is to be done, by what is known now. `first` is the revision that stood when the call looked first: what came
    /// since to the same keys is another's.
    fn decide(&self, commit: &Commit, first: Option<u64>) -> Result<Decided, CommitError> {
        let mut known = self.known();
        if let Some(request) = &commit.request
            && let Some(revision) = known.requests.applied(request)?
        {
            return Ok(Decided::Stands(known.chain.position(revision)));
        }
        let mut changes = Vec::new();
        for operation in &commit.operations {
            let refused = |why| CommitError::from(why).of(&operation.key);
            let held = known.held(&operation.key);
            let effect = operation.decide(held.as_ref()).map_err(refused)?;
            let effect = unless_it_stands(&known, &operation.key, held, effect);
            let revision = known.revision_of(&operation.key);
            if effect != Effect::Stands && first.is_some_and(|first| revision > first) {
                return Err(refused(Refused::Conflict { revision }));
            }
            changes.push((operation, effect));
        }
        let is_seed = commit.request.as_ref().is_some_and(|request| *request == request::seed());
        if changes.iter().all(|(_, effect)| *effect == Effect::Stands) && !is_seed {
            let position = known.standing(&commit.operations);
            if let Some(request) =
                commit.request.as_ref().filter(|_| first.is_some() && !commit.operations.is_empty())
            {
                known.requests.remember(request.clone(), position.revision, SystemTime::now());
            }
            return Ok(Decided::Stands(position));
        }
        check_room(&known, &changes)?;
        plan(&known, changes).map(Decided::Write)
    }

    /// Writes the commit beside the branch.
    async fn write(&self, plan: &Plan, commit: &Commit) -> Result<Oid, Failure> {
        let stream = stream(plan, commit);
        let import = ["fast-import", "--quiet", "--date-format=raw", "--force"];
        let written = self.origin.git.run_with(&import, &stream, HERE * 4).await;
        let written = written.inspect_err(|failure| self.clear(&failure.to_string()))?;
        String::from_utf8_lossy(&written).trim().parse()
    }
}

/// What fast-import leaves behind when it fails; it names both.
const LEFT: [(&str, &str); 2] = [("fast_import_crash_", "."), ("tmp_pack_", "objects/pack")];

impl Branch {
    /// Takes away what a failed fast-import left, which would only fill the disk.
    fn clear(&self, said: &str) {
        for (begins, folder) in LEFT {
            let named = said.match_indices(begins).map(|(at, _)| &said[at..]);
            for name in
                named.filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
            {
                // It may be gone, or never have been there.
                let _ = std::fs::remove_file(self.origin.git.folder().join(folder).join(name));
            }
        }
    }
}

enum Decided {
    /// Nothing is to be done; where it stands.
    Stands(Position),
    Write(Plan),
}

/// A value whose file would stay as it is stands, although its type has another name.
fn unless_it_stands(known: &Known, key: &str, held: Option<Held>, effect: Effect) -> Effect {
    let Effect::Write(stored) = &effect else { return effect };
    let is_same = held
        .and_then(|held| held.value)
        .is_some_and(|held| held.value == stored.value && same_type(&held.value_type, &stored.value_type));
    if is_same && known.types().says(key, &stored.value_type) { Effect::Stands } else { effect }
}

/// Whether git, on some file system, could take a part of a path for something of its own. The key grammar leaves out `.git`
/// and `..` already; here nobody relies on who calls.
fn is_gits_own(key: &str) -> bool {
    let own = |part: &str| {
        let part = part.to_ascii_lowercase();
        // Windows ends a name at a colon, and drops dots and spaces there; it has short names for long ones.
        let name = part.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
        matches!(name, ".git" | ".gitmodules") || name.starts_with("git~") || name.starts_with("gitmod~")
    };
    key::check(key).is_err() || key.split('/').any(own)
}

/// A file and a folder cannot have one name.
fn check_room(known: &Known, changes: &[(&Operation, Effect)]) -> Result<(), CommitError> {
    let keys = |wanted: fn(&Effect) -> bool| {
        let wanted = changes.iter().filter(move |(_, effect)| wanted(effect));
        wanted.map(|(operation, _)| &*operation.key).collect::<BTreeSet<&str>>()
    };
    let gone = keys(|effect| matches!(effect, Effect::Remove));
    let new = keys(|effect| matches!(effect, Effect::Write(_)));
    for (operation, _) in changes.iter().filter(|(_, effect)| matches!(effect, Effect::Write(_))) {
        if is_gits_own(&operation.key) {
            return Err(CommitError::from(Refused::Rules).of(&operation.key));
        }
        if let Some(by) = known.in_the_way(&operation.key, &gone, &new) {
            return Err(CommitError::from(Refused::InTheWay { by }).of(&operation.key));
        }
    }
    Ok(())
}

fn plan(known: &Known, changes: Vec<(&Operation, Effect)>) -> Result<Plan, CommitError> {
    let mut types: TypesFile = known.types().clone();
    let mut retyped = None;
    let mut files = Vec::with_capacity(changes.len() + 1);
    for (operation, effect) in changes {
        let key = &*operation.key;
        match effect {
            Effect::Write(stored) => {
                if types.set(key, &stored.value_type) {
                    retyped = Some(&operation.key);
                }
                let kind = known.file(key).map_or(Kind::Regular, |file| file.kind);
                files.push((key.to_owned(), Some((kind, stored.value))));
            }
            Effect::Remove => {
                // Where the file cannot be written the entry stays, and says nothing of a key that is not there.
                if known.types_in_the_way().is_none() && types.remove(key) {
                    retyped = Some(&operation.key);
                }
                files.push((key.to_owned(), None));
            }
            Effect::Stands => {}
        }
    }
    if let Some(key) = retyped {
        let text = types.to_string();
        let too_large = (text.len() > MAX_VALUE_BYTES).then(|| {
            format!(
                "`{}`, which would have more than {MAX_VALUE_BYTES} bytes (an entry for a prefix says much),",
                types_file::NAME
            )
        });
        if let Some(by) = known.types_in_the_way().or(too_large) {
            return Err(CommitError::from(Refused::InTheWay { by }).of(key));
        }
        files.push((types_file::NAME.to_owned(), Some((Kind::Regular, text.into()))));
    }
    Ok(Plan { base: known.chain.head(), files })
}

/// What fast-import reads: a commit, the question for its name, and the end of the ref that it needs for a moment.
fn stream(plan: &Plan, commit: &Commit) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let message = message(plan, commit);
    let mut stream = format!(
        "commit {PENDING}\nmark :1\nauthor {} {now} +0000\ncommitter {NOBODY} <> {now} +0000\ndata {}\n{message}\n",
        author(&commit.author),
        message.len(),
    )
    .into_bytes();
    if let Some(base) = plan.base {
        stream.extend_from_slice(format!("from {base}\n").as_bytes());
    }
    // First what goes: a folder may take the place of a file.
    for (path, _) in plan.files.iter().filter(|(_, file)| file.is_none()) {
        stream.extend_from_slice(format!("D {}\n", quoted(path)).as_bytes());
    }
    for (path, file) in &plan.files {
        let Some((kind, bytes)) = file else { continue };
        let mode = if *kind == Kind::Executable { "100755" } else { "100644" };
        stream.extend_from_slice(
            format!("M {mode} inline {}\ndata {}\n", quoted(path), bytes.len()).as_bytes(),
        );
        stream.extend_from_slice(bytes);
        stream.push(b'\n');
    }
    let nothing = "0".repeat(plan.base.map_or(40, |base| base.bytes().len() * 2));
    stream.extend_from_slice(format!("\nget-mark :1\nreset {PENDING}\nfrom {nothing}\n\n").as_bytes());
    stream
}

/// `Name <address>`, whatever was given.
fn author(given: &str) -> String {
    let clean = |text: &str| {
        let text: String =
            text.chars().map(|c| if c.is_control() || "<>".contains(c) { ' ' } else { c }).collect();
        text.trim().to_owned()
    };
    let (name, address) = given.split_once('<').unwrap_or((given, ""));
    let (name, address) = (clean(name), clean(address));
    if name.is_empty() { format!("{NOBODY} <{address}>") } else { format!("{name} <{address}>") }
}

fn message(plan: &Plan, commit: &Commit) -> String {
    let given = commit.message.replace('\0', " ");
    let text = if given.trim().is_empty() { summary(plan) } else { request::without(given.trim_end()) };
    let request = commit.request.as_ref().map(|request| format!("\n{}", request::trailer(request)));
    format!("{text}\n{}", request.unwrap_or_default())
}

/// `Set a, b and 3 more`.
fn summary(plan: &Plan) -> String {
    let keys: Vec<_> = plan.files.iter().filter(|(path, _)| path != types_file::NAME).collect();
    let verb = if keys.iter().all(|(_, file)| file.is_none()) { "Delete" } else { "Set" };
    let named: Vec<_> = keys.iter().take(NAMED).map(|(path, _)| shown(path).to_string()).collect();
    let more = keys.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{verb} {}{more}", named.join(", "))
}

/// As fast-import reads a path. A key holds neither a line end nor a backslash.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_a_name_and_an_address_whatever_was_given() {
        for (given, written) in [
            ("ada", "ada <>"),
            ("Ada L <ada@x>", "Ada L <ada@x>"),
            ("", "datastream <>"),
            ("a\nb> <c", "a b <c>"),
            ("<x@y>", "datastream <x@y>"),
        ] {
            assert_eq!(author(given), written);
        }
    }
}
