//! The load of servers that speak our contract: stock tonic, so that our own client is not what is measured.

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use datastream::proto::control_service_client::ControlServiceClient;
use datastream::proto::data_service_client::DataServiceClient;
use datastream::proto::operation::Action;
use datastream::proto::{CommitRequest, Data, DataRequest, DataResponse, Operation, Phase, Position};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::peer::{Crowd, KEY, Publisher};
use crate::serve::naive::sample;

/// What a commit may have.
const OPERATIONS: u32 = 10_000;

/// A client with a connection of its own.
pub async fn connect(url: &str) -> Result<DataServiceClient<Channel>> {
    Ok(DataServiceClient::new(channel(url).await?))
}

async fn channel(url: &str) -> Result<Channel> {
    Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect().await.context("cannot connect")
}

/// Writes so many samples into a server of this project.
pub async fn fill(url: &str, keys: u32) -> Result<()> {
    let mut client = ControlServiceClient::new(channel(url).await?);
    for start in (0..keys).step_by(OPERATIONS as usize) {
        let puts = (start..keys.min(start + OPERATIONS)).map(|n| Action::Put(sample(n)));
        let operations = puts.map(|put| Operation { action: Some(put), ..Operation::default() }).collect();
        client.commit(CommitRequest { operations, ..CommitRequest::default() }).await?;
    }
    Ok(())
}

/// Whether this is the sample that it says it is.
pub fn is_sample(data: &Data) -> bool {
    let number = data.key.rsplit('-').next().and_then(|number| number.parse().ok());
    number.map(sample).is_some_and(|sample| sample.key == data.key && sample.value == data.value)
}

pub async fn publisher(url: &str) -> Result<Box<dyn Publisher>> {
    Ok(Box::new(Pusher(connect(url).await?)))
}

pub async fn subscribe(url: &str, crowd: &Crowd) -> Result<()> {
    crowd
        .connect(async |subscribers| {
            let client = connect(url).await?;
            for subscriber in subscribers {
                let mut stream = follow(client.clone()).await?;
                let board = crowd.board.clone();
                crowd.receive(async move {
                    loop {
                        match stream.message().await {
                            Ok(Some(message)) => {
                                if let (Phase::Change, Some(data)) = (message.phase(), message.data.get(KEY))
                                {
                                    board.deliver(subscriber, &data.value);
                                }
                            }
                            Ok(None) => return board.end(subscriber, "OK"),
                            Err(status) => return board.end(subscriber, status),
                        }
                    }
                });
            }
            Ok(())
        })
        .await
}

async fn follow(mut client: DataServiceClient<Channel>) -> Result<Streaming<DataResponse>> {
    let resume = Some(Position::default());
    let request = DataRequest { keys: vec![KEY.to_owned()], resume, ..DataRequest::default() };
    Ok(client.subscribe(request).await?.into_inner())
}

struct Pusher(DataServiceClient<Channel>);

#[async_trait(?Send)]
impl Publisher for Pusher {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<()> {
        let value_type = "bytes".to_owned();
        let data = Data { key: key.to_owned(), value, value_type, ..Data::default() };
        self.0.push_update(data).await?;
        Ok(())
    }

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>> {
        let request = DataRequest { keys: vec![key.to_owned()], ..DataRequest::default() };
        let mut answer = self.0.sync(request).await?.into_inner();
        Ok(answer.data.remove(key).map(|data| data.value))
    }

    fn share(&self) -> Box<dyn Publisher> {
        Box::new(Self(self.0.clone()))
    }
}
