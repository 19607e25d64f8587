//! What a server says, on its way out: late, twice, wrong, or not at all.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datastream::proto::{
    Data, DataRequest, DataResponse, ListCapabilitiesRequest, ListCapabilitiesResponse, Phase,
};
use datastream::service::data_service_server::DataService;
use datastream::{Encoded, proto};
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::faults::{Fault, Faults};
use super::script;
use crate::service::Service;

/// The service, and what is wrong with it.
pub(super) struct Tampering {
    inner: Service,
    faults: Arc<Faults>,
}

pub(super) type Frames = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

impl Tampering {
    pub(super) fn new(inner: Service, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

#[tonic::async_trait]
impl DataService for Tampering {
    async fn list_capabilities(
        &self,
        request: Request<ListCapabilitiesRequest>,
    ) -> Result<Response<ListCapabilitiesResponse>, Status> {
        self.inner.list_capabilities(request).await
    }

    async fn sync(&self, request: Request<DataRequest>) -> Result<Response<Encoded>, Status> {
        if self.faults.script().is_some() {
            return Err(Status::unimplemented("the script says everything by streams"));
        }
        let (metadata, answer, extensions) = self.inner.sync(request).await?.into_parts();
        let mut said = pass(self.faults.clone(), Ok(answer)).await;
        said.swap_remove(0).map(|answer| Response::from_parts(metadata, answer, extensions))
    }

    type SubscribeStream = Frames;

    async fn subscribe(&self, request: Request<DataRequest>) -> Result<Response<Frames>, Status> {
        if let Some(script) = self.faults.script() {
            return script::answer(&script, request.into_inner()).await;
        }
        let (metadata, frames, extensions) = self.inner.subscribe(request).await?.into_parts();
        let faults = self.faults.clone();
        // One at a time: what the transport has not asked for is still the server's, and conflated there.
        let said = frames.then(move |frame| pass(faults.clone(), frame));
        let said: Frames = Box::pin(said.flat_map(stream::iter));
        Ok(Response::from_parts(metadata, said, extensions))
    }

    async fn push_update(&self, request: Request<Data>) -> Result<Response<()>, Status> {
        self.inner.push_update(request).await
    }
}

/// What becomes of a message, which is one message at least. An end passes as it is.
async fn pass(faults: Arc<Faults>, frame: Result<Encoded, Status>) -> Vec<Result<Encoded, Status>> {
    let Ok(Encoded(bytes)) = frame else { return vec![frame] };
    let delays = faults.active().into_iter().map(|fault| match fault {
        Fault::Delay(delay) => delay,
        _ => Duration::ZERO,
    });
    let delay = delays.sum::<Duration>();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    faults.heard().await;
    tamper(bytes, &faults.active()).into_iter().map(Ok).collect()
}

fn tamper(bytes: Bytes, faults: &[Fault]) -> Vec<Encoded> {
    let is_as_it_was = |fault: &Fault| matches!(fault, Fault::Silence | Fault::Delay(_));
    if faults.iter().all(is_as_it_was) {
        return vec![Encoded(bytes)];
    }
    let mut message = DataResponse::decode(bytes).expect("the server sends messages");
    faults.iter().for_each(|fault| misplace(message.position.as_mut(), *fault));
    let may_repeat = matches!(message.phase(), Phase::Change | Phase::Heartbeat);
    let times = if may_repeat && faults.contains(&Fault::Duplicate) { 2 } else { 1 };
    vec![Encoded(message.encode_to_vec().into()); times]
}

fn misplace(position: Option<&mut proto::Position>, fault: Fault) {
    match (position, fault) {
        (Some(position), Fault::LowerRevisions) => position.revision = 1,
        (Some(position), Fault::ChangeTokens) => position.token = Bytes::from_static(b"another history"),
        _ => {}
    }
}
