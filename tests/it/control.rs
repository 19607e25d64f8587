//! `ControlService`, as it is on the wire: commits, their history, and the status of a server.

mod commits;
mod history;

use datastream::proto::control_service_client::ControlServiceClient;
use datastream::proto::operation::Action;
use datastream::proto::{CommitRequest, Operation, Position};
use tonic::{Response, Status};

use crate::found::Found;
use crate::wire::{Wire, data};

/// A put of a text that is not checked here.
pub(crate) fn put(key: &str, value_type: &str, value: impl Into<bytes::Bytes>) -> Operation {
    Operation { action: Some(Action::Put(data(key, value_type, value))), ..Operation::default() }
}

pub(crate) fn delete(key: &str) -> Operation {
    Operation { action: Some(Action::Delete(key.to_owned())), ..Operation::default() }
}

pub(crate) fn expecting(operation: Operation, revision: u64) -> Operation {
    Operation { expected_revision: Some(revision), ..operation }
}

/// Commits, each in a line of code.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) ControlServiceClient<Found>);

impl Control {
    pub(crate) fn of(wire: &Wire) -> Self {
        Self(ControlServiceClient::new(wire.channel.clone()))
    }

    pub(crate) async fn make(&self, request: CommitRequest) -> Result<Position, Status> {
        let made = self.0.clone().commit(request).await.map(Response::into_inner)?;
        Ok(made.position.expect("a commit has a position"))
    }

    pub(crate) async fn commit(&self, operations: impl Into<Vec<Operation>>) -> Result<Position, Status> {
        self.make(CommitRequest { operations: operations.into(), ..CommitRequest::default() }).await
    }
}
