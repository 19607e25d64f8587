//! etcd, where its client could not be built.

use std::path::Path;

use anyhow::{Result, bail};
use async_trait::async_trait;

use crate::peer::{Peer, Server};
use crate::process::Cores;

pub struct Etcd;

#[async_trait(?Send)]
impl Peer for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    async fn start(&self, _: &Path, _: Cores) -> Result<Box<dyn Server>> {
        bail!("its client was not built, since there is no protoc")
    }
}
