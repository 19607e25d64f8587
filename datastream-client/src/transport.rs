//! The calls of the contract. With `address.rs`, all of the client that names tonic.

mod address;
mod bearer;
mod failure;

use std::sync::Arc;
use std::time::Duration;

use datastream::position::Position;
use datastream::proto::control_service_client::ControlServiceClient;
use datastream::proto::data_service_client::DataServiceClient;
use datastream::proto::{
    self, CommitRequest, Data, DataRequest, DataResponse, HistoryRequest, HistoryResponse,
    ListCapabilitiesRequest, ListCapabilitiesResponse, StatusRequest, StatusResponse,
};
use datastream::{header, limit};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryFutureExt as _};
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::config::Limits;
use crate::error::{CallError, Disconnect};
use crate::session::{Answer, Opening};
use crate::status::Peer;
use address::Address;
pub(crate) use address::{server_name, shown_address};
use bearer::Bearer;

/// How often a quiet connection is pinged, and how long it may take to answer. Streams of our servers have their
/// heartbeats, and calls their deadlines; this is for those of the original. gRPC servers end a connection that is
/// pinged more often than each five minutes while they send nothing.
const PING: (Duration, Duration) = (Duration::from_secs(330), Duration::from_secs(10));
/// How soon, how often and how many times the peer's system is asked for a sign of life, which no server counts.
const TCP_KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);
/// What a deadline on the wire can say, and more than anybody waits.
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);
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

/// The answer to a call, or why there is none.
pub type Reply<A> = BoxFuture<'static, Result<A, CallError>>;

/// The calls that a client makes. What it returns is independent of it, and stops when dropped.
pub trait Transport: Send + 'static {
    /// Calls `Sync`, on the connection of the streams.
    fn sync(&mut self, request: DataRequest) -> BoxFuture<'static, Answer>;
    /// Finds out who is there; with `reconnect`, on a connection that is made for it and for the streams after it.
    fn probe(&mut self, reconnect: bool) -> BoxFuture<'static, Result<Peer, Disconnect>>;
    /// Calls `Subscribe`.
    fn subscribe(&mut self, request: DataRequest) -> BoxStream<'static, Signal>;
    /// Calls `Sync` for the application.
    fn read(&mut self, request: DataRequest) -> Reply<DataResponse>;
    /// Calls `PushUpdate`. An old server returns no position.
    fn push(&mut self, data: Data) -> Reply<Option<Position>>;
    /// Calls `ListCapabilities`.
    fn list(&mut self, request: ListCapabilitiesRequest) -> Reply<ListCapabilitiesResponse>;
    /// Calls `Commit`.
    fn commit(&mut self, request: CommitRequest) -> Reply<Option<Position>>;
    /// Calls `History`.
    fn history(&mut self, request: HistoryRequest) -> Reply<HistoryResponse>;
    /// Calls `Status`.
    fn status(&mut self) -> Reply<StatusResponse>;
    /// Makes new connections for what comes next: a call failed on an old one.
    fn renew(&mut self);
}

/// gRPC over HTTP/2. It must be used inside a tokio runtime.
///
/// Streams have a connection of their own: calls never wait behind a state that is being received. A
/// reconnect makes a new one, which asks DNS anew, and does not trust one that may be dead without knowing it.
pub struct Grpc {
    address: Result<Address, Disconnect>,
    bearer: Result<Bearer, Disconnect>,
    limits: Limits,
    stream: Option<Server>,
    calls: Option<Server>,
}

/// A connection, and the name of who is at its other end.
#[derive(Clone)]
struct Server {
    channel: Channel,
    bearer: Bearer,
    name: Arc<str>,
}

impl Grpc {
    pub(crate) fn new(url: &str, token: Option<&str>, limits: Limits) -> Self {
        let (address, bearer) = (Address::parse(url), Bearer::new(token));
        Self { address, bearer, limits, stream: None, calls: None }
    }

    fn connect(&self) -> Result<Server, Disconnect> {
        let Address { endpoint, name } = self.address.as_ref().map_err(Clone::clone)?;
        let endpoint = endpoint.clone().connect_timeout(self.limits.connect).tcp_nodelay(true);
        let endpoint = endpoint.http2_keep_alive_interval(PING.0).keep_alive_timeout(PING.1);
        let (idle, interval, retries) = TCP_KEEPALIVE;
        let endpoint = endpoint.tcp_keepalive(Some(idle)).tcp_keepalive_interval(Some(interval));
        let channel = endpoint.tcp_keepalive_retries(Some(retries)).connect_lazy();
        let bearer = self.bearer.clone()?;
        Ok(Server { channel, bearer, name: name.as_str().into() })
    }

    fn stream_server(&mut self, reconnect: bool) -> Result<Server, Disconnect> {
        match &self.stream {
            Some(server) if !reconnect => Ok(server.clone()),
            _ => Ok(self.stream.insert(self.connect()?).clone()),
        }
    }

    fn call_server(&mut self) -> Result<Server, Disconnect> {
        match &self.calls {
            Some(server) => Ok(server.clone()),
            None => Ok(self.calls.insert(self.connect()?).clone()),
        }
    }

    /// Makes a call for the application, which ends in time.
    fn call<Q, A: Send + 'static, F>(
        &mut self,
        request: Q,
        call: impl FnOnce(Server, Request<Q>) -> F + Send + 'static,
    ) -> Reply<Response<A>>
    where
        Q: Send + 'static,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let server = self.call_server();
        let limit = self.limits.sync;
        let answer = async move {
            let mut request = Request::new(request);
            request.set_timeout(limit.min(LONGEST_DEADLINE));
            let server = server?;
            call(server.clone(), request).await.map_err(|status| server.call_error(&status))
        };
        within(limit, answer).boxed()
    }
}

impl Server {
    fn client(&self) -> DataServiceClient<InterceptedService<Channel, Bearer>> {
        let client = DataServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone());
        client.max_decoding_message_size(RECEIVE_BYTES)
    }

    fn control(&self) -> ControlServiceClient<InterceptedService<Channel, Bearer>> {
        let client = ControlServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone());
        client.max_decoding_message_size(RECEIVE_BYTES)
    }
}

impl Transport for Grpc {
    fn sync(&mut self, request: DataRequest) -> BoxFuture<'static, Answer> {
        let server = self.stream_server(false);
        async move {
            let server = match server {
                Ok(server) => server,
                Err(why) => return Answer { is_current: false, state: Err(why) },
            };
            match server.client().sync(request).await {
                Ok(answer) => {
                    Answer { is_current: is_current(answer.metadata()), state: Ok(answer.into_inner()) }
                }
                Err(status) => {
                    let why = server.unanswered(&status);
                    Answer { is_current: is_current(status.metadata()), state: Err(why) }
                }
            }
        }
        .boxed()
    }

    fn probe(&mut self, reconnect: bool) -> BoxFuture<'static, Result<Peer, Disconnect>> {
        let server = self.stream_server(reconnect);
        async move {
            let server = server?;
            // The original knows no pages, and sends its whole list.
            let request = ListCapabilitiesRequest { page_size: 1, page_token: String::new() };
            match server.client().list_capabilities(request).await {
                Ok(answer) if is_current(answer.metadata()) => Ok(Peer::Current),
                Ok(_) => Ok(Peer::Original),
                Err(status) if is_current(status.metadata()) => Ok(Peer::Current),
                Err(status) => Err(server.unanswered(&status)),
            }
        }
        .boxed()
    }

    fn subscribe(&mut self, request: DataRequest) -> BoxStream<'static, Signal> {
        match self.stream_server(false) {
            Ok(server) => signals(server, request).boxed(),
            Err(why) => futures_util::stream::iter([Signal::Ended(why)]).boxed(),
        }
    }

    fn read(&mut self, request: DataRequest) -> Reply<DataResponse> {
        let answer = self.call(request, |server, request| async move { server.client().sync(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn push(&mut self, data: Data) -> Reply<Option<Position>> {
        let answer = self.call(data, |server, data| async move { server.client().push_update(data).await });
        answer.map_ok(|answer| read_position(answer.metadata())).boxed()
    }

    fn list(&mut self, request: ListCapabilitiesRequest) -> Reply<ListCapabilitiesResponse> {
        let answer = self
            .call(request, |server, request| async move { server.client().list_capabilities(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn commit(&mut self, request: CommitRequest) -> Reply<Option<Position>> {
        let answer =
            self.call(request, |server, request| async move { server.control().commit(request).await });
        answer.map_ok(|answer| answer.into_inner().position.map(known_position)).boxed()
    }

    fn history(&mut self, request: HistoryRequest) -> Reply<HistoryResponse> {
        let answer =
            self.call(request, |server, request| async move { server.control().history(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn status(&mut self) -> Reply<StatusResponse> {
        let answer = self
            .call(StatusRequest {}, |server, request| async move { server.control().status(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn renew(&mut self) {
        (self.stream, self.calls) = (None, None);
    }
}

/// Ends a call in time, whatever it waits for: the deadline that the server hears of does not cover connecting.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(CallError::TimedOut))
}

/// The life of one stream: at most one `Opened`, messages, one `Ended`.
fn signals(server: Server, request: DataRequest) -> impl Stream<Item = Signal> + Send {
    let opening = async move {
        match server.client().subscribe(request).await {
            Ok(answer) => {
                let headers = answer.metadata();
                let opening = Opening { is_current: is_current(headers), heartbeat: read_heartbeat(headers) };
                let opened = Signal::Opened(opening);
                let messages = answer.into_inner().map(move |message| match message {
                    Ok(message) => Signal::Received(message),
                    Err(status) => Signal::Ended(server.disconnect(&status)),
                });
                let end = futures_util::stream::iter([Signal::Ended(Disconnect::Ended)]);
                futures_util::stream::iter([opened]).chain(messages).chain(end).boxed()
            }
            Err(status) => futures_util::stream::iter([Signal::Ended(server.unanswered(&status))]).boxed(),
        }
    };
    // A stream that failed is not asked again; the worker drops it at its first end.
    futures_util::stream::once(opening).flatten()
}

/// Whether an answer names our protocol, as each one of a server of this project does.
fn is_current(metadata: &MetadataMap) -> bool {
    metadata.contains_key(header::PROTOCOL)
}

fn read_heartbeat(metadata: &MetadataMap) -> Option<Duration> {
    let millis = metadata.get(header::HEARTBEAT_MS)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis)).filter(|interval| !interval.is_zero())
}

fn read_position(metadata: &MetadataMap) -> Option<Position> {
    let bytes = metadata.get_bin(header::POSITION_BIN)?.to_bytes().ok()?;
    proto::Position::decode(bytes).ok().map(known_position)
}

/// Where something was written. The token is empty where the server no longer knows it.
fn known_position(position: proto::Position) -> Position {
    Position { revision: position.revision, token: position.token }
}
