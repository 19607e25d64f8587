//! S3 for tests: a bucket in this process that keeps conditions, as AWS does, or does not; and Garage, which does not.
//!
//! The one in this process speaks by `s3s`, which knows the protocol and checks signatures and clocks. What is behind it is
//! ours: `s3s-fs`, which could be there, compares and writes in two steps, and its delete knows no condition, so that an
//! update which a store loses could be its doing.

mod bucket;
mod garage;

use std::net::SocketAddr;
use std::sync::Arc;

use datastream_server::stores::s3::Address;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{Attribute, Attributes, ObjectStore as _, ObjectStoreExt as _, PutOptions};
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(crate) use self::bucket::{Asked, Bucket, Fault, Manners};
pub(crate) use self::garage::Garage;

/// Who may ask the bucket.
pub(crate) const KEY_ID: &str = "GK0123456789abcdef01234567";
/// And how that is proven.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The name of the bucket.
pub(crate) const BUCKET: &str = "settings";

/// A server with a bucket; gone when dropped.
pub(crate) struct Server {
    pub(crate) bucket: Arc<Bucket>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    /// One that keeps conditions, as AWS does.
    pub(crate) async fn start() -> Self {
        Self::with(Manners::default()).await
    }

    pub(crate) async fn with(manners: Manners) -> Self {
        let is_skewed = manners.is_skewed;
        let bucket = Arc::new(Bucket::new(manners));
        let mut service = S3ServiceBuilder::new(bucket::Front(bucket.clone()));
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        if is_skewed {
            let mut config = S3Config::default();
            config.presigned_url_max_skew_time_secs = 0;
            service.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        }
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { bucket, address, _tasks: tasks }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `--store` names.
    pub(crate) fn url(&self, options: &str) -> String {
        format!("s3://{BUCKET}/app?endpoint={}{options}", self.endpoint())
    }

    /// The same, with credentials: looked at each 100 ms, if `options` do not say otherwise.
    pub(crate) fn store(&self, options: &str) -> Address {
        address(&self.url(&format!("&poll=100ms{options}")))
    }

    /// A tool of somebody else.
    pub(crate) fn tool(&self) -> Tool {
        Tool::of(&self.endpoint(), "us-east-1")
    }
}

fn address(url: &str) -> Address {
    Address::parse(url).expect("an address").with_credentials(KEY_ID, SECRET, None)
}

/// A program that knows S3, and nothing of this project.
pub(crate) struct Tool(AmazonS3);

impl Tool {
    fn of(endpoint: &str, region: &str) -> Self {
        let s3 = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_region(region)
            .with_bucket_name(BUCKET)
            .with_access_key_id(KEY_ID)
            .with_secret_access_key(SECRET)
            .with_disable_bulk_delete(true);
        Self(s3.build().expect("a client"))
    }

    fn path(key: &str) -> object_store::path::Path {
        object_store::path::Path::parse(format!("app/{key}")).expect("a path")
    }

    /// Writes an object; with the type, where one is given.
    pub(crate) async fn put(&self, key: &str, value_type: Option<&str>, text: &str) {
        let mut attributes = Attributes::new();
        if let Some(value_type) = value_type {
            attributes.insert(Attribute::Metadata("datastream-type".into()), value_type.to_owned().into());
        }
        let options = PutOptions { attributes, ..PutOptions::default() };
        self.0.put_opts(&Self::path(key), text.to_owned().into(), options).await.expect("it is written");
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.0.delete(&Self::path(key)).await.expect("it is deleted");
    }

    /// The text of an object, if there is one.
    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let found = self.0.get(&Self::path(key)).await.ok()?;
        let bytes = found.bytes().await.expect("a body");
        Some(String::from_utf8(bytes.to_vec()).expect("text"))
    }
}
