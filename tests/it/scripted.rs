//! A client whose server is the test itself: each call waits until the test answers it.

use std::time::Duration;

use datastream::position::Position;
use datastream::proto::{
    CommitRequest, Data, DataRequest, DataResponse, HistoryRequest, HistoryResponse, ListCapabilitiesRequest,
    ListCapabilitiesResponse, StatusResponse,
};
use datastream_client::session::{Answer, Opening};
use datastream_client::transport::{Reply, Signal, Transport};
use datastream_client::{CallError, Client, Disconnect, Limits, Peer};
pub(crate) use datastream_server::testing::message::{
    Entry, change, deletion, heartbeat, message, reset, resume, state,
};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::wire::within;

/// Where the script answers a call of the application.
pub(crate) type Answers<A> = oneshot::Sender<Result<A, CallError>>;

/// A call that waits for its answer.
pub(crate) enum Call {
    Sync(DataRequest, oneshot::Sender<Result<DataResponse, Disconnect>>),
    /// Who is there.
    Probe(oneshot::Sender<Result<Peer, Disconnect>>),
    Subscribe(Subscribed),
    Read(DataRequest, Answers<DataResponse>),
    Push(Data, Answers<Option<Position>>),
    List(ListCapabilitiesRequest, Answers<ListCapabilitiesResponse>),
    Commit(CommitRequest, Answers<Option<Position>>),
    History(HistoryRequest, Answers<HistoryResponse>),
    Status(Answers<StatusResponse>),
}

/// A stream that the client opened.
pub(crate) struct Subscribed {
    pub(crate) request: DataRequest,
    signals: mpsc::UnboundedSender<Signal>,
}

/// The other side of a client.
pub(crate) struct Script {
    calls: mpsc::UnboundedReceiver<Call>,
}

/// The transport that hands each call to the script.
pub(crate) struct Handed {
    calls: mpsc::UnboundedSender<Call>,
    /// Whether nothing proves a server of ours, so that the script answers the probes too.
    is_stranger: bool,
}

/// A transport, and what answers it. Its server proves itself without the script.
pub(crate) fn transport() -> (Handed, Script) {
    let (calls, received) = mpsc::unbounded_channel();
    (Handed { calls, is_stranger: false }, Script { calls: received })
}

/// A client and its server.
pub(crate) fn client() -> (Client, Script) {
    let (handed, script) = transport();
    (Client::with_transport(handed, Limits::default()), script)
}

/// A client and a server that may be anybody's.
pub(crate) fn stranger() -> (Client, Script) {
    let (handed, script) = transport();
    (Client::with_transport(Handed { is_stranger: true, ..handed }, Limits::default()), script)
}

impl Script {
    /// The next call; `None` when the client has ended.
    pub(crate) async fn next(&mut self) -> Option<Call> {
        within("a call", self.calls.recv()).await
    }

    pub(crate) async fn sync(&mut self) -> (DataRequest, oneshot::Sender<Result<DataResponse, Disconnect>>) {
        match self.next().await {
            Some(Call::Sync(request, reply)) => (request, reply),
            _ => panic!("Sync was to be called"),
        }
    }

    /// Answers the next probe.
    pub(crate) async fn probed(&mut self, who: Result<Peer, Disconnect>) {
        match self.next().await {
            Some(Call::Probe(reply)) => assert!(reply.send(who).is_ok(), "the client waits for the probe"),
            _ => panic!("it was to be asked who is there"),
        }
    }

    pub(crate) async fn subscribe(&mut self) -> Subscribed {
        match self.next().await {
            Some(Call::Subscribe(subscribed)) => subscribed,
            _ => panic!("Subscribe was to be called"),
        }
    }

    pub(crate) async fn read(&mut self) -> (DataRequest, Answers<DataResponse>) {
        match self.next().await {
            Some(Call::Read(request, reply)) => (request, reply),
            _ => panic!("Sync was to be called for the application"),
        }
    }

    pub(crate) async fn commit(&mut self) -> (CommitRequest, Answers<Option<Position>>) {
        match self.next().await {
            Some(Call::Commit(request, reply)) => (request, reply),
            _ => panic!("Commit was to be called"),
        }
    }

    pub(crate) async fn history(&mut self) -> (HistoryRequest, Answers<HistoryResponse>) {
        match self.next().await {
            Some(Call::History(request, reply)) => (request, reply),
            _ => panic!("History was to be called"),
        }
    }

    pub(crate) async fn push(&mut self) -> (Data, Answers<Option<Position>>) {
        match self.next().await {
            Some(Call::Push(data, reply)) => (data, reply),
            _ => panic!("PushUpdate was to be called"),
        }
    }

    pub(crate) async fn list(&mut self) -> (ListCapabilitiesRequest, Answers<ListCapabilitiesResponse>) {
        match self.next().await {
            Some(Call::List(request, reply)) => (request, reply),
            _ => panic!("ListCapabilities was to be called"),
        }
    }

    /// Answers first contact with this state, and opens the stream after it.
    pub(crate) async fn accept(&mut self, state: DataResponse) -> Subscribed {
        let revision = state.position.as_ref().map_or(0, |position| position.revision);
        let (_, reply) = self.sync().await;
        assert!(reply.send(Ok(state)).is_ok(), "the client waits for Sync");
        let stream = self.subscribe().await;
        stream.open(None);
        stream.say(resume(revision, []));
        stream
    }

    /// Whether the client has made no call that is still to be taken.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

impl Subscribed {
    /// Sends the headers.
    pub(crate) fn open(&self, heartbeat: Option<Duration>) {
        let _ = self.signals.send(Signal::Opened(Opening { is_current: true, heartbeat }));
    }

    /// Sends a message. A client that no longer listens is no failure.
    pub(crate) fn say(&self, message: DataResponse) {
        let _ = self.signals.send(Signal::Received(message));
    }

    pub(crate) fn end(self, why: Disconnect) {
        let _ = self.signals.send(Signal::Ended(why));
    }

    /// Waits until the client dropped the stream.
    pub(crate) async fn dropped(&self) {
        within("the client drops the stream", self.signals.closed()).await;
    }
}

impl Handed {
    fn ask<A: Send + 'static, E: From<Disconnect> + Send + 'static>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<A, E>>) -> Call,
    ) -> BoxFuture<'static, Result<A, E>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.calls.send(call(reply));
        async { answer.await.unwrap_or_else(|_| Err(Disconnect::Ended.into())) }.boxed()
    }
}

impl Transport for Handed {
    fn sync(&mut self, request: DataRequest) -> BoxFuture<'static, Answer> {
        let is_current = !self.is_stranger;
        self.ask(|reply| Call::Sync(request, reply)).map(move |state| Answer { is_current, state }).boxed()
    }

    fn probe(&mut self, _: Option<usize>) -> BoxFuture<'static, Result<Peer, Disconnect>> {
        if self.is_stranger {
            return self.ask(Call::Probe);
        }
        std::future::ready(Ok(Peer::Current)).boxed()
    }

    fn subscribe(&mut self, request: DataRequest) -> BoxStream<'static, Signal> {
        let (signals, received) = mpsc::unbounded_channel();
        let _ = self.calls.send(Call::Subscribe(Subscribed { request, signals }));
        let end = futures_util::stream::iter([Signal::Ended(Disconnect::Ended)]);
        UnboundedReceiverStream::new(received).chain(end).boxed()
    }

    fn read(&mut self, request: DataRequest) -> Reply<DataResponse> {
        self.ask(|reply| Call::Read(request, reply))
    }

    fn push(&mut self, data: Data) -> Reply<Option<Position>> {
        self.ask(|reply| Call::Push(data, reply))
    }

    fn list(&mut self, request: ListCapabilitiesRequest) -> Reply<ListCapabilitiesResponse> {
        self.ask(|reply| Call::List(request, reply))
    }

    fn commit(&mut self, request: CommitRequest) -> Reply<Option<Position>> {
        self.ask(|reply| Call::Commit(request, reply))
    }

    fn history(&mut self, request: HistoryRequest) -> Reply<HistoryResponse> {
        self.ask(|reply| Call::History(request, reply))
    }

    fn status(&mut self) -> Reply<StatusResponse> {
        self.ask(Call::Status)
    }

    fn renew(&mut self) {}

    fn servers(&self) -> Vec<String> {
        vec!["the test".to_owned()]
    }
}
