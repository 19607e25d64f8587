//! The calls of the contract. With what is below it, all of the client that names tonic.

mod address;
mod bearer;
mod checked;
mod connector;
mod failure;
mod secret_file;
mod server;
#[cfg(feature = "tls")]
mod tls;

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
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryFutureExt as _};
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::config::Limits;
use crate::error::{CallError, Disconnect};
use crate::session::{Answer, Opening};
use crate::status::Peer;
pub(crate) use address::{server_name, shown_address};
pub(crate) use bearer::Token;
use checked::Checked;
pub(crate) use connector::Connector;
pub(crate) use server::Access;
use server::{Lane, Server, Servers};

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
    /// Finds out who is there; with `reconnect`, on a connection to the server of this number, which is made for it and for
    /// the streams after it.
    fn probe(&mut self, reconnect: Option<usize>) -> BoxFuture<'static, Result<Peer, Disconnect>>;
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
    /// Makes new connections for what comes next: the runtime of the old ones is gone.
    fn renew(&mut self);
    /// The names of the servers, in the order of their numbers; one at least.
    fn servers(&self) -> Vec<String>;
}

/// gRPC over HTTP/2. It must be used inside a tokio runtime.
///
/// Streams have a connection of their own: calls never wait behind a state that is being received. A
/// reconnect makes a new one: it asks DNS anew, and does not trust one that may be dead without knowing it. The session
/// says to which server. Calls go to one until it fails them, and then to the next.
pub struct Grpc {
    servers: Result<Servers, Disconnect>,
    limits: Limits,
    stream: Lane,
    calls: Lane,
}

impl Grpc {
    pub(crate) fn new(addresses: &str, access: Access, limits: Limits) -> Self {
        let servers = Servers::new(addresses, access, limits.connect);
        Self { servers, limits, stream: Lane::default(), calls: Lane::default() }
    }

    fn stream_server(&mut self) -> Result<Server, Disconnect> {
        self.servers.as_ref().map(|servers| self.stream.server(servers)).map_err(Clone::clone)
    }

    /// Makes a call for the application, which ends in time.
    fn call<Q, A: Send + 'static, F>(
        &mut self,
        message: Q,
        call: impl FnOnce(Checked, Request<Q>) -> F + Send + 'static,
    ) -> Reply<Response<A>>
    where
        Q: Send + 'static,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let server = self.servers.as_ref().map(|servers| self.calls.server(servers)).map_err(Clone::clone);
        let limit = self.limits.sync;
        let answer = async move {
            let server = server?;
            let answer = async {
                let (channel, mut request) = server.ready(message).await?;
                request.set_timeout(limit.min(LONGEST_DEADLINE));
                call(channel, request).await.map_err(|status| server.call_error(&status))
            };
            within(limit, answer).await.inspect_err(|error| server.judge(error))
        };
        answer.boxed()
    }
}

fn data(channel: Checked) -> DataServiceClient<Checked> {
    DataServiceClient::new(channel).max_decoding_message_size(RECEIVE_BYTES)
}

fn control(channel: Checked) -> ControlServiceClient<Checked> {
    ControlServiceClient::new(channel).max_decoding_message_size(RECEIVE_BYTES)
}

impl Transport for Grpc {
    fn sync(&mut self, message: DataRequest) -> BoxFuture<'static, Answer> {
        let server = self.stream_server();
        let answer = async move {
            let server = server?;
            let (channel, request) = server.ready(message).await?;
            Ok(match data(channel).sync(request).await {
                Ok(answer) => {
                    Answer { is_current: is_current(answer.metadata()), state: Ok(answer.into_inner()) }
                }
                Err(status) => {
                    let why = server.unanswered(&status);
                    Answer { is_current: is_current(status.metadata()), state: Err(why) }
                }
            })
        };
        answer
            .map(|answer| answer.unwrap_or_else(|why| Answer { is_current: false, state: Err(why) }))
            .boxed()
    }

    fn probe(&mut self, reconnect: Option<usize>) -> BoxFuture<'static, Result<Peer, Disconnect>> {
        if let Some(turn) = reconnect {
            self.stream = Lane::to(turn);
        }
        let server = self.stream_server();
        async move {
            let server = server?;
            // The original knows no pages, and sends its whole list.
            let message = ListCapabilitiesRequest { page_size: 1, page_token: String::new() };
            let (channel, request) = server.ready(message).await?;
            match data(channel).list_capabilities(request).await {
                Ok(answer) if is_current(answer.metadata()) => Ok(Peer::Current),
                Ok(_) => Ok(Peer::Original),
                Err(status) if is_current(status.metadata()) => Ok(Peer::Current),
                Err(status) => Err(server.unanswered(&status)),
            }
        }
        .boxed()
    }

    fn subscribe(&mut self, message: DataRequest) -> BoxStream<'static, Signal> {
        match self.stream_server() {
            Ok(server) => signals(server, message).boxed(),
            Err(why) => ended(why),
        }
    }

    fn read(&mut self, request: DataRequest) -> Reply<DataResponse> {
        let answer = self.call(request, |channel, request| async move { data(channel).sync(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn push(&mut self, pushed: Data) -> Reply<Option<Position>> {
        let answer =
            self.call(pushed, |channel, request| async move { data(channel).push_update(request).await });
        answer.map_ok(|answer| read_position(answer.metadata())).boxed()
    }

    fn list(&mut self, request: ListCapabilitiesRequest) -> Reply<ListCapabilitiesResponse> {
        let answer = self
            .call(request, |channel, request| async move { data(channel).list_capabilities(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn commit(&mut self, request: CommitRequest) -> Reply<Option<Position>> {
        let answer =
            self.call(request, |channel, request| async move { control(channel).commit(request).await });
        answer.map_ok(|answer| answer.into_inner().position.map(known_position)).boxed()
    }

    fn history(&mut self, request: HistoryRequest) -> Reply<HistoryResponse> {
        let answer =
            self.call(request, |channel, request| async move { control(channel).history(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn status(&mut self) -> Reply<StatusResponse> {
        let answer = self
            .call(StatusRequest {}, |channel, request| async move { control(channel).status(request).await });
        answer.map_ok(Response::into_inner).boxed()
    }

    fn renew(&mut self) {
        self.stream.renew();
        self.calls.renew();
    }

    fn servers(&self) -> Vec<String> {
        self.servers.as_ref().map_or_else(|_| vec![String::new()], Servers::names)
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
fn signals(server: Server, message: DataRequest) -> impl Stream<Item = Signal> + Send {
    let opening = async move {
        let (channel, request) = match server.ready(message).await {
            Ok(ready) => ready,
            Err(why) => return ended(why),
        };
        match data(channel).subscribe(request).await {
            Ok(answer) => {
                let headers = answer.metadata();
                let opening = Opening { is_current: is_current(headers), heartbeat: read_heartbeat(headers) };
                let opened = Signal::Opened(opening);
                let messages = answer.into_inner().map(move |message| match message {
                    Ok(message) => Signal::Received(message),
                    Err(status) => Signal::Ended(server.disconnect(&status)),
                });
                stream::iter([opened]).chain(messages).chain(ended(Disconnect::Ended)).boxed()
            }
            Err(status) => ended(server.unanswered(&status)),
        }
    };
    // A stream that failed is not asked again; the worker drops it at its first end.
    stream::once(opening).flatten()
}

/// A stream that is over.
fn ended(why: Disconnect) -> BoxStream<'static, Signal> {
    stream::iter([Signal::Ended(why)]).boxed()
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
