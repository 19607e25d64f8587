//! Our contract as it is quickly written: a map behind a lock, a queue for each subscriber, messages that are made for each.

mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use datastream::proto::{
    Data, DataRequest, DataResponse, ListCapabilitiesRequest, ListCapabilitiesResponse, Phase, Position,
};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use self::generated::data_service_server::{DataService, DataServiceServer};
use self::table::Table;

#[allow(clippy::all, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/datastream.rs"));
}

/// How many keys a message of a first state has.
const CHUNK: usize = 1000;

pub fn run(listen: SocketAddr, keys: u32, one_thread: bool, database: Option<PathBuf>) -> Result<()> {
    let mut runtime = if one_thread { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    runtime.enable_all().build()?.block_on(serve(listen, keys, database))
}

async fn serve(listen: SocketAddr, keys: u32, database: Option<PathBuf>) -> Result<()> {
    let table = database.map(Table::open).transpose()?.map(Arc::new);
    let held = Held::default();
    {
        let mut held = held.lock();
        for n in 0..keys {
            let data = sample(n);
            held.data.insert(data.key.clone(), data);
        }
    }
    let service = DataServiceServer::new(Naive { held, table });
    Ok(Server::builder().tcp_nodelay(true).add_service(service).serve(listen).await?)
}

/// One of the keys that a server is started with: 25 bytes, and 20 of value.
pub fn sample(n: u32) -> Data {
    let (key, value) = (format!("settings/number-{n:09}"), format!("the value {n:010}"));
    Data { key, value: value.into(), value_type: "bytes".to_owned(), revision: 1, ..Data::default() }
}

struct Naive {
    held: Held,
    table: Option<Arc<Table>>,
}

#[derive(Clone, Default)]
struct Held(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    data: BTreeMap<String, Data>,
    subscribers: Vec<(Vec<String>, UnboundedSender<Data>)>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read(&self, keys: &[String]) -> Vec<Data> {
        self.data.values().filter(|data| wants(keys, &data.key)).cloned().collect()
    }
}

fn wants(keys: &[String], key: &str) -> bool {
    keys.is_empty()
        || keys.iter().any(|wanted| wanted == key || wanted.ends_with('/') && key.starts_with(wanted))
}

type Messages = Pin<Box<dyn Stream<Item = Result<DataResponse, Status>> + Send>>;

#[tonic::async_trait]
impl DataService for Naive {
    type SubscribeStream = Messages;

    async fn list_capabilities(
        &self,
        _: Request<ListCapabilitiesRequest>,
    ) -> Result<Response<ListCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn sync(&self, request: Request<DataRequest>) -> Result<Response<DataResponse>, Status> {
        let keys = request.into_inner().keys;
        Ok(Response::new(message(self.held.lock().read(&keys), Phase::State)))
    }

    async fn subscribe(&self, request: Request<DataRequest>) -> Result<Response<Messages>, Status> {
        let keys = request.into_inner().keys;
        let (sender, receiver) = unbounded_channel();
        let first = {
            let mut held = self.held.lock();
            held.subscribers.push((keys.clone(), sender));
            held.read(&keys)
        };
        let mut chunks: Vec<_> = first
            .chunks(CHUNK)
            .map(|chunk| DataResponse { more: true, ..message(chunk.to_vec(), Phase::State) })
            .collect();
        chunks
            .push(DataResponse { position: Some(Position::default()), ..message(Vec::new(), Phase::State) });
        let changes = UnboundedReceiverStream::new(receiver).map(|data| message(vec![data], Phase::Change));
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks).chain(changes).map(Ok))))
    }

    async fn push_update(&self, request: Request<Data>) -> Result<Response<()>, Status> {
        let data = request.into_inner();
        if let Some(table) = self.table.clone() {
            let data = data.clone();
            let written = tokio::task::spawn_blocking(move || table.write(&data)).await;
            written
                .map_err(|error| error.to_string())
                .and_then(|it| it.map_err(|error| error.to_string()))
                .map_err(Status::internal)?;
        }
        let mut held = self.held.lock();
        held.subscribers
            .retain(|(keys, sender)| !wants(keys, &data.key) || sender.send(data.clone()).is_ok());
        held.data.insert(data.key.clone(), data);
        Ok(Response::new(()))
    }
}

fn message(entries: Vec<Data>, phase: Phase) -> DataResponse {
    let data = entries.into_iter().map(|data| (data.key.clone(), data)).collect();
    DataResponse { data, phase: phase.into(), ..DataResponse::default() }
}
