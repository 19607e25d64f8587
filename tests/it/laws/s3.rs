//! A bucket, and a tool that writes objects.

use std::sync::Arc;

use async_trait::async_trait;
use datastream_server::stores::s3;
use datastream_server::testing::conformance::{ForeignWrite, ForeignWriter, Open, Subject};
use futures_util::FutureExt as _;

use crate::s3::{Server, Tool};

pub(super) fn open() -> Open {
    Arc::new(|| {
        async {
            let server = Server::start().await;
            let store = s3::open(&server.store("")).await.expect("an empty bucket");
            let foreign = Some(Box::new(Uploader(server.tool())) as Box<dyn ForeignWriter>);
            Subject { store, foreign, kept: Box::new(server) }
        }
        .boxed()
    })
}

/// A tool that writes objects.
struct Uploader(Tool);

#[async_trait]
impl ForeignWriter for Uploader {
    async fn write(&self, writes: &[ForeignWrite]) {
        for ForeignWrite { key, value } in writes {
            match value {
                Some((value_type, text)) => self.0.put(key, Some(value_type), text).await,
                None => self.0.delete(key).await,
            }
        }
    }
}
