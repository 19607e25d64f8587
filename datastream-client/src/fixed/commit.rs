//! Writes of the application to a client without a server, which decides them as a server would.

use std::sync::Arc;

use datastream::key::shown;
use datastream::proto::operation::Action;
use datastream::proto::{CommitRequest, Data, Operation};
use datastream::value::{self, same_type};

use super::Open;
use crate::commit::changed_key;
use crate::error::CallError;
use crate::session::Changed;
use crate::shared::Shared;
use crate::written::{Seen, Written};

impl Open {
    pub(super) fn push(&mut self, shared: &Shared, data: Data) -> Result<Written, CallError> {
        let operation = Operation { action: Some(Action::Put(data)), ..Operation::default() };
        self.commit(shared, CommitRequest { operations: vec![operation], ..CommitRequest::default() })
    }

    /// All operations are decided before the first is applied.
    pub(super) fn commit(&mut self, shared: &Shared, request: CommitRequest) -> Result<Written, CallError> {
        let keys = request.operations.iter().map(|operation| Arc::from(changed_key(operation))).collect();
        let decided = request.operations.into_iter().map(|operation| self.decide(operation));
        let changes: Vec<_> = decided.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if !changes.is_empty() {
            self.change(shared, changes);
        }
        let is_watched = !shared.touched_by(&Changed::Keys(keys)).is_empty();
        let seen = if is_watched { Seen::Applied } else { Seen::NotWatched };
        Ok(Written { position: self.snapshot.position().cloned(), seen })
    }

    /// What an operation changes, if anything.
    fn decide(&self, operation: Operation) -> Result<Option<Data>, CallError> {
        self.check_revision(&operation)?;
        match operation.action {
            Some(Action::Put(data)) => self.decide_put(data, operation.retype),
            Some(Action::Delete(key)) => {
                let tombstone = |key| Data { key, deleted: true, ..Data::default() };
                Ok(self.snapshot.held(&key).is_some().then(|| tombstone(key)))
            }
            None => Ok(None),
        }
    }

    fn check_revision(&self, operation: &Operation) -> Result<(), CallError> {
        let Some(expected) = operation.expected_revision else { return Ok(()) };
        let text = changed_key(operation);
        let key = shown(text).to_string();
        let is_delete = matches!(operation.action, Some(Action::Delete(_)));
        match self.snapshot.held(text).map(|held| held.revision) {
            Some(revision) if expected == 0 => Err(CallError::Exists { key, revision }),
            None if expected > 0 && is_delete => Err(CallError::NotFound { key }),
            revision if revision.unwrap_or(0) != expected => {
                Err(CallError::Conflict { key, revision: revision.unwrap_or(0) })
            }
            _ => Ok(()),
        }
    }

    fn decide_put(&self, mut data: Data, retype: bool) -> Result<Option<Data>, CallError> {
        let held = self.snapshot.text(&data.key);
        if data.value_type.is_empty() {
            let (_, value_type) =
                held.ok_or_else(|| CallError::Invalid("a new key needs a type".to_owned()))?;
            data.value_type = value_type.to_owned();
            value::check(value_type, &data.value).map_err(|why| CallError::Invalid(why.to_string()))?;
        }
        match held {
            Some((_, value_type)) if !retype && !same_type(value_type, &data.value_type) => {
                Err(CallError::TypeChange(format!("`{}` holds another", shown(&data.key))))
            }
            Some((text, value_type)) if *text == data.value && same_type(value_type, &data.value_type) => {
                Ok(None)
            }
            _ => Ok(Some(data)),
        }
    }
}
