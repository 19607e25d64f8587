//! The transport of a client, which remembers when it was made to connect.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use datastream::position::Position;
use datastream::proto::{
    CommitRequest, Data, DataRequest, DataResponse, HistoryRequest, HistoryResponse, ListCapabilitiesRequest,
    ListCapabilitiesResponse, StatusResponse,
};
use datastream_client::session::Answer;
use datastream_client::transport::{Grpc, Reply, Signal, Transport};
use datastream_client::{Client, ClientBuilder, Disconnect, Peer};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// When a client began to connect, whatever became of it.
#[derive(Clone, Default)]
pub(crate) struct Attempts(Arc<Mutex<Vec<Instant>>>);

impl Attempts {
    /// How many there were from `from` on.
    pub(crate) fn since(&self, from: Instant) -> usize {
        self.between(from, None)
    }

    /// How many there were from `from` on, and before `until`.
    pub(crate) fn between(&self, from: Instant, until: Option<Instant>) -> usize {
        let attempts = self.0.lock().expect("no holder panics");
        attempts.iter().filter(|at| **at >= from && until.is_none_or(|until| **at < until)).count()
    }

    fn note(&self) {
        self.0.lock().expect("no holder panics").push(Instant::now());
    }
}

/// A client whose attempts are counted.
pub(crate) fn connect(builder: ClientBuilder) -> (Client, Attempts) {
    let attempts = Attempts::default();
    let client = builder.connect_through(|grpc| Counted { grpc, attempts: attempts.clone() });
    (client, attempts)
}

struct Counted {
    grpc: Grpc,
    attempts: Attempts,
}

/// First contact makes the first connection, each probe that reconnects one more; all else uses what is there.
impl Transport for Counted {
    fn sync(&mut self, request: DataRequest) -> BoxFuture<'static, Answer> {
        self.attempts.note();
        self.grpc.sync(request)
    }

    fn probe(&mut self, reconnect: Option<usize>) -> BoxFuture<'static, Result<Peer, Disconnect>> {
        self.attempts.note();
        self.grpc.probe(reconnect)
    }

    fn subscribe(&mut self, request: DataRequest) -> BoxStream<'static, Signal> {
        self.grpc.subscribe(request)
    }

    fn read(&mut self, request: DataRequest) -> Reply<DataResponse> {
        self.grpc.read(request)
    }

    fn push(&mut self, data: Data) -> Reply<Option<Position>> {
        self.grpc.push(data)
    }

    fn list(&mut self, request: ListCapabilitiesRequest) -> Reply<ListCapabilitiesResponse> {
        self.grpc.list(request)
    }

    fn commit(&mut self, request: CommitRequest) -> Reply<Option<Position>> {
        self.grpc.commit(request)
    }

    fn history(&mut self, request: HistoryRequest) -> Reply<HistoryResponse> {
        self.grpc.history(request)
    }

    fn status(&mut self) -> Reply<StatusResponse> {
        self.grpc.status()
    }

    fn renew(&mut self) {
        self.grpc.renew();
    }

    fn servers(&self) -> Vec<String> {
        self.grpc.servers()
    }
}
