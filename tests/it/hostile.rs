//! A server over a real socket that says what the test wants, right or wrong.

use std::pin::Pin;
use std::time::Duration;

use datastream::proto::{Data, DataRequest, DataResponse, ListCapabilitiesRequest, ListCapabilitiesResponse};
use datastream::service::data_service_server::{DataService, DataServiceServer};
use datastream::{Encoded, header};
use datastream_client::{Client, Limits};
use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status};

use crate::wire::within;

/// The other side of a client. It is gone when dropped.
pub(crate) struct Hostile {
    url: String,
    calls: mpsc::UnboundedReceiver<Asked>,
    serving: tokio::task::JoinHandle<()>,
}

/// A `Subscribe` that waits for its answer. `Sync` is never answered well: a stream brings the state.
pub(crate) struct Asked {
    pub(crate) request: DataRequest,
    reply: oneshot::Sender<Result<Response<Frames>, Status>>,
}

/// A stream that the client reads.
pub(crate) struct Fed {
    frames: mpsc::UnboundedSender<Result<Encoded, Status>>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

impl Hostile {
    pub(crate) async fn start() -> Self {
        Self::start_with(|router| router).await
    }

    /// The same, with other services beside this one.
    pub(crate) async fn start_with(add: impl FnOnce(Router) -> Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (asked, calls) = mpsc::unbounded_channel();
        let router = Server::builder()
            .add_service(DataServiceServer::new(Service { asked }).max_encoding_message_size(usize::MAX));
        let serve = add(router).serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async { serve.await.expect("the server runs") });
        Self { url, calls, serving }
    }

    /// What a client connects to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A client that gives a stream half a second for its first message.
    pub(crate) fn client(&self) -> Client {
        let short = Duration::from_millis(500);
        let limits = Limits::default().first_message(short).seen(short);
        Client::builder(&self.url).limits(limits).connect()
    }

    /// The next `Subscribe`.
    pub(crate) async fn asked(&mut self) -> Asked {
        within("Subscribe", self.calls.recv()).await.expect("the server runs")
    }

    /// Lets the next `Subscribe` in, with heartbeats each 100 ms as it says.
    pub(crate) async fn accept(&mut self) -> Fed {
        self.asked().await.accept("100")
    }

    /// Lets it in, and sends a first state.
    pub(crate) async fn serve(&mut self, state: DataResponse) -> Fed {
        let fed = self.accept().await;
        fed.say(state);
        fed
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Asked {
    /// Sends headers that name this interval of heartbeats.
    pub(crate) fn accept(self, heartbeat_ms: &str) -> Fed {
        let (frames, received) = mpsc::unbounded_channel();
        let stream: Frames = Box::pin(UnboundedReceiverStream::new(received));
        let mut response = Response::new(stream);
        let interval = heartbeat_ms.parse().expect("it can stand in a header");
        response.metadata_mut().insert(header::HEARTBEAT_MS, interval);
        let _ = self.reply.send(Ok(response));
        Fed { frames }
    }

    /// Ends it at once, with this status; OK means a stream without a message.
    pub(crate) fn refuse(self, status: Status) {
        let answer = match status.code() {
            tonic::Code::Ok => Ok(Response::new(futures_util::stream::empty().boxed())),
            _ => Err(status),
        };
        let _ = self.reply.send(answer);
    }
}

impl Fed {
    pub(crate) fn say(&self, message: DataResponse) {
        self.bytes(message.encode_to_vec());
    }

    /// Sends what may not even be a message. A client that no longer listens is no failure.
    pub(crate) fn bytes(&self, message: Vec<u8>) {
        let _ = self.frames.send(Ok(Encoded(message.into())));
    }

    pub(crate) fn end(self, status: Status) {
        let _ = self.frames.send(Err(status));
    }

    /// Waits until the client dropped the stream.
    pub(crate) async fn dropped(&self) {
        within("the client drops the stream", self.frames.closed()).await;
    }
}

/// An error that names our protocol: whoever else it is, it says that it is a server of ours.
fn of_ours() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(header::PROTOCOL, MetadataValue::from_static("1"));
    Status::with_metadata(tonic::Code::Unimplemented, "", metadata)
}

/// A service that nobody answers for.
pub(crate) fn unheard() -> DataServiceServer<Service> {
    let (asked, _) = mpsc::unbounded_channel();
    DataServiceServer::new(Service { asked })
}

pub(crate) struct Service {
    asked: mpsc::UnboundedSender<Asked>,
}

#[tonic::async_trait]
impl DataService for Service {
    async fn list_capabilities(
        &self,
        _: Request<ListCapabilitiesRequest>,
    ) -> Result<Response<ListCapabilitiesResponse>, Status> {
        Err(of_ours())
    }

    async fn sync(&self, _: Request<DataRequest>) -> Result<Response<Encoded>, Status> {
        Err(of_ours())
    }

    type SubscribeStream = Frames;

    async fn subscribe(&self, request: Request<DataRequest>) -> Result<Response<Frames>, Status> {
        let (reply, answer) = oneshot::channel();
        let _ = self.asked.send(Asked { request: request.into_inner(), reply });
        answer.await.unwrap_or_else(|_| Err(Status::unavailable("the test let it fall")))
    }

    /// Takes every push, as revision 6.
    async fn push_update(&self, _: Request<Data>) -> Result<Response<()>, Status> {
        let position = datastream::proto::Position { revision: 6, token: "here".into() }.encode_to_vec();
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(header::POSITION_BIN, MetadataValue::from_bytes(&position));
        Ok(Response::from_parts(metadata, (), tonic::Extensions::default()))
    }
}
