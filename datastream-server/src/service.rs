//! The four methods of `DataService`.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream::position::Position;
use datastream::proto::{
    Capability, Data, DataRequest, DataResponse, ListCapabilitiesRequest, ListCapabilitiesResponse, Phase,
};
use datastream::service::data_service_server::DataService;
use datastream::{Encoded, header, key, limit};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::convert;
use crate::entry::Entry;
use crate::feed::Feed;
use crate::frame;
use crate::state::State;
use crate::store::{Commit, CommitError, Refused};
use crate::stream::{self, Common, End};
use crate::subscription::{Pace, Subscription};

/// What the token of a page takes at most, with its tag and its length.
const PAGE_TOKEN_BYTES: usize = key::MAX_BYTES + 4;
/// What surrounds an entry of a list at most: its tag and its length.
const ENTRY_FRAME_BYTES: usize = 4;
/// How long a push waits until the state holds what the store has taken.
const PUBLISH_LIMIT: Duration = Duration::from_secs(5);
/// How long a refusal waits until the state holds what it speaks of.
const REFUSAL_LIMIT: Duration = Duration::from_secs(1);
/// How long a client that is ahead of this server waits until the store was asked.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);
/// By how much a deadline is judged early, so that this server names it before the transport ends the call as
/// cancelled; the timers of the runtime count whole milliseconds.
const DEADLINE_MARGIN: Duration = Duration::from_millis(2);

/// The service: it checks, asks the feed or the store, and answers.
pub(crate) struct Service {
    feed: Arc<Feed>,
    config: Config,
    common: Common,
}

impl Service {
    pub(crate) fn new(feed: Arc<Feed>, config: Config, common: Common) -> Self {
        Self { feed, config, common }
    }

    fn list(&self, request: &ListCapabilitiesRequest) -> Result<ListCapabilitiesResponse, Status> {
        if request.page_token.len() > key::MAX_BYTES {
            return Err(convert::invalid("page_token", "it is not one of this server"));
        }
        let state = self.feed.state();
        let after = (!request.page_token.is_empty()).then_some(request.page_token.as_str());
        let is_paged = request.page_size > 0;
        let mut answer = ListCapabilitiesResponse::default();
        let mut left = limit::MESSAGE_BYTES - PAGE_TOKEN_BYTES;
        for capability in state.below("", after).filter_map(|entry| capability(entry)) {
            let length = capability.encoded_len() + ENTRY_FRAME_BYTES;
            let is_full = is_paged && answer.capabilities.len() >= request.page_size as usize;
            if is_full || is_paged && length > left {
                answer.next_page_token =
                    answer.capabilities.last().map(|last| last.key.clone()).unwrap_or_default();
                break;
            }
            left = left.checked_sub(length).ok_or_else(|| convert::too_large("ask for pages (page_size)"))?;
            answer.capabilities.push(capability);
        }
        Ok(answer)
    }

    fn read(&self, message: DataRequest) -> Result<Encoded, Status> {
        let request = convert::read_request(message)?;
        let state = self.feed.state();
        let (mut entries, mut length) = (Vec::new(), 0);
        for entry in current(&state, &request.keys) {
            length += entry.encoded.len();
            if length > limit::MESSAGE_BYTES {
                return Err(convert::too_large("Subscribe brings it in parts"));
            }
            entries.push(&entry.encoded);
        }
        let tail = DataResponse {
            position: Some(state.position().to_proto()),
            phase: Phase::State.into(),
            source_age: self.feed.source_age().map(frame::proto_duration),
            ..DataResponse::default()
        };
        let frame = frame::join(&entries, &tail);
        if frame.bytes.len() > limit::MESSAGE_BYTES {
            return Err(convert::too_large("Subscribe brings it in parts"));
        }
        Ok(Encoded(frame.bytes))
    }

    async fn subscription(&self, peer: Option<SocketAddr>, message: DataRequest) -> Result<Frames, Status> {
        let client = key::shown(&message.client_name);
        let request = convert::read_request(message)?;
        let resume = request.resume.as_ref().map(|resume| resume.revision);
        let (keys, announced) = (request.keys.len(), request.announced);
        tracing::info!(%client, peer = peer.map(tracing::field::display), keys, announced, resume, "subscribed");
        let registration = self.feed.register(request.keys.clone());
        let ahead = request
            .resume
            .as_ref()
            .is_some_and(|resume| resume.revision > self.feed.state().position().revision);
        // Its position may be one that the store has and this server has not seen yet.
        let caught_up = !ahead || catch_up(&self.feed).await;
        let pace = Pace { heartbeat: self.config.heartbeat, join_bytes: frame::JOIN_BYTES };
        let subscription = Subscription::new(request, pace);
        let client = stream::Client { announced, caught_up };
        let frames = stream::open(subscription, client, registration, self.common.clone());
        let answers = frames.map(|frame| frame.map(|frame| Encoded(frame.bytes)).map_err(ended));
        Ok(Box::pin(answers))
    }

    async fn push(&self, data: Data, retype: bool) -> Result<Bytes, Status> {
        let operation = convert::read_push("", data, retype, self.config.max_value_bytes)?;
        let position = commit(&self.feed, Commit::one(operation), &|_| String::new()).await?;
        Ok(position.to_proto().encode_to_vec().into())
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

#[tonic::async_trait]
impl DataService for Service {
    async fn list_capabilities(
        &self,
        request: Request<ListCapabilitiesRequest>,
    ) -> Result<Response<ListCapabilitiesResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        guarded(&metadata, async { self.list(&message) }).await.map(Response::new)
    }

    async fn sync(&self, request: Request<DataRequest>) -> Result<Response<Encoded>, Status> {
        let (metadata, _, message) = request.into_parts();
        guarded(&metadata, async { self.read(message) }).await.map(Response::new)
    }

    type SubscribeStream = Frames;

    async fn subscribe(&self, request: Request<DataRequest>) -> Result<Response<Frames>, Status> {
        let peer = request.remote_addr();
        let (metadata, _, message) = request.into_parts();
        let frames = guarded(&metadata, self.subscription(peer, message)).await?;
        let mut response = Response::new(frames);
        let interval = u64::try_from(self.config.heartbeat.as_millis()).unwrap_or(u64::MAX);
        response.metadata_mut().insert(header::HEARTBEAT_MS, interval.into());
        Ok(response)
    }

    async fn push_update(&self, request: Request<Data>) -> Result<Response<()>, Status> {
        let (metadata, _, data) = request.into_parts();
        let retype = metadata.get(header::RETYPE).is_some_and(|value| value == "1");
        let position = guarded(&metadata, self.push(data, retype)).await?;
        let mut response = Response::new(());
        response.metadata_mut().insert_bin(header::POSITION_BIN, MetadataValue::from_bytes(&position));
        Ok(response)
    }
}

/// Has the store look at where its settings come from, and the feed at the store.
async fn catch_up(feed: &Feed) -> bool {
    let refreshed = tokio::time::timeout(CATCH_UP_LIMIT, feed.store().refresh()).await;
    matches!(refreshed, Ok(Ok(()))) && feed.catch_up(CATCH_UP_LIMIT).await
}

/// Makes a commit, which is in every later state when this returns. So is what a refusal speaks of: who reads then, reads that.
/// `field` says where a key stands in the request.
pub(crate) async fn commit(
    feed: &Feed,
    commit: Commit,
    field: &(dyn Fn(&str) -> String + Sync),
) -> Result<Position, Status> {
    let position = match feed.store().commit(commit).await {
        Ok(position) => position,
        Err(error) => {
            if let CommitError::Refused { why, .. } = &error {
                show_refusal(feed, why).await;
            }
            return Err(convert::commit_failed(&error, field));
        }
    };
    if !feed.reach(&position, PUBLISH_LIMIT).await {
        return Err(convert::unavailable(
            "written, but not yet published: make the same call again to be sure",
        ));
    }
    Ok(position)
}

/// Waits a little until the state shows what speaks against a commit. If it takes longer, the refusal is true all the same.
async fn show_refusal(feed: &Feed, why: &Refused) {
    match why {
        Refused::Conflict { revision: 0 } | Refused::NotFound => _ = feed.catch_up(REFUSAL_LIMIT).await,
        Refused::Conflict { revision } | Refused::Exists { revision } => {
            let _ = feed.reach_revision(*revision, REFUSAL_LIMIT).await;
        }
        _ => {}
    }
}

/// Runs a call within its deadline. A panic ends the call, not the process.
pub(crate) async fn guarded<T>(
    metadata: &MetadataMap,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let call = AssertUnwindSafe(call).catch_unwind();
    let late = || Status::deadline_exceeded("the deadline of the call has passed");
    let result = match convert::deadline(metadata) {
        Some(deadline) => {
            // What lies within the margin has passed: no timer of ours would be the first.
            let left = deadline.checked_sub(DEADLINE_MARGIN).ok_or_else(late)?;
            tokio::time::timeout(left, call).await.map_err(|_| late())?
        }
        None => call.await,
    };
    result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("without a text");
    tracing::error!(panic = text, "a call panicked");
    Status::internal("the server failed: see its log")
}

fn ended(end: End) -> Status {
    convert::unavailable(match end {
        End::Behind => "this server has not yet seen what the client has: try again",
        End::Draining => "the server is going away: come back",
        End::Stuck => "the client took no message for too long",
    })
}

fn capability(entry: &Entry) -> Option<Capability> {
    let value_type = entry.value_type.as_ref()?.to_string();
    Some(Capability { key: entry.key.to_string(), value_type })
}

/// The current values of `keys`, in no particular order.
fn current<'a>(state: &'a State, keys: &'a key::KeySet) -> impl Iterator<Item = &'a Arc<Entry>> {
    let all = keys.is_all().then_some("");
    let below = keys.prefixes().map(|prefix| &**prefix).chain(all);
    let below = below.flat_map(|prefix| state.below(prefix, None));
    let exact = keys.keys().filter_map(|key| state.get(key));
    below.chain(exact).filter(|entry| !entry.is_tombstone())
}
