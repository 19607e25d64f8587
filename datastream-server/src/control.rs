//! `ControlService`: commits, their history, and how the server is.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use datastream::key::{self, Selector};
use datastream::limit;
use datastream::position::Position;
use datastream::proto::operation::Action as Asked;
use datastream::proto::{
    Change, ClientsRequest, ClientsResponse, CommitRequest, CommitResponse, Data, HistoryRequest,
    HistoryResponse, Operation as AskedOperation, RefreshRequest, RefreshResponse, ReportRequest,
    RollbackRequest, StatusRequest, StatusResponse,
};
use datastream::service::control_service_server::ControlService;
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::config::{Config, MAX_TYPE_BYTES};
use crate::feed::Feed;
use crate::service::{commit, guarded};
use crate::state::Place;
use crate::store::{Action, Commit, HistoryPage, HistoryQuery, Logged, Operation, RequestId};
use crate::{convert, frame};

/// How many bytes of texts a page of a history is read for; what does not fit into its message goes to the next.
const PAGE_BYTES: usize = limit::MESSAGE_BYTES / 2;
/// What the token of a page takes at most: a revision, a key, a tag and a length.
const PAGE_TOKEN_BYTES: usize = 24 + key::MAX_BYTES;
/// How long a refresh waits until the state holds what the store has found.
const REFRESH_LIMIT: Duration = Duration::from_secs(5);
/// How long a status waits for what the store keeps.
const USAGE_LIMIT: Duration = Duration::from_secs(1);
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
            // Not every store can hold one: PostgreSQL would fail, and the caller try again for nothing.
            if text.contains('\0') {
                return Err(convert::invalid(field, "it holds no NUL"));
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
            query.before = place(&answer.next_page_token);
        }
    }

    async fn state(&self) -> StatusResponse {
        let (state, store) = (self.feed.state(), self.feed.store());
        // A store that is out of reach, or takes its time, is no reason to be silent about the rest.
        let usage = tokio::time::timeout(USAGE_LIMIT, store.usage()).await;
        let usage = usage.ok().and_then(Result::ok).flatten();
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

/// The key of an operation, and where in it what is wrong with it stands.
fn field(operation: &Operation) -> (Arc<str>, &'static str) {
    let action = match operation.action {
        Action::Put { .. } => "put.",
        Action::Delete => "delete",
    };
    (operation.key.clone(), action)
}

fn read_history(request: &HistoryRequest) -> Result<HistoryQuery, Status> {
    let of = match request.key.as_str() {
        "" => None,
        key => Some(Selector::parse(key).map_err(|error| convert::bad_key("key", key, error))?),
    };
    let before = match request.page_token.as_str() {
        "" => None,
        token => {
            Some(place(token).ok_or_else(|| convert::invalid("page_token", "it is not one of this server"))?)
        }
    };
    let size =
        if request.page_size == 0 { limit::HISTORY_PAGE } else { request.page_size.min(limit::HISTORY_PAGE) };
    Ok(HistoryQuery { of, before, limit: size as usize, bytes: PAGE_BYTES })
}

/// What a page token says, which is opaque to clients: the revision and the key of the last change before it.
fn place(token: &str) -> Option<Place> {
    let (revision, key) = token.split_once('/')?;
    let is_number = revision.bytes().all(|byte| byte.is_ascii_digit());
    Some((revision.parse().ok().filter(|_| is_number)?, key.into()))
}

/// As much of a page as one message holds.
fn answer(page: HistoryPage) -> HistoryResponse {
    let (mut answer, mut left) = (HistoryResponse::default(), limit::MESSAGE_BYTES - PAGE_TOKEN_BYTES);
    let (mut oldest, mut more) = (None, page.more);
    for logged in page.changes {
        let place = (logged.change.revision, logged.change.key.clone());
        if is_served(&logged) {
            let change = change(logged);
            let Some(rest) = left.checked_sub(change.encoded_len() + CHANGE_FRAME_BYTES) else {
                more = true;
                break;
            };
            left = rest;
            answer.changes.push(change);
        }
        oldest = Some(place);
    }
    let token = oldest.filter(|_| more).map(|(revision, key)| format!("{revision}/{key}"));
    answer.next_page_token = token.unwrap_or_default();
    answer
}

/// What a foreign writer stored under no key, or as a type without measure, is not served here either.
fn is_served(logged: &Logged) -> bool {
    let value_type = logged.change.value.as_ref().map_or(0, |stored| stored.value_type.len());
    key::check(&logged.change.key).is_ok() && value_type <= MAX_TYPE_BYTES
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
        let made = async {
            let made = self.read_commit(message)?;
            let fields: Vec<_> = made.operations.iter().map(field).collect();
            commit(&self.feed, made, &|key| {
                let named = fields.iter().enumerate().find(|(_, (named, _))| **named == *key);
                named.map(|(i, (_, action))| format!("operations[{i}].{action}")).unwrap_or_default()
            })
            .await
        };
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

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let (metadata, ..) = request.into_parts();
        let position = guarded(&metadata, refresh(&self.feed)).await?;
        Ok(Response::new(RefreshResponse { position: Some(position.to_proto()) }))
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

/// Has the store look, and the feed see what it found.
async fn refresh(feed: &Feed) -> Result<Position, Status> {
    feed.store().refresh().await.map_err(|error| convert::store_failed(&error))?;
    if !feed.catch_up(REFRESH_LIMIT).await {
        return Err(convert::unavailable(
            "the store was looked at, and does not say what it found: try again",
        ));
    }
    Ok(feed.state().position().clone())
}

fn reserved() -> Status {
    Status::unimplemented("reserved: this server does not do it yet")
}
