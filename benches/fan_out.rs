//! What the server spends to deliver one update to 1,000 subscribers of its key.
//!
//! `cargo bench --bench fan_out -- [STREAMS [URL]]`, after `cargo build --release -p datastream-server`: so many
//! streams on each connection, 100 unless given. Each update is pushed when everybody has the last one, so nothing can
//! be joined or left out. With a URL the server is one that was started by hand, under a profiler say.

mod program;

use std::time::{Duration, Instant};

use datastream::proto::data_service_client::DataServiceClient;
use datastream::proto::{Data, DataRequest, DataResponse, Position};
use futures_util::future::join_all;
use program::serve;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

const SUBSCRIBERS: usize = 1000;
const UPDATES: u32 = 300;
const WARM_UP: u32 = 50;
const KEY: &str = "max_connections";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let streams = arguments.next().map_or(100, |streams| streams.parse().expect("streams on a connection"));
    let folder = TempDir::new().expect("a folder");
    let (server, url) = match arguments.next() {
        Some(url) => (None, url),
        None => {
            let (server, url) = serve(folder.path(), "memory:");
            (Some(server), url)
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let used = || server.as_ref().map_or(Duration::ZERO, |server| server.processor_time());
    let mut crowd = runtime.block_on(Crowd::join(&url, streams)).expect("the server takes them");
    runtime.block_on(crowd.update(WARM_UP)).expect("everybody follows");
    let (before, began) = (used(), Instant::now());
    runtime.block_on(crowd.update(UPDATES)).expect("everybody follows");
    let deliveries = UPDATES * SUBSCRIBERS as u32;
    let (used, took) = ((used() - before) / deliveries, began.elapsed());
    let rate = f64::from(deliveries) / took.as_secs_f64();
    println!(
        "{SUBSCRIBERS} subscribers, {streams} on a connection: {used:?} of the server and {rate:.0}/s deliveries"
    );
}

/// Everybody who watches the key, and one who pushes it.
struct Crowd {
    pusher: DataServiceClient<Channel>,
    streams: Vec<Streaming<DataResponse>>,
    value: u32,
}

impl Crowd {
    async fn join(url: &str, streams: usize) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("an address");
        let pusher = DataServiceClient::new(endpoint.connect_lazy());
        let connections = (0..SUBSCRIBERS.div_ceil(streams)).map(|_| endpoint.connect_lazy());
        let clients = connections.flat_map(|channel| vec![DataServiceClient::new(channel); streams]);
        let mut crowd = Self { pusher, streams: Vec::new(), value: 1000 };
        for client in clients.take(SUBSCRIBERS) {
            // One after the other: more at once than a listener holds back are turned away.
            crowd.streams.push(subscribe(client).await?);
        }
        Ok(crowd)
    }

    /// Makes so many updates, each after the last one was delivered to all.
    async fn update(&mut self, updates: u32) -> Result<(), Status> {
        for _ in 0..updates {
            self.value += 1;
            let value = self.value.to_string();
            let push = Data { key: KEY.to_owned(), value: value.clone().into(), ..Data::default() };
            let delivered = join_all(self.streams.iter_mut().map(|stream| receive(stream, value.as_bytes())));
            let (pushed, delivered) = tokio::join!(self.pusher.push_update(push), delivered);
            pushed?;
            delivered.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }
}

async fn subscribe(mut client: DataServiceClient<Channel>) -> Result<Streaming<DataResponse>, Status> {
    let resume = Some(Position::default());
    let request = DataRequest { keys: vec![KEY.to_owned()], resume, ..DataRequest::default() };
    let mut stream = client.subscribe(request).await?.into_inner();
    stream.message().await?;
    Ok(stream)
}

/// Waits for a value; heartbeats may come before it.
async fn receive(stream: &mut Streaming<DataResponse>, value: &[u8]) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        if message.data.get(KEY).is_some_and(|data| data.value == value) {
            return Ok(());
        }
    }
    Err(Status::unavailable("the stream ended"))
}
