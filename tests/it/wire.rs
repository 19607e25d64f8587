//! A raw client: what a server says on the wire, without the help of the SDK.
//!
//! Entries are read as a list and not as a map, so that a key that comes twice is seen.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use datastream::header;
use datastream::proto::data_service_client::DataServiceClient;
use datastream::proto::{Data, DataRequest, Phase, Position};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::found::Found;

/// How long anything in these tests may take. Far above what it does take, so that a loaded machine fails none.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Awaits `future`, and fails the test if that takes longer than the deadline.
pub(crate) async fn within<F: IntoFuture>(what: &str, future: F) -> F::Output {
    let result = tokio::time::timeout(DEADLINE, future.into_future()).await;
    result.unwrap_or_else(|_| panic!("took too long: {what}"))
}

/// Waits until `holds`.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let watched = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, watched).await;
}

/// A request of a client that understands the additions, and has nothing yet.
pub(crate) fn announced<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> DataRequest {
    resuming(keys, &Position::default())
}

/// A request of a client that stands at `position`.
pub(crate) fn resuming<K: AsRef<str>>(keys: impl IntoIterator<Item = K>, position: &Position) -> DataRequest {
    DataRequest { resume: Some(position.clone()), ..unannounced(keys) }
}

/// A request as the original's client makes it.
pub(crate) fn unannounced<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> DataRequest {
    let keys = keys.into_iter().map(|key| key.as_ref().to_owned()).collect();
    DataRequest { keys, ..DataRequest::default() }
}

/// What a client pushes; like the original's, without a time.
pub(crate) fn data(key: &str, value_type: &str, value: impl Into<bytes::Bytes>) -> Data {
    Data { key: key.into(), value: value.into(), value_type: value_type.into(), ..Data::default() }
}

/// One connection to a server.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) channel: Found,
}

impl Wire {
    pub(crate) async fn to(url: &str) -> Self {
        Self::connect(endpoint(url)).await
    }

    /// A connection on which a stream that is not read stops after 64 KiB.
    pub(crate) async fn narrow(url: &str) -> Self {
        Self::connect(endpoint(url).initial_stream_window_size(65_535)).await
    }

    /// A connection that is made when it is used, and made again after it broke.
    pub(crate) fn lazy(url: &str) -> Self {
        Self { channel: Found::cut(endpoint(url).connect_lazy()) }
    }

    async fn connect(endpoint: Endpoint) -> Self {
        let channel = within("connecting", endpoint.connect()).await.expect("the server accepts");
        Self { channel: Found::kept(channel) }
    }

    pub(crate) fn service(&self) -> DataServiceClient<Found> {
        DataServiceClient::new(self.channel.clone())
    }

    /// Subscribes; returns when the headers are there.
    pub(crate) async fn subscribe(&self, request: DataRequest) -> Deliveries {
        within("headers", self.try_subscribe(request)).await.expect("the stream opens")
    }

    pub(crate) async fn try_subscribe(&self, request: DataRequest) -> Result<Deliveries, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/datastream.DataService/Subscribe");
        let codec = ProstCodec::<DataRequest, Message>::default();
        let response = grpc.server_streaming(Request::new(request), path, codec).await?;
        let (headers, stream, _) = response.into_parts();
        Ok(Deliveries { stream, headers })
    }

    pub(crate) async fn sync(&self, request: DataRequest) -> datastream::proto::DataResponse {
        let mut service = self.service();
        let answer = within("Sync", service.sync(request)).await;
        answer.expect("Sync is answered").into_inner()
    }

    /// Pushes; returns the position that the server named.
    pub(crate) async fn push(&self, data: Data) -> Result<Position, Status> {
        let mut service = self.service();
        let response = within("PushUpdate", service.push_update(data)).await?;
        let position = response.metadata().get_bin(header::POSITION_BIN).expect("a position is named");
        let position = position.to_bytes().expect("it is base64");
        Ok(Position::decode(position).expect("it is a Position"))
    }

    pub(crate) async fn push_int(&self, key: &str, value: i64) -> Position {
        self.push(data(key, "int", value.to_string())).await.expect("the push is taken")
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::from_shared(url.to_owned()).expect("the address of a test server is one")
}

/// The deliveries of one stream.
#[derive(Debug)]
pub(crate) struct Deliveries {
    stream: Streaming<Message>,
    pub(crate) headers: MetadataMap,
}

impl Deliveries {
    /// The next delivery, heartbeat or word of leave.
    pub(crate) async fn next(&mut self) -> Delivery {
        self.try_next().await.expect("the stream goes on")
    }

    /// The next delivery, whatever heartbeats come before it.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        loop {
            let next = self.next().await;
            if next.phase != Phase::Heartbeat {
                return next;
            }
        }
    }

    /// The next heartbeat; nothing may come before it.
    pub(crate) async fn heartbeat(&mut self) -> Delivery {
        let next = self.next().await;
        assert_eq!(next.phase, Phase::Heartbeat, "{next}");
        next
    }

    /// How the stream ends; nothing may come before it.
    pub(crate) async fn end(&mut self) -> Status {
        self.try_next().await.expect_err("the stream ends")
    }

    /// Puts the messages of one delivery together, and checks what holds for each of them.
    pub(crate) async fn try_next(&mut self) -> Result<Delivery, Status> {
        let mut delivery = Delivery::default();
        loop {
            let message = within("a message", self.stream.message()).await?;
            let message = message.ok_or_else(|| Status::ok("the stream ended"))?;
            let first = delivery.sizes.is_empty();
            delivery.add(message);
            assert!(first || delivery.phase != Phase::Heartbeat, "a heartbeat inside a delivery");
            if !delivery.more {
                return Ok(delivery);
            }
        }
    }
}

/// One delivery, in however many messages it came.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) phase: Phase,
    pub(crate) position: Position,
    pub(crate) data: BTreeMap<String, Data>,
    /// The size of each of its messages.
    pub(crate) sizes: Vec<usize>,
    pub(crate) delay: Option<prost_types::Duration>,
    pub(crate) source_age: Option<prost_types::Duration>,
    more: bool,
}

impl Delivery {
    fn add(&mut self, message: Message) {
        self.sizes.push(message.encoded_len());
        let phase = message.phase();
        assert!(self.sizes.len() == 1 || phase == self.phase, "the phase changed inside a delivery");
        self.phase = phase;
        self.more = message.more;
        let wants_position = !message.more && phase != Phase::Drain;
        assert_eq!(message.position.is_some(), wants_position, "the position comes last, and only then");
        self.position = message.position.unwrap_or_default();
        (self.delay, self.source_age) = (message.delay, message.source_age);
        for Entry { key, value } in message.data {
            let value = value.expect("an entry has a value");
            assert_eq!(value.key, key, "the key stands in the value as well");
            assert!(self.data.insert(key, value).is_none(), "a key came twice in one delivery");
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.position.revision
    }
}

/// `Resume a=1 b=gone`, by which tests compare. A long value shows as its length.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.phase)?;
        self.data.values().try_for_each(|data| match data {
            Data { deleted: true, .. } => write!(f, " {}=gone", data.key),
            Data { value, .. } if value.len() > 20 => write!(f, " {}=[{}]", data.key, value.len()),
            Data { value, .. } => write!(f, " {}={}", data.key, String::from_utf8_lossy(value)),
        })
    }
}

/// A `DataResponse` whose map is read as the list of entries that it is on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(message, repeated, tag = "1")]
    data: Vec<Entry>,
    #[prost(message, optional, tag = "10")]
    position: Option<Position>,
    #[prost(enumeration = "Phase", tag = "11")]
    phase: i32,
    #[prost(bool, tag = "12")]
    more: bool,
    #[prost(message, optional, tag = "14")]
    delay: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "15")]
    source_age: Option<prost_types::Duration>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Data>,
}
