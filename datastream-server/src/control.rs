//! `ControlService`: commits, their history, and how the server is.

use std::collections::HashSet;
use std::sync::Arc;

use datastream::key::{self, Selector};
use datastream::limit;
use datastream::proto::operation::Action as Asked;
use datastream::proto::{
    Change, ClientsRequest, ClientsResponse, CommitRequest, CommitResponse, Data, HistoryRequest,
    HistoryResponse, Operation as AskedOperation, ReportRequest, RollbackRequest, StatusRequest,
    StatusResponse,
};
use datastream::service::control_service_server::ControlService;
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::feed::Feed;
use crate::service::{commit, guarded};
use crate::store::{Action, Commit, HistoryPage, HistoryQuery, Logged, Operation, RequestId};
use crate::{convert, frame};

/// How many bytes of keys and values a page of a history holds: with authors and messages it stays below what one message
/// may have.
const PAGE_BYTES: usize = limit::MESSAGE_BYTES / 2;
/// What surrounds a change in a page at most: its tag and its length.
const CHANGE_FRAME_BYTES: usize = 8;

/// The service: it checks, asks the store, and answers.
pub(crate) struct Control {
    feed: Arc<Feed>,
    config: Config,
}

impl Control {
    pub(crate) fn new(feed: Arc<Feed>, config: Config) -> Self {
        Self { feed, config }
    }

    /// Checks all of a commit before any of it is tried.
    fn read_commit(&self, request: CommitRequest) -> Result<Commit, Status> {
        if request.operations.len() > limit::OPERATIONS {
            return Err(convert::too_many("operations", "at most 10,000 in one commit"));
        }
        for (field, text, most) in [
            ("request_id", &request.request_id, limit::REQUEST_ID_BYTES),
            ("author", &request.author, limit::AUTHOR_BYTES),
            ("message", &request.message, limit::COMMIT_MESSAGE_BYTES),
        ] {
            if text.len() > most {
                return Err(convert::invalid(field, &format!("it has at most {most} bytes")));
            }
        }
        let named = (!request.request_id.is_empty()).then(|| request_id(&request));
        let CommitRequest { operations, author, message, .. } = request;
        let mut keys = HashSet::with_capacity(operations.len());
        let operations = operations.into_iter().enumerate().map(|(i, asked)| {
            let operation = self.read_operation(&format!("operations[{i}]."), asked)?;
            if !keys.insert(operation.key.clone()) {
                let rule = format!("a key stands in a commit once: {}", key::shown(&operation.key));
                return Err(convert::invalid(&format!("operations[{i}]"), &rule));
            }
            Ok(operation)
        });
        Ok(Commit { operations: operations.collect::<Result<_, _>>()?, author, message, request: named })
    }

    fn read_operation(&self, field: &str, asked: AskedOperation) -> Result<Operation, Status> {
        let AskedOperation { action, expected_revision, retype } = asked;
        let operation = match action {
            Some(Asked::Put(data)) => {
                convert::read_push(&format!("{field}put."), data, retype, self.config.max_value_bytes)?
            }
            Some(Asked::Delete(key)) => {
                convert::check_key(&format!("{field}delete"), &key)?;
                Operation { key: key.into(), action: Action::Delete, expected_revision: None }
            }
            None => return Err(convert::invalid(&format!("{field}action"), "neither a put nor a delete")),
        };
        Ok(Operation { expected_revision, ..operation })
    }

    /// A page holds something unless it is the last: what is not served is passed over.
    async fn history(&self, request: HistoryRequest) -> Result<HistoryResponse, Status> {
        let mut query = read_history(&request)?;
        loop {
            let page = self.feed.store().history(query.clone()).await;
            let page = page.map_err(|error| convert::store_failed(&error))?;
            let page = page.ok_or_else(|| Status::unimplemented("this store keeps no history"))?;
            let answer = answer(page);
            if !answer.changes.is_empty() || answer.next_page_token.is_empty() {
                return Ok(answer);
            }
            query.before = answer.next_page_token.parse().ok();
        }
    }

    async fn state(&self) -> StatusResponse {
        let (state, store) = (self.feed.state(), self.feed.store());
        // A store that is out of reach is no reason to be silent about the rest.
        let usage = store.usage().await.ok().flatten();
        StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: store.kind().to_owned(),
            position: Some(state.position().to_proto()),
            compacted_to: state.compacted_to(),
            keys: state.len() as u64,
            subscriptions: self.feed.subscribers() as u64,
            source_age: self.feed.source_age().map(frame::proto_duration),
            history_changes: usage.map(|usage| usage.changes),
            history_bytes: usage.map(|usage| usage.bytes),
        }
    }
}

/// The name of the commit, and a digest of all that it asks for.
fn request_id(request: &CommitRequest) -> RequestId {
    let encoded = request.encode_to_vec();
    let digest = u64::from(crc32fast::hash(&encoded)) << 32 | encoded.len() as u64 & u64::from(u32::MAX);
    RequestId { id: request.request_id.as_str().into(), digest }
}

fn read_history(request: &HistoryRequest) -> Result<HistoryQuery, Status> {
    let of = match request.key.as_str() {
        "" => None,
        key => Some(Selector::parse(key).map_err(|error| convert::bad_key("key", key, error))?),
    };
    let before = match request.page_token.as_str() {
        "" => None,
        token => {
            let wrong = |_| convert::invalid("page_token", "it is not one of this server");
            Some(token.parse::<u64>().map_err(wrong)?)
        }
    };
    let size =
        if request.page_size == 0 { limit::HISTORY_PAGE } else { request.page_size.min(limit::HISTORY_PAGE) };
    Ok(HistoryQuery { of, before, limit: size as usize, bytes: PAGE_BYTES })
}

/// As much of a page as one message holds.
fn answer(page: HistoryPage) -> HistoryResponse {
    let (mut answer, mut left) = (HistoryResponse::default(), limit::MESSAGE_BYTES);
    let (mut oldest, mut more) = (None, page.more);
    for logged in page.changes {
        let change = change(logged);
        let Some(rest) = left.checked_sub(change.encoded_len() + CHANGE_FRAME_BYTES) else {
            more = true;
            break;
        };
        let data = change.data.as_ref();
        (left, oldest) = (rest, data.map(|data| data.revision));
        // What a foreign writer stored under no key is not served here either.
        if data.is_some_and(|data| key::check(&data.key).is_ok()) {
            answer.changes.push(change);
        }
    }
    answer.next_page_token = oldest.filter(|_| more).map(|oldest| oldest.to_string()).unwrap_or_default();
    answer
}

fn change(logged: Logged) -> Change {
    let Logged { change, position, author, message } = logged;
    let deleted = change.value.is_none() && change.too_large.is_none();
    let (value, value_type) =
        change.value.map(|stored| (stored.value, stored.value_type.to_string())).unwrap_or_default();
    let data = Data {
        key: change.key.to_string(),
        value,
        value_type,
        updated_at: Some(change.time.into()),
        revision: change.revision,
        deleted,
    };
    Change { data: Some(data), position: Some(position.to_proto()), author, message }
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let made = async { commit(&self.feed, self.read_commit(message)?).await };
        let position = guarded(&metadata, made).await?;
        Ok(Response::new(CommitResponse { position: Some(position.to_proto()) }))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        guarded(&metadata, self.history(message)).await.map(Response::new)
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let (metadata, ..) = request.into_parts();
        guarded(&metadata, async { Ok(self.state().await) }).await.map(Response::new)
    }

    async fn rollback(&self, _: Request<RollbackRequest>) -> Result<Response<CommitResponse>, Status> {
        Err(reserved())
    }

    async fn clients(&self, _: Request<ClientsRequest>) -> Result<Response<ClientsResponse>, Status> {
        Err(reserved())
    }

    async fn report(&self, _: Request<ReportRequest>) -> Result<Response<()>, Status> {
        Err(reserved())
    }
}

fn reserved() -> Status {
    Status::unimplemented("reserved: this server does not do it yet")
}
