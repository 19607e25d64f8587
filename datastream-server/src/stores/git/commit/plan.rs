//! What a commit does to the files of the branch, and whether there is room for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datastream::key;
use datastream::value::{ValueError, same_type};

use crate::config::MAX_VALUE_BYTES;
use crate::operation::{Effect, Held, Operation, Refused};
use crate::store::CommitError;
use crate::stores::git::known::{Known, types_in_the_way};
use crate::stores::git::log::Kind;
use crate::stores::git::object::Oid;
use crate::stores::git::skipped;
use crate::stores::types_file::{self, TypesFile};

/// What a commit does to the files.
pub(super) struct Plan {
    pub(super) base: Option<Oid>,
    pub(super) files: Vec<(String, Option<(Kind, Bytes)>)>,
}

/// A value whose file would stay as it is stands, although its type has another name.
pub(super) fn unless_it_stands(known: &Known, key: &str, held: Option<Held>, effect: Effect) -> Effect {
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
pub(super) fn check_room(known: &Known, changes: &[(&Operation, Effect)]) -> Result<(), CommitError> {
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
            return Err(refused(&operation.key, by));
        }
    }
    Ok(())
}

fn refused(key: &Arc<str>, by: String) -> CommitError {
    CommitError::from(Refused::InTheWay { by }).of(key)
}

/// What nobody would be served must not be acknowledged.
pub(super) fn check_values(changes: &[(&Operation, Effect)]) -> Result<(), CommitError> {
    let is_pointer =
        |effect: &Effect| matches!(effect, Effect::Write(stored) if skipped::is_pointer(&stored.value));
    let Some((operation, _)) = changes.iter().find(|(_, effect)| is_pointer(effect)) else { return Ok(()) };
    let why = ValueError::Refused { target: "the git store", rule: skipped::NO_POINTER.into() };
    Err(CommitError::from(Refused::Value(why)).of(&operation.key))
}

pub(super) fn plan(known: &Known, changes: Vec<(&Operation, Effect)>) -> Result<Plan, CommitError> {
    let mut types: TypesFile = known.types().clone();
    let mut retyped = None;
    let mut files = Vec::with_capacity(changes.len() + 1);
    for (operation, effect) in changes {
        let key = &*operation.key;
        match effect {
            Effect::Write(stored) => {
                let edited = types.try_set(key, &stored.value_type);
                if edited.map_err(|why| refused(&operation.key, types_in_the_way(&why.to_string())))? {
                    retyped = Some(&operation.key);
                }
                let kind = known.file(key).map_or(Kind::Regular, |file| file.kind);
                files.push((key.to_owned(), Some((kind, stored.value))));
            }
            Effect::Remove => {
                // Where the file cannot be written the entry stays, and says nothing of a key that is not there.
                if known.types_in_the_way().is_none() && types.try_remove(key).unwrap_or(false) {
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
            return Err(refused(key, by));
        }
        files.push((types_file::NAME.to_owned(), Some((Kind::Regular, text.into()))));
    }
    Ok(Plan { base: known.chain.head(), files })
}
