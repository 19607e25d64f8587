//! The calls of the contract. The one file of the client that names tonic.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::shown;
use datastream::position::Position;
use datastream::proto::data_service_client::DataServiceClient;
use datastream::proto::{
    self, Data, DataRequest, DataResponse, ListCapabilitiesRequest, ListCapabilitiesResponse,
};
use datastream::{header, limit};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::config::Limits;
use crate::error::{CallError, Disconnect};
use crate::session::Opening;

/// Pings show a dead connection where no heartbeat does: during a call that is not a stream.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// Above what a server of ours sends, so that one of another kind is not refused for a little more.
const RECEIVE_BYTES: usize = 2 * limit::MESSAGE_BYTES;

/// What a stream says. The last thing it says is that it ended.
#[derive(Debug)]
pub enum Signal {
    /// Its headers came.
    Opened(Opening),
    /// A message came.
    Received(DataResponse),
    /// It ended, with whatever status.
    Ended(Disconnect),
}

/// The calls that a client makes. What it returns is independent of it, and stops when dropped.
pub trait Transport: Send + 'static {
    /// Calls `Sync`.
    fn sync(&mut self, request: DataRequest) -> BoxFuture<'static, Result<DataResponse, Disconnect>>;
    /// Calls `Subscribe`; with `reconnect`, on a connection that is made for it.
    fn subscribe(&mut self, request: DataRequest, reconnect: bool) -> BoxStream<'static, Signal>;
    /// Calls `PushUpdate`. An old server returns no position.
    fn push(&mut self, data: Data, retype: bool) -> BoxFuture<'static, Result<Option<Position>, CallError>>;
    /// Calls `ListCapabilities`.
    fn list(
        &mut self,
        request: ListCapabilitiesRequest,
    ) -> BoxFuture<'static, Result<ListCapabilitiesResponse, CallError>>;
    /// Makes a new connection for the next call: one failed on the old one.
    fn renew(&mut self);
}

/// gRPC over HTTP/2. It must be used inside a tokio runtime.
///
/// Streams have a connection of their own: calls never wait behind a state that is being received. A
/// reconnect makes a new one, which asks DNS anew, and does not trust one that may be dead without knowing it.
pub(crate) struct Grpc {
    /// What is wrong with the address, if it is none.
    endpoint: Result<Endpoint, String>,
    limits: Limits,
    stream: Option<Channel>,
    calls: Option<Channel>,
}

impl Grpc {
    pub(crate) fn new(url: &str, limits: Limits) -> Self {
        let endpoint = endpoint(url, &limits);
        Self { endpoint, limits, stream: None, calls: None }
    }

    fn connect(&self) -> Result<Channel, Disconnect> {
        let endpoint = self.endpoint.as_ref();
        endpoint.map(Endpoint::connect_lazy).map_err(|text| Disconnect::Unreachable(text.clone()))
    }

    fn stream_channel(&mut self, reconnect: bool) -> Result<Channel, Disconnect> {
        match &self.stream {
            Some(channel) if !reconnect => Ok(channel.clone()),
            _ => Ok(self.stream.insert(self.connect()?).clone()),
        }
    }

    fn call_channel(&mut self) -> Result<Channel, Disconnect> {
        match &self.calls {
            Some(channel) => Ok(channel.clone()),
            None => Ok(self.calls.insert(self.connect()?).clone()),
        }
    }
}

fn endpoint(url: &str, limits: &Limits) -> Result<Endpoint, String> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    if !url.starts_with("http://") {
        return Err(format!("{}: only http:// is supported so far", shown(&url)));
    }
    let endpoint = Endpoint::from_shared(url.clone());
    let endpoint =
        endpoint.map_err(|_| format!("{} is not an address like http://host:8080", shown(&url)))?;
    Ok(endpoint
        .connect_timeout(limits.connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true))
}

fn client(channel: Channel) -> DataServiceClient<Channel> {
    DataServiceClient::new(channel).max_decoding_message_size(RECEIVE_BYTES)
}

impl Transport for Grpc {
    fn sync(&mut self, request: DataRequest) -> BoxFuture<'static, Result<DataResponse, Disconnect>> {
        let channel = self.stream_channel(false);
        async move {
            let answer = client(channel?).sync(request).await;
            answer.map(tonic::Response::into_inner).map_err(|status| disconnect(&status))
        }
        .boxed()
    }

    fn subscribe(&mut self, request: DataRequest, reconnect: bool) -> BoxStream<'static, Signal> {
        match self.stream_channel(reconnect) {
            Ok(channel) => signals(channel, request).boxed(),
            Err(why) => futures_util::stream::iter([Signal::Ended(why)]).boxed(),
        }
    }

    fn push(&mut self, data: Data, retype: bool) -> BoxFuture<'static, Result<Option<Position>, CallError>> {
        let channel = self.call_channel();
        let limit = self.limits.sync;
        async move {
            let mut request = Request::new(data);
            request.set_timeout(limit);
            if retype {
                request.metadata_mut().insert(header::RETYPE, MetadataValue::from_static("1"));
            }
            let answer = client(channel?).push_update(request).await.map_err(|status| call_error(&status))?;
            Ok(read_position(answer.metadata()))
        }
        .boxed()
    }

    fn list(
        &mut self,
        request: ListCapabilitiesRequest,
    ) -> BoxFuture<'static, Result<ListCapabilitiesResponse, CallError>> {
        let channel = self.call_channel();
        let limit = self.limits.sync;
        async move {
            let mut request = Request::new(request);
            request.set_timeout(limit);
            let answer = client(channel?).list_capabilities(request).await;
            answer.map(tonic::Response::into_inner).map_err(|status| call_error(&status))
        }
        .boxed()
    }

    fn renew(&mut self) {
        self.calls = None;
    }
}

/// The life of one stream: at most one `Opened`, messages, one `Ended`.
fn signals(channel: Channel, request: DataRequest) -> impl Stream<Item = Signal> + Send {
    let opening = async move {
        match client(channel).subscribe(request).await {
            Ok(answer) => {
                let opened = Signal::Opened(Opening { heartbeat: read_heartbeat(answer.metadata()) });
                let messages = answer.into_inner().map(|message| match message {
                    Ok(message) => Signal::Received(message),
                    Err(status) => Signal::Ended(disconnect(&status)),
                });
                let end = futures_util::stream::iter([Signal::Ended(Disconnect::Ended)]);
                futures_util::stream::iter([opened]).chain(messages).chain(end).boxed()
            }
            Err(status) => futures_util::stream::iter([Signal::Ended(disconnect(&status))]).boxed(),
        }
    };
    // A stream that failed is not asked again; the worker drops it at its first end.
    futures_util::stream::once(opening).flatten()
}

fn read_heartbeat(metadata: &MetadataMap) -> Option<Duration> {
    let millis = metadata.get(header::HEARTBEAT_MS)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis)).filter(|interval| !interval.is_zero())
}

fn read_position(metadata: &MetadataMap) -> Option<Position> {
    let bytes = metadata.get_bin(header::POSITION_BIN)?.to_bytes().ok()?;
    let message = proto::Position::decode(bytes).ok()?;
    // The token is empty where the server no longer knows it: the revision still says when it was written.
    Some(Position { revision: message.revision, token: message.token })
}

fn disconnect(status: &Status) -> Disconnect {
    if status.code() == Code::Unavailable && std::error::Error::source(status).is_some() {
        return Disconnect::Unreachable(causes(status));
    }
    Disconnect::Refused { code: code_name(status.code()), text: shown(status.message()).to_string() }
}

fn call_error(status: &Status) -> CallError {
    let text = shown(status.message()).to_string();
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => CallError::Invalid(text),
        Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists | Code::Aborted => {
            CallError::Conflict(text)
        }
        Code::PermissionDenied | Code::Unauthenticated => CallError::Denied(text),
        Code::DeadlineExceeded | Code::Cancelled => CallError::TimedOut,
        _ => CallError::Failed(Arc::new(disconnect(status))),
    }
}

/// What the transport says of a failed connection, down to the cause that a person understands.
fn causes(status: &Status) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    let mut text = String::new();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    shown(&text).to_string()
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
